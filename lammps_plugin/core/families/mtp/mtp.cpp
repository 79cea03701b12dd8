// SPDX-License-Identifier: GPL-2.0-or-later
// Orchestrates the kernels: blocks of atoms go through neighbours → core moments → products →
// energies, and back. evaluate() takes one block all the way before the next; forward() keeps the
// core moments of every block and the indices of neighbours for backward(), which makes the rest
// again: the positions of all atoms stay in the cache, the functions of all pairs do not.

#include "core/families/mtp/state.h"
#include "core/map/pair_virial.h"
#include "core/simd/dispatch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

using namespace uq;
using namespace uq::mtp;

namespace uq {
namespace mtp {
UQ_SELECT_KERNELS(Kernels, kernel_table, kernels)
}
}    // namespace uq

Mtp::Mtp(Parameters potential) : potential_(std::move(potential)), plan_(potential_) {
  const Parameters &p = potential_;
  weights_ = p.species_coeffs;
  weights_.insert(weights_.end(), p.moment_coeffs.begin(), p.moment_coeffs.end());
  for (int pair = 0; pair < nspecies() * nspecies(); pair++)
    for (int mu : plan_.slots)
      for (int k = 0; k < p.nbasis; k++)
        coefficients_.push_back(p.scaling * p.radial[(pair * p.nradial + mu) * p.nbasis + k]);
  prepare_active();
}

bool Parameters::same_features(const Parameters &other) const {
  const auto all = [](const Parameters &p) {
    return std::tie(p.elements, p.repulsive, p.scaling, p.rmin, p.rmax, p.nbasis, p.nradial,
                    p.radial, p.nmoments, p.basic, p.products, p.scalars);
  };
  return all(*this) == all(other);
}

std::unique_ptr<const FeatureMap>
Mtp::fuse_with(const std::vector<const FeatureMap *> &maps) const {
  Parameters potential = potential_;
  potential.active_inverse.clear();    // of one member
  auto fused = std::make_unique<Mtp>(std::move(potential));
  fused->weights_.clear();
  for (const FeatureMap *map : maps) {
    const auto &other = static_cast<const Mtp &>(*map);
    if (!potential_.same_features(other.potential_)) return nullptr;
    fused->weights_.insert(fused->weights_.end(), other.weights_.begin(), other.weights_.end());
  }
  return fused;
}

std::unique_ptr<FeatureMap::State> Mtp::new_state() const {
  auto state = std::make_unique<MtpState>();
  state->kernels = &kernels();
  state->nodes.reserve(static_cast<size_t>(plan_.products.nnodes) * block_atoms);
  state->adjoint.reserve(static_cast<size_t>(plan_.products.nnodes) * block_atoms);
  state->value.reserve(block_atoms);
  state->functions.resize(block_atoms);
  state->scratch.reserve(static_cast<size_t>(plan_.angular.ncore) * state->kernels->lanes);
  state->column.reserve(plan_.angular.ncore);
  return state;
}

// ---------------------------------------------------------------------- neighbours

// Nodes stay from the forward to the backward pass where all of them take at most this many bytes:
// beyond the caches, making them again is faster than reading them.
static constexpr size_t largest_kept = size_t(4) << 20;

// Cuts the centres into blocks; keep: with room for all of them at once.
void Mtp::begin(const Neighbors &nb, MtpState &state, bool keep) const {
  const int nblocks = (nb.ncenters + block_atoms - 1) / block_atoms;
  state.min_distance = std::numeric_limits<double>::infinity();
  state.baseline_energy = 0.0;
  state.baseline_energies.assign(nb.ncenters, 0.0);
  const size_t nodes = static_cast<size_t>(plan_.products.nnodes) * block_atoms,
               core = static_cast<size_t>(plan_.products.ncore) * block_atoms;
  state.all_kept = nblocks * nodes * sizeof(double) <= largest_kept;
  const size_t width = state.all_kept ? nodes : core;
  if (keep) state.kept.reserve(nblocks * width);
  state.blocks.resize(nblocks);
  for (int b = 0; b < nblocks; b++) {
    Block &block = state.blocks[b];
    block.row = b * block_atoms;
    block.natoms = std::min(block_atoms, nb.ncenters - block.row);
    block.environment = keep ? block.row : 0;
    block.kept = keep ? state.kept.data() + b * width : nullptr;
  }
  const size_t nkept = keep ? nb.ncenters : block_atoms;
  if (state.environments.size() < nkept) state.environments.resize(nkept);
}

// Finds the neighbours of a centre and sorts them by species.
void Mtp::find_neighbors(const Neighbors &nb, MtpState &state, int center, Environment &env) const {
  env.center = center;
  env.species = nb.species[center];
  const int *list = nb.neighbors[center];
  const int nlist = nb.counts[center];
  if (static_cast<int>(state.neighbors.size()) <= nlist) {
    state.neighbors.resize(nlist + 1);
    state.species.resize(nlist + 1);
  }
  const double *xi = nb.x + 3 * static_cast<size_t>(center);
  const double rcut2 = potential_.rmax * potential_.rmax;
  double closest = std::numeric_limits<double>::infinity();
  int n = 0;
  for (int k = 0; k < nlist; k++) {
    const int j = list[k] & nb.mask, s = nb.species[j];
    const double *xj = nb.x + 3 * static_cast<size_t>(j);
    const double dx = xj[0] - xi[0], dy = xj[1] - xi[1], dz = xj[2] - xi[2];
    const double d2 = dx * dx + dy * dy + dz * dz;
    // Written always, counted if inside: no branch to predict. A NaN counts, to be seen in energy
    // and forces.
    const bool inside = s >= 0 && !(d2 >= rcut2);
    state.neighbors[n] = j;
    state.species[n] = s;
    if (inside) closest = std::min(closest, d2);
    n += inside;
  }
  state.min_distance = std::min(state.min_distance, std::sqrt(closest));
  const int lanes = state.kernels->lanes;
  env.n = n;
  env.padded = (n + lanes - 1) / lanes * lanes;
  env.index.assign(env.padded, -1);
  env.first.assign(nspecies() + 1, 0);
  for (int k = 0; k < n; k++) env.first[state.species[k] + 1]++;
  for (int s = 0; s < nspecies(); s++) env.first[s + 1] += env.first[s];
  for (int k = 0; k < n; k++) env.index[env.first[state.species[k]]++] = state.neighbors[k];
  for (int s = nspecies(); s > 0; s--) env.first[s] = env.first[s - 1];
  env.first[0] = 0;
}

// Lays out the neighbours of a centre and their radial functions; slopes: those too.
void Mtp::evaluate_functions(const Neighbors &nb, const Kernels &k, bool slopes, Environment &env,
                             AlignedArray &memory) const {
  const size_t n = env.padded, nslots = plan_.angular.nslots;
  memory.reserve((4 + 2 * nslots) * n);
  env.locate(nb, k, potential_.rmax, memory);
  env.f = env.r + n;
  env.df = env.f + nslots * n;
  const size_t per_center =
      static_cast<size_t>(nspecies()) * plan_.radial.nslots * plan_.radial.nbasis;
  k.radial(plan_.radial, nspecies(), env.first.data(),
           coefficients_.data() + env.species * per_center, env.padded, env.r, env.f,
           slopes ? env.df : nullptr);
}

// ---------------------------------------------------------------------- forward

// All nodes of a block and its environments; slopes: with all that forces need of every atom.
void Mtp::moments(const Neighbors &nb, MtpState &state, const Block &block, bool slopes,
                  double *nodes) const {
  const Kernels &k = *state.kernels;
  const size_t ncore = plan_.products.ncore;
  if (block.natoms < block_atoms) std::fill(nodes, nodes + ncore * block_atoms, 0.0);
  for (int atom = 0; atom < block.natoms; atom++) {
    Environment &env = state.environments[block.environment + atom];
    if (block.kept) prefetch(block.kept + static_cast<size_t>(atom) * ncore, ncore);
    find_neighbors(nb, state, nb.centers[block.row + atom], env);
    evaluate_functions(nb, k, slopes, env, state.functions[slopes ? atom : 0]);
    k.accumulate(plan_.angular, env.padded, env.x, env.y, env.z, env.f, state.scratch.data(),
                 nodes + atom);
    for (int j = 0; potential_.repulsive && j < env.n; j++)
      state.baseline_energies[block.row + atom] += repulsion(env.r[j]);
    state.baseline_energy += state.baseline_energies[block.row + atom];
  }
  k.products(plan_.products, nodes);
}

// Places of a block without an atom hold zeros.
void Mtp::features(MtpState &state, const Block &block, const double *nodes, double *sum,
                   double *per_atom) const {
  const int ns = nspecies();
  for (int atom = 0; atom < block.natoms; atom++) {
    const int species = state.environments[block.environment + atom].species;
    for (int m = 0; sum && m < nmembers(); m++) sum[m * nfeatures() + species] += 1.0;
    if (!per_atom) continue;
    double *row = per_atom + static_cast<size_t>(block.row + atom) * nreadout();
    std::fill(row, row + ns, 0.0);
    row[species] = 1.0;
    for (int n = 0; n < nscalars(); n++) row[ns + n] = nodes[plan_.scalars[n] * block_atoms + atom];
    for (int m = 1; m < nmembers(); m++) std::copy_n(row, nfeatures(), row + m * nfeatures());
  }
  for (int m = 0; sum && m < nmembers(); m++)
    state.kernels->sum_atoms(nscalars(), plan_.scalars.data(), nodes, sum + m * nfeatures() + ns);
}

void Mtp::forward(const Neighbors &nb, State &base, double *sum, double *per_atom) const {
  auto &state = static_cast<MtpState &>(base);
  begin(nb, state, true);
  const size_t core = static_cast<size_t>(plan_.products.ncore) * block_atoms;
  for (const Block &block : state.blocks) {
    double *nodes = state.all_kept ? block.kept : state.nodes.data();
    moments(nb, state, block, false, nodes);
    features(state, block, nodes, sum, per_atom);
    if (!state.all_kept) std::copy(nodes, nodes + core, block.kept);
  }
}

// ---------------------------------------------------------------------- backward

// Weights of all members [nreadout] as those of the features that they share.
void Mtp::add_members(const double *weights, double *total) const {
  std::copy_n(weights, nfeatures(), total);
  for (int m = 1; m < nmembers(); m++)
    for (int k = 0; k < nfeatures(); k++) total[k] += weights[m * nfeatures() + k];
}

// ∂s/∂node [node][atom] and s [atom] of a block.
void Mtp::adjoint(const Neighbors &nb, MtpState &state, const Block &block, const double *nodes,
                  const Cotangent &cotangent, double *adjoint, double *value) const {
  const Kernels &k = *state.kernels;
  const int ns = nspecies();
  state.weights.resize(nfeatures());
  double *weights = state.weights.data(), constants[block_atoms] = {};
  const auto constant = [&](int atom) {
    constants[atom] = weights[nb.species[nb.centers[block.row + atom]]];
  };
  if (cotangent.shared) {
    add_members(cotangent.shared, weights);
    for (int atom = 0; atom < block.natoms; atom++) constant(atom);
  } else {
    state.atom_weights.zero(static_cast<size_t>(nscalars()) * block_atoms);
    for (int atom = 0; cotangent.per_atom && atom < block.natoms; atom++) {
      add_members(cotangent.per_atom + static_cast<size_t>(block.row + atom) * nreadout(), weights);
      constant(atom);
      for (int n = 0; n < nscalars(); n++)
        state.atom_weights.data()[n * block_atoms + atom] = weights[ns + n];
    }
  }
  k.adjoint(plan_.products, nodes, nscalars(), plan_.scalars.data(),
            cotangent.shared ? weights + ns : state.atom_weights.data(), !cotangent.shared, adjoint,
            value);
  for (int atom = 0; atom < block.natoms; atom++) value[atom] += constants[atom];
}

// Forces of a block whose nodes are made; again: from where its neighbours are on.
void Mtp::block_forces(const Neighbors &nb, MtpState &state, const Block &block,
                       const double *nodes, int ncotangents, const Cotangent *cotangents,
                       Result *results, bool again) const {
  const Kernels &k = *state.kernels;
  const size_t size = static_cast<size_t>(plan_.products.nnodes) * block_atoms;
  state.adjoint.reserve(ncotangents * size);
  state.value.reserve(static_cast<size_t>(ncotangents) * block_atoms);
  for (int s = 0; s < ncotangents; s++)
    adjoint(nb, state, block, nodes, cotangents[s], state.adjoint.data() + s * size,
            state.value.data() + static_cast<size_t>(s) * block_atoms);
  for (int atom = 0; atom < block.natoms; atom++) {
    Environment &env = state.environments[block.environment + atom];
    if (again) evaluate_functions(nb, k, true, env, state.functions[0]);
    for (int s = 0; s < ncotangents; s++)
      atom_forces(state, env, state.adjoint.data() + s * size + atom,
                  state.value.data()[s * block_atoms + atom],
                  cotangents[s].baseline_of(block.row + atom), results[s]);
  }
}

// Short-range repulsion of RBChebyshev_repuls, eV.
double Mtp::repulsion(double r) const {
  if (!(r < potential_.rmin)) return 0.0;
  return 1e4 * (std::exp(-10.0 * (r - 1.0)) - std::exp(-10.0 * (potential_.rmin - 1.0)));
}

double Mtp::repulsion_slope(double r) const {
  return r < potential_.rmin ? -1e5 * std::exp(-10.0 * (r - 1.0)) : 0.0;
}

// `adjoint`, `energy`: of the atom, with the stride of a block.
void Mtp::atom_forces(MtpState &state, const Environment &env, const double *adjoint, double energy,
                      double baseline, Result &result) const {
  const Kernels &k = *state.kernels;
  const int n = env.padded;
  for (int c = 0; c < plan_.angular.ncore; c++)
    state.column.data()[c] = adjoint[static_cast<size_t>(c) * block_atoms];
  state.force.reserve(3 * static_cast<size_t>(n));
  double *fx = state.force.data(), *fy = fx + n, *fz = fy + n;
  k.forces(plan_.angular, n, env.x, env.y, env.z, env.r, env.f, env.df, state.column.data(), fx);
  for (int j = 0; potential_.repulsive && j < env.n; j++) {
    const double along = baseline * repulsion_slope(env.r[j]);
    energy += baseline * repulsion(env.r[j]);
    fx[j] += along * env.x[j];
    fy[j] += along * env.y[j];
    fz[j] += along * env.z[j];
  }
  result.energy += energy;
  if (result.eatom) result.eatom[env.center] += energy;
  if (result.forces) {
    double sum[3] = {0.0, 0.0, 0.0};
    for (int j = 0; j < env.n; j++) {
      double *f = result.forces + 3 * static_cast<size_t>(env.index[j]);
      f[0] -= fx[j];
      f[1] -= fy[j];
      f[2] -= fz[j];
      sum[0] += fx[j];
      sum[1] += fy[j];
      sum[2] += fz[j];
    }
    for (int c = 0; c < 3; c++) result.forces[3 * static_cast<size_t>(env.center) + c] += sum[c];
  }
  if (result.virial) {
    double sums[9] = {};
    k.virial(n, env.x, env.y, env.z, env.r, fx, sums);
    for (int c = 0; c < 9; c++) result.virial[c] -= sums[c];
  }
  Result atoms;    // the virial is there already
  atoms.vatom = result.vatom;
  for (int j = 0; atoms.vatom && j < env.n; j++) {
    const double back[3] = {-env.x[j] * env.r[j], -env.y[j] * env.r[j], -env.z[j] * env.r[j]},
                 f[3] = {fx[j], fy[j], fz[j]};
    add_pair_virial(back, f, env.index[j], atoms);
  }
}

void Mtp::backward(const Neighbors &nb, State &base, int ncotangents, const Cotangent *cotangents,
                   Result *results) const {
  auto &state = static_cast<MtpState &>(base);
  if (ncotangents == 0) return;
  const size_t core = static_cast<size_t>(plan_.products.ncore) * block_atoms;
  // In reverse: what forward() left last is still in the cache.
  for (auto next = state.blocks.rbegin(); next != state.blocks.rend(); ++next) {
    const Block &block = *next;
    const double *nodes = block.kept;
    if (!state.all_kept) {
      std::copy(block.kept, block.kept + core, state.nodes.data());
      state.kernels->products(plan_.products, state.nodes.data());
      nodes = state.nodes.data();
    }
    block_forces(nb, state, block, nodes, ncotangents, cotangents, results, true);
  }
}

void Mtp::evaluate(const Neighbors &nb, State &base, const Cotangent &cotangent,
                   Result &result) const {
  auto &state = static_cast<MtpState &>(base);
  begin(nb, state, false);
  for (const Block &block : state.blocks) {
    moments(nb, state, block, true, state.nodes.data());
    block_forces(nb, state, block, state.nodes.data(), 1, &cotangent, &result, false);
  }
}
