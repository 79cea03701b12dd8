// SPDX-License-Identifier: GPL-2.0-or-later
// Design-matrix rows: -∂Φ/∂x of all features at once. For each centre the sparse matrix ∂φ/∂A
// (features × components) multiplies the dense ∂A/∂x (components × coordinates of the owners
// around), into which periodic images have been folded. The switch f of the core repulsion is one
// more component: φ = f φ'.

#include "core/families/ace/state.h"
#include "core/map/gradient_row.h"

using namespace uq;
using namespace uq::ace;

// ∂φ'/∂A of a block into state.entries [entry][lane], with the switch and the embedding's slope
// multiplied in; behind the entries, φ' itself [feature][lane] in state.features.
void Ace::feature_gradients(AceState &state, const Block &block, const double *a,
                            const double *rho) const {
  const SpeciesPlan &plan = plans_[block.species];
  const Kernels &k = *state.kernels;
  const int nlinear = plan.coupling.rows(), nentries = plan.gradient_terms.rows();
  k.products(plan.products, a, state.nodes.data(), state.products.data());
  state.product_gradients.reserve(static_cast<size_t>(plan.ngradients) * k.lanes);
  double *gradients = state.product_gradients.data();
  k.product_gradients(plan.factors, state.nodes.data(), gradients);
  std::fill(gradients + (plan.ngradients - 1) * k.lanes, gradients + plan.ngradients * k.lanes,
            1.0);
  state.entries.reserve(static_cast<size_t>(nentries) * k.lanes);
  const Sparse &terms = plan.gradient_terms;
  k.couple(nentries, terms.first.data(), terms.column.data(), terms.value.data(), gradients,
           state.entries.data());

  state.features.reserve(static_cast<size_t>(plan.nfeatures) * k.lanes);
  double *features = state.features.data();
  const Sparse &c = plan.coupling;
  k.couple(nlinear, c.first.data(), c.column.data(), c.value.data(), state.products.data(),
           features);
  std::vector<double> slope(k.lanes);
  for (int f = 0; f < plan.nfeatures; f++) {
    for (int lane = 0; lane < block.natoms; lane++) {
      slope[lane] = state.environments[block.environment + lane].f;
      if (f < nlinear) continue;
      const Density &density = plan.nonlinear[f - nlinear];
      const Value v = embed(plan.embedding, rho[(f - nlinear) * k.lanes + lane], density.exponent);
      features[f * k.lanes + lane] = density.weight * v.f;
      slope[lane] *= density.weight * v.df;
    }
    for (int e = plan.gradient_first[f]; e < plan.gradient_first[f + 1]; e++)
      for (int lane = 0; lane < block.natoms; lane++)
        state.entries.data()[e * k.lanes + lane] *= slope[lane];
  }
}

// ∂f/∂r of a neighbour.
double Ace::switch_slope(const Environment &env, int species, int slot) const {
  if (inner_ == InnerCutoff::Zbl) return slot == env.nearest ? env.df : 0.0;
  const CoreRepulsion &core = plans_[env.species].core[species];
  return env.df != 0.0 && env.r[slot] < core.range() ? env.df * core(env.r[slot]).df : 0.0;
}

// -∂A/∂x around one centre into state.matrix [component, at last the switch][width]; columns: three
// for each of state.owners, then the virial. Returns the width.
int Ace::gradient_matrix(AceState &state, const Environment &env, const int *owner) const {
  const SpeciesPlan &plan = plans_[env.species];
  const Kernels &k = *state.kernels;
  for (int a : state.owners) state.slot[a] = -1;
  state.owners.clear();
  const auto add_owner = [&](int atom) {
    int &slot = state.slot[owner[atom]];
    if (slot >= 0) return;
    slot = static_cast<int>(state.owners.size());
    state.owners.push_back(owner[atom]);
  };
  add_owner(env.center);
  for (size_t s = 0; s < plan.bonds.size(); s++)
    for (int q = env.first[s]; q < env.first[s] + env.size[s] && env.index[q] >= 0; q++)
      add_owner(env.index[q]);

  const int virial = 3 * static_cast<int>(state.owners.size());
  const int width = (virial + 6 + k.lanes - 1) / k.lanes * k.lanes;
  state.matrix.zero(static_cast<size_t>(plan.products.ncomp + 1) * width);
  const auto add = [&](double *row, int q, double gx, double gy, double gz) {
    const double r = env.r[q];
    add_gradient(r * env.x[q], r * env.y[q], r * env.z[q], gx, gy, gz, row,
                 row + 3 * state.slot[owner[env.index[q]]], row + virial);
  };
  for (size_t s = 0; s < plan.bonds.size(); s++) {
    const BondPlan &bond = plan.bonds[s];
    const int n = env.size[s], at = env.first[s];
    if (n == 0) continue;
    state.component_gradients.reserve(3 * static_cast<size_t>(bond.ncomp) * n);
    k.component_gradients(bond, legendre(), n, env.x + at, env.y + at, env.z + at, env.r + at,
                          state.scratch.data(), state.component_gradients.data());
    for (int c = 0; c < bond.ncomp; c++) {
      const double *g = state.component_gradients.data() + 3 * static_cast<size_t>(c) * n;
      double *row = state.matrix.data() + static_cast<size_t>(bond.comp0 + c) * width;
      for (int j = 0; j < n && env.index[at + j] >= 0; j++)
        add(row, at + j, g[j], g[n + j], g[2 * n + j]);
    }
    double *row = state.matrix.data() + static_cast<size_t>(plan.products.ncomp) * width;
    for (int q = at; q < at + n && env.index[q] >= 0; q++) {
      const double slope = switch_slope(env, static_cast<int>(s), q);
      if (slope != 0.0) add(row, q, slope * env.x[q], slope * env.y[q], slope * env.z[q]);
    }
  }
  return width;
}

void Ace::jacobian(const Neighbors &nb, State &base, int nowners, const int *owner,
                   double *rows) const {
  static constexpr int together =
      8;    // features whose rows are made before they go out, column by column
  auto &state = static_cast<AceState &>(base);
  const size_t m = weights_.size();
  forward(nb, state, nullptr, nullptr);
  state.slot.assign(nowners, -1);
  state.owners.clear();
  for (const Block &block : state.blocks) {
    const SpeciesPlan &plan = plans_[block.species];
    const Kernels &k = *state.kernels;
    feature_gradients(state, block, state.components.data() + block.components,
                      state.rho.data() + block.rho);
    for (int lane = 0; lane < block.natoms; lane++) {
      Environment &env = state.environments[block.environment + lane];
      env.locate(nb, k, outside(), state.coordinates[0]);
      const int width = gradient_matrix(state, env, owner),
                nlocal = static_cast<int>(state.owners.size());
      const double *change = state.matrix.data() + static_cast<size_t>(plan.products.ncomp) * width;
      const bool switched = env.df != 0.0;
      state.rows.reserve(static_cast<size_t>(together) * width);
      for (int f0 = 0; f0 < plan.nfeatures; f0 += together) {
        const int nf = std::min(together, plan.nfeatures - f0);
        double *out = state.rows.data();
        k.sparse_rows(nf, plan.gradient_first.data() + f0, plan.gradient_component.data(),
                      state.entries.data() + lane, state.matrix.data(), width, out);
        for (int f = 0; switched && f < nf; f++)
          for (int c = 0; c < width; c++)
            out[f * width + c] += state.features.data()[(f0 + f) * k.lanes + lane] * change[c];
        for (int c = 0; c < 3 * nlocal + 6; c++) {
          const size_t row = c < 3 * nlocal ? 3 * static_cast<size_t>(state.owners[c / 3]) + c % 3
                                            : 3 * static_cast<size_t>(nowners) + c - 3 * nlocal;
          double *target = rows + row * m + offsets_[block.species] + f0;
          for (int f = 0; f < nf; f++) target[f] += out[f * width + c];
        }
      }
    }
  }
}
