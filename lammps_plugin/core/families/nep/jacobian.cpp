// SPDX-License-Identifier: GPL-2.0-or-later
// Design-matrix rows: -∂Φ/∂x of all features at once. Around each centre the derivatives of the
// descriptors, with periodic images folded into their owners, multiply the hidden weights; the
// slopes 1 - h² of the activations come last.

#include "core/families/nep/state.h"
#include "core/map/gradient_row.h"

#include <algorithm>

using namespace uq;
using namespace uq::nep;

// Columns for the owners around a centre, itself first.
static void find_owners(const Environment &env, const int *owner, NepState &state) {
  for (int a : state.owners) state.place[a] = -1;
  state.owners.clear();
  const auto column = [&](int atom) {
    int &place = state.place[owner[atom]];
    if (place < 0) {
      place = static_cast<int>(state.owners.size());
      state.owners.push_back(owner[atom]);
    }
    return 3 * place;
  };
  column(env.center);
  state.columns.assign(env.size, -1);
  for (int j = 0; j < env.size; j++)
    if (env.index[j] >= 0) state.columns[j] = column(env.index[j]);
  state.width = width_of(3 * static_cast<int>(state.owners.size()) + 6);
}

// Adds g = ∂q/∂r_j of neighbour j to the row of a descriptor.
static void add_to_descriptor(const Environment &env, const NepState &state, int j, double gx,
                              double gy, double gz, double *row) {
  const double r = env.r[j];
  add_gradient(r * env.x[j], r * env.y[j], r * env.z[j], gx, gy, gz, row, row + state.columns[j],
               row + 3 * state.owners.size());
}

void Nep::radial_gradients(const Environment &env, const Kernels &k, const Weights &member,
                           NepState &state) const {
  const int wide_base = width_of(shape_.radial_base);
  state.pair_slopes.reserve(env.size);
  double *slopes = state.pair_slopes.data();
  for (int z = 0; z < shape_.nspecies(); z++) {
    const int at = env.first[z], count = env.first[z + 1] - at, p = pair(env.species, z);
    if (count == 0) continue;
    for (int n = 0; n < shape_.nradial; n++) {
      k.radial_slopes(shape_.radial_base, shape_.radial_cutoff[p], count, env.r + at,
                      member.radial_by_channel(p) + n * wide_base, slopes);
      double *row = state.gradients.data() + static_cast<size_t>(n) * state.width;
      for (int j = at; j < at + count && env.index[j] >= 0; j++)
        add_to_descriptor(env, state, j, slopes[j - at] * env.x[j], slopes[j - at] * env.y[j],
                          slopes[j - at] * env.z[j], row);
    }
  }
}

// ∂q_in/∂r_j = r̂ g_n' Σ_c d_c Y_c + g_n Σ_c d_c ∇Y_c, d_c = ∂q_in/∂s_nc.
void Nep::angular_gradients(const Environment &env, const Kernels &k, const Weights &member,
                            const Angular &angular, const double *s, NepState &state) const {
  const int n = angular.size, wide = width_of(shape_.nangular), na = shape_.nangular;
  state.harmonics.reserve(4 * static_cast<size_t>(harmonics_.ncomp) * n);
  state.products.reserve(4 * static_cast<size_t>(wide) * n);
  state.channels.reserve(2 * static_cast<size_t>(wide) * n);
  double *g = state.channels.data(), *dg = g + wide * n, *d = state.component_slopes.data();
  k.harmonic_gradients(harmonics_, n, angular.x, angular.y, angular.z, angular.r,
                       state.harmonics.data());
  for (int z = 0; z < shape_.nspecies(); z++) {
    const int at = env.angular_first[z], count = env.angular_first[z + 1] - at;
    const double *c = member.angular(pair(env.species, z));
    k.multiply(count, wide, shape_.angular_base, {angular.f + at, 1, n}, c, wide, g + at * wide,
               wide, false);
    k.multiply(count, wide, shape_.angular_base, {angular.df + at, 1, n}, c, wide, dg + at * wide,
               wide, false);
  }
  std::vector<int> slot;    // place among all neighbours
  for (int z = 0; z < shape_.nspecies(); z++)
    for (int j = env.angular_first[z]; j < env.angular_first[z + 1]; j++)
      slot.push_back(env.first[z] + j - env.angular_first[z]);
  for (int i = 0; i < shape_.ninvariants(); i++) {
    double *unit = state.invariants.data();
    std::fill(unit, unit + shape_.ninvariants() * wide, 0.0);
    std::fill(unit + i * wide, unit + (i + 1) * wide, 1.0);
    k.invariant_slopes(*invariants_, wide, s, unit, d);
    double *products = state.products.data();    // [channel][Y, x, y, z][neighbour]
    k.multiply(na, 4 * n, harmonics_.ncomp, {d, 1, wide}, state.harmonics.data(), 4 * n, products,
               4 * n, false);
    for (int a = 0; a < na; a++) {
      const double *p = products + 4 * a * n;
      double *row =
          state.gradients.data() + static_cast<size_t>(shape_.nradial + i * na + a) * state.width;
      for (int j = 0; j < env.nangular(); j++) {
        const double along = dg[j * wide + a] * p[j], across = g[j * wide + a];
        add_to_descriptor(env, state, slot[j], along * angular.x[j] + across * p[n + j],
                          along * angular.y[j] + across * p[2 * n + j],
                          along * angular.z[j] + across * p[3 * n + j], row);
      }
    }
    std::fill(unit + i * wide, unit + (i + 1) * wide, 0.0);
  }
}

void Nep::jacobian(const Neighbors &nb, State &base, int nowners, const int *owner,
                   double *rows) const {
  auto &state = static_cast<NepState &>(base);
  const Kernels &k = *state.kernels;
  const size_t m = weights_.size(), dim = shape_.dim();
  state.place.assign(nowners, -1);
  state.owners.clear();
  begin(nb, state, false);
  for (const Block &block : state.blocks) {
    describe(nb, state, block, true);
    const double *h = state.hidden.data() + block.hidden;
    int first = offset(block.species);
    for (size_t member = 0; member < members_.size(); member++) {
      const Weights &net = *members_[member];
      for (int a = 0; a < block.natoms; a++, h += net.width()) {
        const Environment &env = state.environments[block.environment + a];
        find_owners(env, owner, state);
        state.gradients.zero(dim * state.width);
        radial_gradients(env, k, net, state);
        if (env.nangular() > 0)
          angular_gradients(env, k, net, state.angular[a],
                            state.sums.data() + block.sums + a * sums_size() +
                                member * (sums_size() / members_.size()),
                            state);
        const int nlocal = 3 * static_cast<int>(state.owners.size());
        state.rows.reserve(static_cast<size_t>(state.width) * net.width());
        k.multiply(nlocal + 6, net.width(), static_cast<int>(dim),
                   {state.gradients.data(), 1, state.width}, net.hidden(block.species), net.width(),
                   state.rows.data(), net.width(), false);
        for (int c = 0; c < nlocal + 6; c++) {
          const size_t row = c < nlocal ? 3 * static_cast<size_t>(state.owners[c / 3]) + c % 3
                                        : 3 * static_cast<size_t>(nowners) + c - nlocal;
          const double *in = state.rows.data() + static_cast<size_t>(c) * net.width();
          double *target = rows + row * m + first;
          for (int v = 0; v < net.neurons(); v++) target[v] += (1.0 - h[v] * h[v]) * in[v];
        }
      }
      first += net.count();
    }
  }
}
