// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/map/feature_map.h"

#include "core/error.h"

#include <algorithm>

using namespace uq;

int FeatureMap::max_features() const {
  int n = 0;
  for (size_t z = 0; z < elements().size(); z++) n = std::max(n, count(static_cast<int>(z)));
  return n;
}

void FeatureMap::jacobian(const Neighbors &nb, State &state, int nowners, const int *owner,
                          double *rows) const {
  static constexpr int voigt[6] = {0, 1, 2, 5, 4, 3};    // xx yy zz yz xz xy of the nine components
  const int m = nreadout();
  std::vector<double> unit(m, 0.0), forces(3 * static_cast<size_t>(nb.ntotal));
  forward(nb, state, nullptr, nullptr);
  for (int k = 0; k < m; k++) {
    unit[k] = 1.0;
    std::fill(forces.begin(), forces.end(), 0.0);
    double virial[9] = {};
    Cotangent cotangent;
    cotangent.shared = unit.data();
    Result result;
    result.forces = forces.data();
    result.virial = virial;
    backward(nb, state, 1, &cotangent, &result);
    unit[k] = 0.0;
    for (int j = 0; j < nb.ntotal; j++)
      for (int c = 0; c < 3; c++)
        rows[(3 * static_cast<size_t>(owner[j]) + c) * m + k] +=
            forces[3 * static_cast<size_t>(j) + c];
    for (int v = 0; v < 6; v++)
      rows[(3 * static_cast<size_t>(nowners) + v) * m + k] += virial[voigt[v]];
  }
}

std::unique_ptr<const FeatureMap>
FeatureMap::fuse_with(const std::vector<const FeatureMap *> &) const {
  return nullptr;
}

std::unique_ptr<const FeatureMap> uq::fuse(const std::vector<const FeatureMap *> &maps) {
  const auto kin = [&](const FeatureMap *map) {
    return std::string(map->family()) == maps[0]->family();
  };
  if (maps.size() < 2 || !std::all_of(maps.begin(), maps.end(), kin)) return nullptr;
  return maps[0]->fuse_with(maps);
}

void FeatureMap::grades(const Neighbors &, State &, double *) const {
  throw Error(std::string("a model of the family ") + family() +
              " carries no active set in its file");
}

void FeatureMap::noise(const Neighbors &, State &, double *) const {
  throw Error(std::string("a model of the family ") + family() + " has no noise head");
}
