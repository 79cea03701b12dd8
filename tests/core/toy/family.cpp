// SPDX-License-Identifier: GPL-2.0-or-later
// A family that only evaluates: pairs of atoms closer than a cutoff r_c repel each other,
//
//     e_i = w_z(i) φ_i,   φ_i = Σ_j (1 - r_ij / r_c)²,
//
// one readout weight for each species of the centre. The file:
//
//     toy
//     4.0                 r_c, Å
//     Ag 0.3              a line for each species: name, weight (eV)
//     I -0.2

#include "core/error.h"
#include "core/families/registry.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

namespace uq {
namespace toy {

class Toy : public FeatureMap {
 public:
  Toy(double cutoff, std::vector<std::string> elements, std::vector<double> weights)
      : cutoff_(cutoff), elements_(std::move(elements)), weights_(std::move(weights)) {}

  const char *family() const override { return "toy"; }
  const std::vector<std::string> &elements() const override { return elements_; }
  double cutoff() const override { return cutoff_; }
  double cutoff(int, int) const override { return cutoff_; }
  int nreadout() const override { return static_cast<int>(weights_.size()); }
  int offset(int species) const override { return species; }
  int count(int) const override { return 1; }
  const std::vector<double> &weights() const override { return weights_; }
  std::unique_ptr<State> new_state() const override { return std::make_unique<State>(); }

  void forward(const Neighbors &nb, State &state, double *sum, double *per_atom) const override {
    state.min_distance = std::numeric_limits<double>::infinity();
    state.baseline_energy = 0.0;
    state.baseline_energies.assign(nb.ncenters, 0.0);
    for (int n = 0; n < nb.ncenters; n++) {
      double feature = 0.0;
      for_neighbors(nb, nb.centers[n], [&](int, const double *, double r) {
        feature += (1.0 - r / cutoff_) * (1.0 - r / cutoff_);
        state.min_distance = std::min(state.min_distance, r);
      });
      if (sum) sum[nb.species[nb.centers[n]]] += feature;
      if (per_atom) per_atom[n] = feature;    // max_features() is 1
    }
  }

  void backward(const Neighbors &nb, State &, int ncotangents, const Cotangent *cotangents,
                Result *results) const override {
    for (int c = 0; c < ncotangents; c++)
      for (int n = 0; n < nb.ncenters; n++) add(nb, n, cotangents[c], results[c]);
  }

  void evaluate(const Neighbors &nb, State &state, const Cotangent &cotangent,
                Result &result) const override {
    forward(nb, state, nullptr, nullptr);
    backward(nb, state, 1, &cotangent, &result);
  }

 private:
  double cutoff_;
  std::vector<std::string> elements_;
  std::vector<double> weights_;

  // visit(neighbour, displacement, distance)
  template <class Visit> void for_neighbors(const Neighbors &nb, int i, const Visit &visit) const {
    for (int k = 0; k < nb.counts[i]; k++) {
      const int j = nb.neighbors[i][k] & nb.mask;
      if (nb.species[j] < 0) continue;
      double d[3];
      for (int c = 0; c < 3; c++) d[c] = nb.x[3 * j + c] - nb.x[3 * i + c];
      const double r = std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
      if (r < cutoff_) visit(j, d, r);
    }
  }

  // s_i = w φ_i of the n-th centre and its derivatives.
  void add(const Neighbors &nb, int n, const Cotangent &cotangent, Result &result) const {
    static constexpr int row[9] = {0, 1, 2, 0, 0, 1, 1, 2, 2},    // xx yy zz xy xz yz yx zx zy
        column[9] = {0, 1, 2, 1, 2, 2, 0, 0, 1};
    const int i = nb.centers[n];
    const double w = cotangent.per_atom ? cotangent.per_atom[n] : cotangent.shared[nb.species[i]];
    double energy = 0.0;
    for_neighbors(nb, i, [&](int j, const double *d, double r) {
      energy += w * (1.0 - r / cutoff_) * (1.0 - r / cutoff_);
      double force[3];    // on the neighbour
      for (int c = 0; c < 3; c++) force[c] = 2.0 * w * (1.0 - r / cutoff_) / (cutoff_ * r) * d[c];
      for (int c = 0; c < 3 && result.forces; c++) {
        result.forces[3 * j + c] += force[c];
        result.forces[3 * i + c] -= force[c];
      }
      for (int v = 0; v < 9; v++) {
        if (result.virial) result.virial[v] += d[row[v]] * force[column[v]];
        if (result.vatom) result.vatom[9 * j + v] += d[row[v]] * force[column[v]];
      }
    });
    result.energy += energy;
    if (result.eatom) result.eatom[i] += energy;
  }
};

static bool recognises(std::string_view bytes) {
  return starts_with(first_content(bytes), "toy\n");
}

static std::vector<FamilyMember> load(const FamilySource &source) {
  std::istringstream text{std::string(first_content(source.bytes))};
  std::string word;
  double cutoff = 0.0, weight;
  text >> word >> cutoff;
  if (!(cutoff > 0.0) || !std::isfinite(cutoff))
    throw Error(source.name + ":2: the cutoff is no number above 0, expected one in Å");
  std::vector<std::string> elements;
  std::vector<double> weights;
  while (text >> word >> weight) {
    elements.push_back(word);
    weights.push_back(weight);
  }
  if (elements.empty())
    throw Error(source.name + ":3: no species, expected lines such as `Ag 0.3`");
  return {{std::make_shared<Toy>(cutoff, std::move(elements), std::move(weights)), {}}};
}

extern const Family registration = {"toy", "toy.txt", recognises, load};

}    // namespace toy
}    // namespace uq
