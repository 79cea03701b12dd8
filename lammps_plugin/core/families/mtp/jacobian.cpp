// SPDX-License-Identifier: GPL-2.0-or-later
// Design-matrix rows: -∂Φ/∂x of all features at once. For each centre ∂φ/∂(core moments) multiplies
// ∂(core moments)/∂x, whose columns are the coordinates of the owners around: periodic images have
// been folded.

#include "core/families/mtp/state.h"
#include "core/map/gradient_row.h"
#include "core/math/matrix.h"

using namespace uq;
using namespace uq::mtp;

// -∂(core moments)/∂x around one centre into state.matrix [core moment][width]; columns: three for
// each of state.owners, then the virial. Returns the width.
int Mtp::gradient_matrix(MtpState &state, const Environment &env, const int *owner) const {
  const int n = env.padded, ncore = plan_.angular.ncore;
  for (int a : state.owners) state.slot[a] = -1;
  state.owners.clear();
  const auto add_owner = [&](int atom) {
    int &slot = state.slot[owner[atom]];
    if (slot >= 0) return;
    slot = static_cast<int>(state.owners.size());
    state.owners.push_back(owner[atom]);
  };
  add_owner(env.center);
  for (int j = 0; j < env.n; j++) add_owner(env.index[j]);
  const int virial = 3 * static_cast<int>(state.owners.size()), width = virial + 6;
  state.matrix.zero(static_cast<size_t>(ncore) * width);
  state.core_gradients.reserve(3 * static_cast<size_t>(ncore) * n);
  state.kernels->core_gradients(plan_.angular, n, env.x, env.y, env.z, env.r, env.f, env.df,
                                state.core_gradients.data());
  for (int c = 0; c < ncore; c++) {
    const double *gx = state.core_gradients.data() + 3 * static_cast<size_t>(c) * n, *gy = gx + n,
                 *gz = gy + n;
    double *row = state.matrix.data() + static_cast<size_t>(c) * width;
    for (int j = 0; j < env.n; j++) {
      const double r = env.r[j];
      add_gradient(r * env.x[j], r * env.y[j], r * env.z[j], gx[j], gy[j], gz[j], row,
                   row + 3 * state.slot[owner[env.index[j]]], row + virial);
    }
  }
  return width;
}

void Mtp::jacobian(const Neighbors &nb, State &base, int nowners, const int *owner,
                   double *rows) const {
  auto &state = static_cast<MtpState &>(base);
  const Kernels &k = *state.kernels;
  const int ncore = plan_.angular.ncore, nf = nscalars(), ns = nspecies();
  begin(nb, state, false);
  state.slot.assign(nowners, -1);
  state.owners.clear();
  const size_t per_center = static_cast<size_t>(nf) * ncore;
  state.feature_gradients.reserve(per_center * block_atoms);    // [atom][feature][core moment]
  for (const Block &block : state.blocks) {
    moments(nb, state, block, true, state.nodes.data());
    const double one = 1.0;
    for (int f = 0; f < nf; f++) {
      k.adjoint(plan_.products, state.nodes.data(), 1, &plan_.scalars[f], &one, false,
                state.adjoint.data(), state.value.data());
      for (int atom = 0; atom < block.natoms; atom++)
        for (int c = 0; c < ncore; c++)
          state.feature_gradients.data()[atom * per_center + static_cast<size_t>(f) * ncore + c] =
              state.adjoint.data()[c * block_atoms + atom];
    }
    for (int atom = 0; atom < block.natoms; atom++) {
      const Environment &env = state.environments[atom];
      const int width = gradient_matrix(state, env, owner), virial = width - 6;
      state.rows.reserve(static_cast<size_t>(nf) * width);
      matrix().multiply(nf, width, ncore, state.feature_gradients.data() + atom * per_center, ncore,
                        state.matrix.data(), width, state.rows.data(), width);
      for (int c = 0; c < width; c++) {
        const size_t row = c < virial ? 3 * static_cast<size_t>(state.owners[c / 3]) + c % 3
                                      : 3 * static_cast<size_t>(nowners) + c - virial;
        for (int m = 0; m < nmembers(); m++) {
          double *target = rows + row * nreadout() + m * nfeatures() + ns;
          for (int f = 0; f < nf; f++)
            target[f] += state.rows.data()[static_cast<size_t>(f) * width + c];
        }
      }
    }
  }
}
