// SPDX-License-Identifier: GPL-2.0-or-later
// Orchestrates the kernels: blocks of atoms of one species go through neighbours → A → products →
// features, and back. evaluate() takes one block all the way before the next; forward() keeps A of
// every block and the indices of neighbours for backward(), which reads positions again: those of
// all atoms stay in the cache, the displacements of all pairs do not.

#include "core/families/ace/state.h"
#include "core/map/pair_virial.h"
#include "core/simd/dispatch.h"

#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

using namespace uq;
using namespace uq::ace;

namespace uq {
namespace ace {
UQ_SELECT_KERNELS(Kernels, kernel_table, kernels)
}
}    // namespace uq

Ace::Ace(Parameters potential, const LoadOptions &options)
    : potential_(std::move(potential)), options_(options), plans_(potential_.elements.size()),
      inner_(potential_.inner) {
  const int ne = potential_.nelements();
  int nreadout = 0;
  for (int i = 0; i < ne; i++) {
    compile(potential_, i, options.radial, plans_[i]);
    offsets_.push_back(nreadout);
    nreadout += plans_[i].nfeatures;
    inner_cutoffs_.emplace_back();
    for (int j = 0; j < ne; j++) {
      const Bond &bond = potential_.bond(i, j);
      cutoff_ = std::max(cutoff_, bond.rcut);
      inner_cutoffs_[i].emplace_back(bond.rcut_in, bond.dcut_in);
    }
  }
  weights_.assign(nreadout, 1.0);
}

std::vector<std::string> ace::warnings(const std::string &file, const Parameters &potential,
                                       Radial mode) {
  std::string functions, tables;    // pairs whose functions, or whose splines in the file, do not
  for (int i = 0; i < potential.nelements(); i++)
    for (int j = 0; j < potential.nelements(); j++) {
      const Bond &bond = potential.bond(i, j);
      if (!vanishes_at_cutoff(bond))
        (bond.basis == RadialBasis::Table ? tables : functions) +=
            " " + potential.elements[i] + "-" + potential.elements[j];
    }
  const std::string jump =
      " do not vanish at their cutoff: the energy of a pair that crosses it jumps";
  std::vector<std::string> warnings;
  if (!tables.empty())
    warnings.push_back(file + ": the splines of" + tables + " in the file" + jump);
  if (!functions.empty() && mode == Radial::Direct)
    warnings.push_back(file + ": radial functions of" + functions + jump +
                       "; `radial spline` falls to zero in the last bin as the reference does");
  else if (!functions.empty())
    warnings.push_back(
        file + ": radial functions of" + functions + jump + ", within the last bin of " +
        std::to_string(potential.spline_step) +
        " Å, as the reference's splines do, which are used here; fit with ChebExpCos, "
        "ChebPow or SBessel for energies that are conserved");
  return warnings;
}

bool Bond::operator==(const Bond &other) const {
  const auto all = [](const Bond &b) {
    return std::tie(b.nradmax, b.lmax, b.nbase, b.basis, b.lambda, b.crad, b.table, b.rcut, b.dcut,
                    b.rcut_in, b.dcut_in, b.prehc, b.lambdahc);
  };
  return all(*this) == all(other);
}

static bool is_linear(const Species &species) {
  return species.densities.size() == 1 && species.densities[0].exponent == 1.0;
}

// Whether two linear potentials differ in nothing but their functions.
static bool are_kin(const Parameters &a, const Parameters &b) {
  if (a.elements != b.elements || a.inner != b.inner || a.spline_step != b.spline_step ||
      a.bonds != b.bonds)
    return false;
  for (size_t z = 0; z < a.species.size(); z++) {
    const Species &s = a.species[z], &t = b.species[z];
    if (!is_linear(s) || !is_linear(t) || s.densities[0].weight != t.densities[0].weight ||
        s.e0 != t.e0 || s.rho_core_cutoff != t.rho_core_cutoff ||
        s.drho_core_cutoff != t.drho_core_cutoff)
      return false;
  }
  return true;
}

std::unique_ptr<const FeatureMap>
Ace::fuse_with(const std::vector<const FeatureMap *> &maps) const {
  Parameters joint = potential_;
  for (Species &species : joint.species) species.functions.clear();
  for (const FeatureMap *map : maps) {
    const Parameters &other = static_cast<const Ace &>(*map).potential_;
    if (!are_kin(potential_, other)) return nullptr;
    for (size_t z = 0; z < joint.species.size(); z++) {
      std::vector<Function> &functions = joint.species[z].functions;
      const std::vector<Function> &more = other.species[z].functions;
      functions.insert(functions.end(), more.begin(), more.end());
    }
  }
  return std::make_unique<const Ace>(std::move(joint), options_);
}

void Ace::set_active(std::unique_ptr<const Ace> projections, ActiveSet active) {
  projections_ = std::move(projections);
  active_ = std::move(active);
}

void Ace::grades(const Neighbors &nb, State &state, double *grades) const {
  if (!has_grades()) return FeatureMap::grades(nb, state, grades);
  const size_t width = projections_->max_features();
  std::vector<double> features(nb.ncenters * width), rows, values;
  projections_->forward(nb, *projections_->new_state(), nullptr, features.data());
  for (int z = 0; z < potential_.nelements(); z++) {
    std::vector<int> centers;
    rows.clear();
    for (int i = 0; i < nb.ncenters; i++)
      if (nb.species[nb.centers[i]] == z) {
        centers.push_back(i);
        rows.insert(rows.end(), features.begin() + i * width, features.begin() + (i + 1) * width);
      }
    values.resize(centers.size());
    active_.grades(z, static_cast<int>(centers.size()), static_cast<int>(width), rows.data(),
                   values.data());
    for (size_t i = 0; i < centers.size(); i++) grades[centers[i]] = values[i];
  }
}

std::unique_ptr<FeatureMap::State> Ace::new_state() const {
  auto state = std::make_unique<AceState>();
  state->kernels = &kernels();
  state->scale.reserve(static_cast<size_t>(sum_blocks) * state->kernels->lanes);
  state->coordinates.resize(state->kernels->lanes);
  return state;
}

// ---------------------------------------------------------------------- neighbours

// Sorts the centres into blocks and sizes the scratch memory; keep: with room for the environments
// of all centres at once.
void Ace::begin(const Neighbors &nb, AceState &state, bool keep) const {
  const int lanes = state.kernels->lanes, ne = static_cast<int>(potential_.elements.size());
  state.min_distance = std::numeric_limits<double>::infinity();
  state.baseline_energy = 0.0;
  state.baseline_energies.assign(nb.ncenters, 0.0);
  state.blocks.clear();
  state.order.clear();
  state.order.reserve(nb.ncenters);
  size_t ncomponents = 0, nrho = 0;
  for (int z = 0; z < ne; z++) {
    const size_t start = state.order.size();
    for (int k = 0; k < nb.ncenters; k++)
      if (nb.species[nb.centers[k]] == z) state.order.push_back(k);
    const ProductPlan &plan = plans_[z].products;
    for (size_t k = start; k < state.order.size(); k += lanes) {
      Block block;
      block.species = z;
      block.natoms = static_cast<int>(std::min<size_t>(lanes, state.order.size() - k));
      block.rows = state.order.data() + k;
      block.components = ncomponents;
      block.rho = nrho;
      block.environment = keep ? k : 0;
      ncomponents += static_cast<size_t>(plan.ncomp) * lanes;
      nrho += plans_[z].nonlinear.size() * lanes;
      state.blocks.push_back(block);
    }
    state.nodes.reserve(2 * static_cast<size_t>(sum_blocks) * plan.nnode * lanes);
    state.products.reserve(static_cast<size_t>(plan.nproduct) * lanes);
    for (const BondPlan &bond : plans_[z].bonds) state.scratch.reserve(scratch_size(bond, lanes));
  }
  const size_t nkept = keep ? state.order.size() : state.kernels->lanes;
  if (state.environments.size() < nkept) state.environments.resize(nkept);
}

// Neighbours inside the cutoff, in the order of the list, into the state's scratch; their numbers
// into env.size. Returns how many.
int Ace::find_neighbors(const Neighbors &nb, AceState &state, Environment &env) const {
  const std::vector<BondPlan> &bonds = plans_[env.species].bonds;
  const int *list = nb.neighbors[env.center];
  const size_t nlist = nb.counts[env.center];
  if (state.neighbors.size() < nlist) {
    state.neighbors.resize(nlist);
    state.species.resize(nlist);
  }
  env.size.assign(potential_.elements.size(), 0);
  const double *xi = nb.x + 3 * static_cast<size_t>(env.center);
  double closest = std::numeric_limits<double>::infinity();
  int n = 0;
  for (size_t k = 0; k < nlist; k++) {
    const int j = list[k] & nb.mask, s = nb.species[j];
    if (s < 0) continue;
    const double *xj = nb.x + 3 * static_cast<size_t>(j);
    const double dx = xj[0] - xi[0], dy = xj[1] - xi[1], dz = xj[2] - xi[2];
    const double d2 = dx * dx + dy * dy + dz * dz, rcut = bonds[s].radial.rcut;
    if (d2 >= rcut * rcut) continue;    // a NaN goes on, to be seen in energy and forces
    state.neighbors[n] = j;
    state.species[n++] = s;
    env.size[s]++;
    closest = std::min(closest, d2);
  }
  env.min_distance = std::sqrt(closest);
  return n;
}

// Finds the neighbours of a centre and sorts them by species.
void Ace::gather(const Neighbors &nb, AceState &state, int center, Environment &env) const {
  const int lanes = state.kernels->lanes, ne = static_cast<int>(potential_.elements.size());
  env.center = center;
  env.species = nb.species[center];
  const int n = find_neighbors(nb, state, env);
  int total = 0;
  env.first.resize(ne);
  for (int s = 0; s < ne; s++) {
    env.first[s] = total;
    env.size[s] = (env.size[s] + lanes - 1) / lanes * lanes;
    total += env.size[s];
  }
  env.index.assign(total, -1);
  state.next = env.first;
  for (int k = 0; k < n; k++) env.index[state.next[state.species[k]]++] = state.neighbors[k];
}

// ρ and the switch f.
void Ace::add_core(Environment &env) const {
  const SpeciesPlan &plan = plans_[env.species];
  env.rho = env.df = 0.0;
  env.f = 1.0;
  env.nearest = -1;
  if (inner_ == InnerCutoff::Zbl) {
    double d = std::numeric_limits<double>::infinity(), width = 0.0;
    for (size_t s = 0; s < env.size.size(); s++) {
      const auto [rcut_in, dcut_in] = inner_cutoffs_[env.species][s];
      for (int k = env.first[s]; k < env.first[s] + env.size[s]; k++) {
        if (env.index[k] < 0 || env.r[k] - (rcut_in - dcut_in) >= d) continue;
        d = env.r[k] - (rcut_in - dcut_in);
        width = dcut_in;
        env.nearest = k;
      }
    }
    if (env.nearest < 0) return;
    const Value step = quintic_step(width - d, width, width);
    env.f = step.f;
    env.df = -step.df;
    if (env.f == 1.0) return;    // the core repulsion carries no weight
  }
  for (size_t s = 0; s < env.size.size(); s++) {
    const double range = plan.core[s].range();
    for (int k = env.first[s]; k < env.first[s] + env.size[s]; k++)
      if (env.r[k] < range && env.index[k] >= 0) env.rho += plan.core[s](env.r[k]).f;
  }
  if (inner_ == InnerCutoff::Zbl) return;
  const Value step = quintic_step(env.rho, plan.rho_core_cutoff, plan.drho_core_cutoff);
  env.f = step.f;
  env.df = step.df;
}

// ---------------------------------------------------------------------- forward

// A of a block, its environments, fixed energies and shortest distance; keep: where all neighbours
// are, too.
void Ace::components(const Neighbors &nb, AceState &state, const Block &block, bool keep, double *a,
                     double *scale) const {
  const SpeciesPlan &plan = plans_[block.species];
  const Kernels &k = *state.kernels;
  std::fill(a, a + static_cast<size_t>(plan.products.ncomp) * k.lanes, 0.0);
  std::fill(scale, scale + k.lanes, 0.0);
  for (int lane = 0; lane < block.natoms; lane++) {
    Environment &env = state.environments[block.environment + lane];
    gather(nb, state, nb.centers[block.rows[lane]], env);
    env.locate(nb, k, outside(), state.coordinates[keep ? lane : 0]);
    add_core(env);
    for (size_t s = 0; s < plan.bonds.size(); s++) {
      const int at = env.first[s];
      if (env.size[s] > 0)
        k.accumulate(plan.bonds[s], legendre(), env.size[s], env.x + at, env.y + at, env.z + at,
                     env.r + at, state.scratch.data(), a + lane);
    }
    scale[lane] = env.f;
    state.min_distance = std::min(state.min_distance, env.min_distance);
    const double baseline = plan.e0 + env.rho * (inner_ == InnerCutoff::Zbl ? 1.0 - env.f : 1.0);
    state.baseline_energy += baseline;
    state.baseline_energies[block.rows[lane]] = baseline;
  }
}

// Nodes, products and the densities with non-linear embedding.
void Ace::products(AceState &state, const Block &block, const double *a, double *rho) const {
  const SpeciesPlan &plan = plans_[block.species];
  const Kernels &k = *state.kernels;
  k.products(plan.products, a, state.nodes.data(), state.products.data());
  for (size_t p = 0; p < plan.densities.size(); p++)
    k.combine(plan.products.nproduct, plan.densities[p].data(), state.products.data(),
              rho + p * k.lanes);
}

// From the products of a block to features. `sum` gets the non-linear ones; the linear ones wait in
// state.sums.
void Ace::features(AceState &state, const Block &block, const double *rho, double *sum,
                   double *per_atom) const {
  const SpeciesPlan &plan = plans_[block.species];
  const Kernels &k = *state.kernels;
  const int nlinear = plan.coupling.rows(), nnonlinear = static_cast<int>(plan.nonlinear.size());
  if (sum)
    k.add_products(plan.products.nproduct, state.products.data(), state.scale.data(),
                   state.sums.data());
  if (per_atom) {
    state.features.reserve(static_cast<size_t>(nlinear) * k.lanes);
    k.couple(nlinear, plan.coupling.first.data(), plan.coupling.column.data(),
             plan.coupling.value.data(), state.products.data(), state.features.data());
  }
  const int width = max_features();
  for (int lane = 0; lane < block.natoms; lane++) {
    double *row = per_atom ? per_atom + static_cast<size_t>(block.rows[lane]) * width : nullptr;
    if (row) {
      std::fill(row, row + width, 0.0);
      for (int f = 0; f < nlinear; f++)
        row[f] = state.scale.data()[lane] * state.features.data()[f * k.lanes + lane];
    }
    for (int p = 0; p < nnonlinear; p++) {
      const Density &density = plan.nonlinear[p];
      const double value = state.scale.data()[lane] * density.weight *
                           embed(plan.embedding, rho[p * k.lanes + lane], density.exponent).f;
      if (row) row[nlinear + p] = value;
      if (sum) sum[offsets_[block.species] + nlinear + p] += value;
    }
  }
}

// The sums of products of a species become sums of its linear features.
void Ace::couple_sums(AceState &state, int species, double *sum) const {
  const Sparse &c = plans_[species].coupling;
  for (int f = 0; f < c.rows(); f++)
    for (int t = c.first[f]; t < c.first[f + 1]; t++)
      sum[offsets_[species] + f] += c.value[t] * state.sums.data()[c.column[t]];
}

void Ace::forward(const Neighbors &nb, State &base, double *sum, double *per_atom) const {
  auto &state = static_cast<AceState &>(base);
  const Kernels &k = *state.kernels;
  begin(nb, state, true);
  if (state.blocks.empty()) return;
  const Block &last = state.blocks.back();
  state.components.reserve(last.components +
                           static_cast<size_t>(plans_[last.species].products.ncomp) * k.lanes);
  state.rho.reserve(last.rho + plans_[last.species].nonlinear.size() * k.lanes);
  int waiting = 0;    // blocks whose products are not summed yet
  for (size_t b = 0; b < state.blocks.size(); b++) {
    const Block &block = state.blocks[b];
    const SpeciesPlan &plan = plans_[block.species];
    const bool begins = b == 0 || block.species != state.blocks[b - 1].species;
    const bool ends = b + 1 == state.blocks.size() || block.species != state.blocks[b + 1].species;
    if (sum && begins) state.sums.zero(plan.products.nproduct);
    double *a = state.components.data() + block.components, *rho = state.rho.data() + block.rho;
    components(nb, state, block, false, a, state.scale.data() + waiting * k.lanes);
    if (per_atom || !plan.nonlinear.empty()) {
      products(state, block, a, rho);
      features(state, block, rho, sum, per_atom);
    } else if (sum && (++waiting == sum_blocks || ends)) {
      const Block &first = state.blocks[b + 1 - waiting];
      k.sum_products(plan.products, waiting, state.components.data() + first.components,
                     state.nodes.data(), state.scale.data(), state.sums.data());
      waiting = 0;
    }
    if (sum && ends) couple_sums(state, block.species, sum);
  }
}

// ---------------------------------------------------------------------- backward

// Shared cotangents become weights of products, once for all atoms.
void Ace::fold(AceState &state, int ncotangents, const Cotangent *cotangents) const {
  state.folded.resize(ncotangents * plans_.size());
  for (int s = 0; s < ncotangents; s++)
    for (size_t z = 0; z < plans_.size(); z++) {
      const Sparse &c = plans_[z].coupling;
      std::vector<double> &w = state.folded[s * plans_.size() + z];
      w.assign(plans_[z].products.nproduct, 0.0);
      if (!cotangents[s].shared) continue;
      for (int f = 0; f < c.rows(); f++)
        for (int t = c.first[f]; t < c.first[f + 1]; t++)
          w[c.column[t]] += c.value[t] * cotangents[s].shared[offsets_[z] + f];
    }
}

static double cotangent_of(const Cotangent &cotangent, int offset, int row, int width,
                           int feature) {
  if (cotangent.shared) return cotangent.shared[offset + feature];
  return cotangent.per_atom ? cotangent.per_atom[static_cast<size_t>(row) * width + feature] : 0.0;
}

// The weights of the products of a block: shared where all lanes agree, else a table.
void Ace::weigh(AceState &state, const Block &block, const double *rho, int ncotangents,
                const Cotangent *cotangents) const {
  const SpeciesPlan &plan = plans_[block.species];
  const Kernels &k = *state.kernels;
  const int nlinear = plan.coupling.rows(), nnonlinear = static_cast<int>(plan.nonlinear.size());
  const int nproduct = plan.products.nproduct, width = max_features(),
            offset = offsets_[block.species];
  bool table = nnonlinear > 1;
  for (int s = 0; s < ncotangents; s++) table = table || cotangents[s].per_atom;

  // ∂s/∂ρ_p without the switch f
  state.extra_lanes.zero(static_cast<size_t>(ncotangents) * std::max(1, nnonlinear) * k.lanes);
  for (int s = 0; s < ncotangents; s++)
    for (int p = 0; p < nnonlinear; p++)
      for (int lane = 0; lane < block.natoms; lane++)
        state.extra_lanes.data()[(s * nnonlinear + p) * k.lanes + lane] =
            plan.nonlinear[p].weight *
            cotangent_of(cotangents[s], offset, block.rows[lane], width, nlinear + p) *
            embed(plan.embedding, rho[p * k.lanes + lane], plan.nonlinear[p].exponent).df;

  state.weights.assign(ncotangents, {});
  if (table) state.lane_weights.zero(static_cast<size_t>(ncotangents) * nproduct * k.lanes);
  for (int s = 0; s < ncotangents; s++) {
    const std::vector<double> &folded = state.folded[s * plans_.size() + block.species];
    const double *extra = state.extra_lanes.data() + static_cast<size_t>(s) * nnonlinear * k.lanes;
    if (!table) {
      state.weights[s].base = folded.data();
      if (nnonlinear) state.weights[s].extra = plan.densities[0].data();
      state.weights[s].extra_lane = extra;
      continue;
    }
    double *w = state.lane_weights.data() + static_cast<size_t>(s) * nproduct * k.lanes;
    if (cotangents[s].per_atom) {
      state.features.zero(static_cast<size_t>(nlinear) * k.lanes);
      for (int lane = 0; lane < block.natoms; lane++)
        for (int f = 0; f < nlinear; f++)
          state.features.data()[f * k.lanes + lane] =
              cotangent_of(cotangents[s], offset, block.rows[lane], width, f);
      k.spread(nlinear, plan.coupling.first.data(), plan.coupling.column.data(),
               plan.coupling.value.data(), state.features.data(), w);
    }
    for (int t = 0; t < nproduct; t++)
      for (int lane = 0; lane < k.lanes; lane++) {
        double total = folded[t];
        for (int p = 0; p < nnonlinear; p++)
          total += plan.densities[p][t] * extra[p * k.lanes + lane];
        w[t * k.lanes + lane] += total;
      }
    state.weights[s].base = w;
    state.weights[s].per_lane = true;
  }
}

// Energies and forces of a block that components() has been through; again: with the atoms to find
// the neighbours' places again, null: they have been kept.
void Ace::block_forces(AceState &state, const Block &block, const double *a, const double *rho,
                       int ncotangents, const Cotangent *cotangents, Result *results,
                       const Neighbors *again) const {
  const SpeciesPlan &plan = plans_[block.species];
  const Kernels &k = *state.kernels;
  const int nnonlinear = static_cast<int>(plan.nonlinear.size()), nlinear = plan.coupling.rows();
  state.adjoint.reserve(2 * static_cast<size_t>(ncotangents) * plan.products.nnode * k.lanes);
  state.derivative.reserve(static_cast<size_t>(ncotangents) * plan.products.ncomp * k.lanes);
  state.value.reserve(static_cast<size_t>(ncotangents) * k.lanes);
  weigh(state, block, rho, ncotangents, cotangents);
  k.adjoint(plan.products, a, state.nodes.data(), ncotangents, state.weights.data(),
            state.adjoint.data(), state.value.data(), state.derivative.data());
  // The products gave Σ_p ∂s/∂ρ_p ρ_p where the cotangent asks for F(ρ_p).
  for (int s = 0; s < ncotangents; s++)
    for (int p = 0; p < nnonlinear; p++)
      for (int lane = 0; lane < block.natoms; lane++) {
        const double density = rho[p * k.lanes + lane];
        state.value.data()[s * k.lanes + lane] +=
            plan.nonlinear[p].weight *
                cotangent_of(cotangents[s], offsets_[block.species], block.rows[lane],
                             max_features(), nlinear + p) *
                embed(plan.embedding, density, plan.nonlinear[p].exponent).f -
            state.extra_lanes.data()[(s * nnonlinear + p) * k.lanes + lane] * density;
      }
  for (int lane = 0; lane < block.natoms; lane++) {
    if (again)
      state.environments[block.environment + lane].locate(*again, k, outside(),
                                                          state.coordinates[0]);
    atom_forces(state, block, lane, ncotangents, cotangents, results);
  }
}

// Adds the force `f` = ∂s/∂r_j of a neighbour at the vector d from the centre.
static void add_pair(Result &result, int i, int j, const double *d, const double *f) {
  if (result.forces)
    for (int c = 0; c < 3; c++) {
      result.forces[3 * static_cast<size_t>(j) + c] -= f[c];
      result.forces[3 * static_cast<size_t>(i) + c] += f[c];
    }
  const double back[3] = {-d[0], -d[1], -d[2]};
  add_pair_virial(back, f, j, result);
}

void Ace::atom_forces(AceState &state, const Block &block, int lane, int ncotangents,
                      const Cotangent *cotangents, Result *results) const {
  const SpeciesPlan &plan = plans_[block.species];
  const Kernels &k = *state.kernels;
  const Environment &env = state.environments[block.environment + lane];
  const int ncomp = plan.products.ncomp, i = env.center, row = block.rows[lane];
  const bool zbl = inner_ == InnerCutoff::Zbl;
  state.column.reserve(static_cast<size_t>(ncotangents) * ncomp);
  for (int c = 0; c < ncotangents * ncomp; c++)
    state.column.data()[c] =
        env.f * state.derivative.data()[static_cast<size_t>(c) * k.lanes + lane];
  for (int s = 0; s < ncotangents; s++) {
    const double energy =
        env.f * state.value.data()[s * k.lanes + lane] +
        cotangents[s].baseline_of(row) * (plan.e0 + env.rho * (zbl ? 1.0 - env.f : 1.0));
    results[s].energy += energy;
    if (results[s].eatom) results[s].eatom[i] += energy;
  }
  for (size_t z = 0; z < plan.bonds.size(); z++) {
    const int n = env.size[z], at = env.first[z];
    if (n == 0) continue;
    state.force.reserve(3 * static_cast<size_t>(ncotangents) * n);
    k.forces(plan.bonds[z], legendre(), n, env.x + at, env.y + at, env.z + at, env.r + at,
             ncotangents, ncomp, state.column.data(), state.scratch.data(), state.force.data());
    const double range = env.f == 1.0 && zbl ? 0.0 : plan.core[z].range();
    for (int s = 0; s < ncotangents; s++) {
      const double value = state.value.data()[s * k.lanes + lane];
      const double baseline = cotangents[s].baseline_of(row);
      const double slope = zbl ? baseline * (1.0 - env.f) : env.df * value + baseline;
      const double *f = state.force.data() + 3 * static_cast<size_t>(s) * n;
      for (int j = 0; j < n; j++) {
        const int q = at + j, neighbor = env.index[q];
        if (neighbor < 0) break;
        double along = env.r[q] < range ? slope * plan.core[z](env.r[q]).df : 0.0;
        if (zbl && q == env.nearest) along += env.df * (value - baseline * env.rho);
        const double d[3] = {env.x[q] * env.r[q], env.y[q] * env.r[q], env.z[q] * env.r[q]};
        const double g[3] = {f[j] + along * env.x[q], f[n + j] + along * env.y[q],
                             f[2 * n + j] + along * env.z[q]};
        add_pair(results[s], i, neighbor, d, g);
      }
    }
  }
}

void Ace::backward(const Neighbors &nb, State &base, int ncotangents, const Cotangent *cotangents,
                   Result *results) const {
  auto &state = static_cast<AceState &>(base);
  if (ncotangents == 0) return;
  if (ncotangents > 2) {    // the kernels take two at a time
    backward(nb, base, 2, cotangents, results);
    return backward(nb, base, ncotangents - 2, cotangents + 2, results + 2);
  }
  fold(state, ncotangents, cotangents);
  for (auto next = state.blocks.rbegin(); next != state.blocks.rend(); ++next) {
    const Block &block = *next;
    const double *a = state.components.data() + block.components,
                 *rho = state.rho.data() + block.rho;
    block_forces(state, block, a, rho, ncotangents, cotangents, results, &nb);
  }
}

void Ace::evaluate(const Neighbors &nb, State &base, const Cotangent &cotangent,
                   Result &result) const {
  auto &state = static_cast<AceState &>(base);
  begin(nb, state, false);
  fold(state, 1, &cotangent);
  for (const Block &block : state.blocks) {
    const SpeciesPlan &plan = plans_[block.species];
    state.components.reserve(static_cast<size_t>(plan.products.ncomp) * state.kernels->lanes);
    state.rho.reserve(plan.nonlinear.size() * state.kernels->lanes);
    double *a = state.components.data(), *rho = state.rho.data();
    components(nb, state, block, true, a, state.scale.data());
    if (!plan.nonlinear.empty()) products(state, block, a, rho);
    block_forces(state, block, a, rho, 1, &cotangent, &result, nullptr);
  }
}
