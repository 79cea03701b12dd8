// SPDX-License-Identifier: GPL-2.0-or-later
// Extrapolation grades by the active set of an .almtp (neighbourhood mode):
//
//   γ_i = max_k |Σ_c (Aᵀ)⁻¹_kc b_c|,   b = ∂E_i/∂(radial coefficients, species_coeffs,
//   moment_coeffs).
//
// E. V. Podryabinkin and A. V. Shapeev, Comput. Mater. Sci. 140, 171 (2017).

#include "core/families/mtp/state.h"
#include "core/math/matrix.h"

#include <algorithm>
#include <cmath>

using namespace uq;
using namespace uq::mtp;

// The energy of an atom of species z depends on the radial coefficients of its own pairs, on its
// own species_coeff and on all moment_coeffs.
void Mtp::prepare_active() {
  const std::vector<double> &inverse = potential_.active_inverse;
  if (inverse.empty()) return;
  const size_t ns = nspecies(), nradial = potential_.radial.size(), per_center = nradial / ns,
               n = nradial + weights_.size();
  for (size_t z = 0; z < ns; z++) {
    std::vector<size_t> needed;
    for (size_t c = 0; c < per_center; c++) needed.push_back(z * per_center + c);
    needed.push_back(nradial + z);
    for (size_t c = nradial + ns; c < n; c++) needed.push_back(c);
    active_.emplace_back();
    active_.back().reserve(needed.size() * n);
    for (size_t c : needed)
      for (size_t k = 0; k < n; k++) active_.back().push_back(inverse[k * n + c]);
  }
  potential_.active_inverse = {};
}

// b of one centre, restricted to what its species needs.
void Mtp::coefficient_gradient(MtpState &state, const Environment &env, int atom,
                               double *row) const {
  const Kernels &k = *state.kernels;
  const int ns = nspecies(), nslots = plan_.angular.nslots, nbasis = potential_.nbasis;
  for (int c = 0; c < plan_.angular.ncore; c++)
    state.column.data()[c] = state.adjoint.data()[static_cast<size_t>(c) * block_atoms + atom];
  std::vector<double> &radial = state.radial_gradient;
  radial.assign(static_cast<size_t>(ns) * nslots * nbasis, 0.0);
  k.radial_gradient(plan_.radial, plan_.angular, ns, env.first.data(), env.padded, env.x, env.y,
                    env.z, env.r, state.column.data(), radial.data());
  const int per_center = ns * potential_.nradial * nbasis;
  std::fill(row, row + per_center, 0.0);
  for (int z = 0; z < ns; z++)
    for (int s = 0; s < nslots; s++)
      for (int b = 0; b < nbasis; b++)
        row[(z * potential_.nradial + plan_.slots[s]) * nbasis + b] =
            potential_.scaling * radial[(z * nslots + s) * nbasis + b];
  row[per_center] = 1.0;
  for (int n = 0; n < nscalars(); n++)
    row[per_center + 1 + n] = state.nodes.data()[plan_.scalars[n] * block_atoms + atom];
}

void Mtp::grades(const Neighbors &nb, State &base, double *grades) const {
  if (!has_grades()) return FeatureMap::grades(nb, base, grades);
  static constexpr int batch = 64;    // centres of one species whose grades are made at once
  auto &state = static_cast<MtpState &>(base);
  const size_t n = potential_.radial.size() + weights_.size(), needed = active_.front().size() / n;
  begin(nb, state, false);
  Cotangent cotangent;
  cotangent.shared = weights_.data();
  std::vector<std::vector<int>> waiting(nspecies());    // centres whose rows are ready
  std::vector<std::vector<double>> rows(nspecies(), std::vector<double>(batch * needed));
  std::vector<double> product(batch * n);
  const auto flush = [&](int z) {
    const int m = static_cast<int>(waiting[z].size()), width = static_cast<int>(n);
    if (m == 0) return;
    matrix().multiply(m, width, static_cast<int>(needed), rows[z].data(), static_cast<int>(needed),
                      active_[z].data(), width, product.data(), width);
    for (int i = 0; i < m; i++) {
      double largest = 0.0;
      for (size_t k = 0; k < n; k++) {
        const double value = std::fabs(product[i * n + k]);
        if (!(value <= largest)) largest = value;    // a NaN stays
      }
      grades[waiting[z][i]] = largest;
    }
    waiting[z].clear();
  };
  for (const Block &block : state.blocks) {
    moments(nb, state, block, true, state.nodes.data());
    adjoint(nb, state, block, state.nodes.data(), cotangent, state.adjoint.data(),
            state.value.data());
    for (int atom = 0; atom < block.natoms; atom++) {
      const Environment &env = state.environments[atom];
      std::vector<int> &queue = waiting[env.species];
      coefficient_gradient(state, env, atom, rows[env.species].data() + queue.size() * needed);
      queue.push_back(block.row + atom);
      if (queue.size() == batch) flush(env.species);
    }
  }
  for (int z = 0; z < nspecies(); z++) flush(z);
}
