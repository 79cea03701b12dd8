// SPDX-License-Identifier: GPL-2.0-or-later
// Orchestrates the kernels: blocks of atoms of one species go through neighbours → sums → network,
// and back. evaluate() takes one block all the way before the next; forward() keeps the indices of
// neighbours, sums and hidden layers of every block for backward(), which makes the rest again: the
// positions of all atoms stay in the cache, the displacements of all pairs do not.

#include "core/families/nep/nep.h"

#include "core/families/nep/state.h"
#include "core/map/pair_virial.h"
#include "core/math/elements.h"
#include "core/simd/dispatch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

using namespace uq;
using namespace uq::nep;

namespace uq {
namespace nep {
UQ_SELECT_KERNELS(Kernels, kernel_table, kernels)
}
}    // namespace uq

static constexpr int block_atoms = 8;    // share one reading of the network's weights

// Whether forming g_n = Σ_k c_nk f_k (and its slope) at every neighbour takes fewer multiplications
// than contracting sums over neighbours, once for the neighbours of each species.
static bool channels_are_cheaper(const Hyperparameters &shape, int ncomp) {
  static constexpr int neighbors = 30;    // a typical number inside the angular cutoff
  const double k = shape.angular_base, n = shape.nangular, c = ncomp;
  const double base = neighbors * 3.0 * k * c + 2.0 * shape.nspecies() * k * n * c;
  const double channels = neighbors * (3.0 * n * c + 2.0 * k * n);
  return channels < base;
}

Nep::Nep(const Parameters &potential)
    : Nep(potential, {std::make_shared<const Weights>(potential)}) {}

Nep::Nep(const Hyperparameters &shape, std::vector<std::shared_ptr<const Weights>> members)
    : shape_(shape), members_(std::move(members)), harmonics_(harmonics(shape.lmax)),
      invariants_(shape_) {
  const int n = shape_.nspecies();
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++) {
      double cutoff = std::max(shape_.radial_cutoff[pair(i, j)], shape_.angular_cutoff[pair(i, j)]);
      if (!shape_.zbl.empty()) {
        repulsion_.emplace_back(shape_.zbl[pair(i, j)], atomic_number(shape_.elements[i]),
                                atomic_number(shape_.elements[j]));
        cutoff = std::max(cutoff, repulsion_.back().range());
      }
      cutoffs_.push_back(cutoff);
      cutoff_ = std::max(cutoff_, cutoff);
      if (j == 0) reach_.emplace_back();
      const double angular = shape_.angular_cutoff[pair(i, j)];
      reach_.push_back({cutoff * cutoff, angular * angular});
    }
  // Sums of f_k serve all members, channels only their own.
  channels_first_ = members_.size() == 1 && channels_are_cheaper(shape_, harmonics_.ncomp);
  for (const auto &member : members_) count_ += member->count();
  for (int z = 0; z < n; z++)
    for (const auto &member : members_)
      weights_.insert(weights_.end(), member->weights(z), member->weights(z) + member->count());
}

std::unique_ptr<const FeatureMap>
Nep::fuse_with(const std::vector<const FeatureMap *> &maps) const {
  std::vector<std::shared_ptr<const Weights>> members;
  for (const FeatureMap *map : maps) {
    const auto &other = static_cast<const Nep &>(*map);
    if (!(other.shape_ == shape_)) return nullptr;
    members.insert(members.end(), other.members_.begin(), other.members_.end());
  }
  return std::unique_ptr<const FeatureMap>(new Nep(shape_, std::move(members)));
}

std::unique_ptr<FeatureMap::State> Nep::new_state() const {
  auto state = std::make_unique<NepState>();
  state->kernels = &kernels();
  state->coordinates.resize(block_atoms);
  state->angular.resize(block_atoms);
  const size_t nm = members_.size(), wide = width_of(shape_.nangular), c = harmonics_.width;
  state->radial.zero(nm * width_of(shape_.nradial));
  state->invariants.zero(shape_.ninvariants() * wide);
  state->base_sums.zero(std::max(shape_.angular_base * c, size_t(width_of(shape_.radial_base))));
  state->component_slopes.zero(c * wide);    // rows beyond the last component stay zero
  state->channel_slopes.zero(nm * wide * c);
  state->contracted.zero(std::max(shape_.angular_base * c, size_t(width_of(shape_.radial_base))));
  state->descriptors.zero(nm * block_atoms * width_of(shape_.dim()));
  return state;
}

// ---------------------------------------------------------------------- neighbours

// Sorts the centres into blocks and sizes the memory; keep: for all centres at once.
void Nep::begin(const Neighbors &nb, NepState &state, bool keep) const {
  state.min_distance = std::numeric_limits<double>::infinity();
  state.baseline_energy = 0.0;
  state.baseline_energies.assign(nb.ncenters, 0.0);
  state.blocks.clear();
  state.order.clear();
  state.order.reserve(nb.ncenters);
  size_t width = 0;
  for (const auto &member : members_) width += member->width();
  const size_t sums = sums_size();
  for (int z = 0; z < shape_.nspecies(); z++) {
    const size_t start = state.order.size();
    for (int k = 0; k < nb.ncenters; k++)
      if (nb.species[nb.centers[k]] == z) state.order.push_back(k);
    for (size_t k = start; k < state.order.size(); k += block_atoms) {
      Block block;
      block.species = z;
      block.natoms = static_cast<int>(std::min<size_t>(block_atoms, state.order.size() - k));
      block.rows = state.order.data() + k;
      block.environment = keep ? k : 0;
      block.sums = block.environment * sums;
      block.hidden = block.environment * width;
      state.blocks.push_back(block);
    }
  }
  const size_t nkept = keep ? std::max<size_t>(state.order.size(), block_atoms) : block_atoms;
  if (state.environments.size() < nkept) state.environments.resize(nkept);
  state.sums.reserve(nkept * sums);
  state.hidden.reserve(nkept * width);
}

// Neighbours inside the cutoffs, in the order of the list, into the state's scratch; how many there
// are of each species, and how many of those the angular functions see, into env.first and
// env.angular_first, one place ahead. Returns their number.
int Nep::find_neighbors(const Neighbors &nb, NepState &state, Environment &env) const {
  const int ns = shape_.nspecies(), *list = nb.neighbors[env.center];
  const size_t nlist = nb.counts[env.center];
  const Reach *reach = reach_.data() + env.species * (ns + 1);
  if (state.neighbors.size() <= nlist) {
    state.distances.resize(nlist + 1);
    state.neighbors.resize(nlist + 1);
    state.species.resize(nlist + 1);
  }
  env.first.assign(ns + 1, 0);
  env.angular_first.assign(ns + 1, 0);
  const double *xi = nb.x + 3 * static_cast<size_t>(env.center);
  int n = 0;
  for (size_t k = 0; k < nlist; k++) {    // without branches: what is refused is written over
    const int j = list[k] & nb.mask, s = nb.species[j];
    const double *xj = nb.x + 3 * static_cast<size_t>(j);
    const double dx = xj[0] - xi[0], dy = xj[1] - xi[1], dz = xj[2] - xi[2];
    const double d2 = dx * dx + dy * dy + dz * dz;
    state.distances[n] = d2;
    state.neighbors[n] = j;
    state.species[n] = s;
    // A NaN goes on, to be seen in energy and forces.
    n += static_cast<int>(s >= 0) & static_cast<int>(!(d2 >= reach[s + 1].all));
  }
  for (int k = 0; k < n; k++) {
    const int s = state.species[k];
    env.first[s + 1]++;
    env.angular_first[s + 1] += state.distances[k] < reach[s + 1].angular;
  }
  return n;
}

// Finds the neighbours of a centre and sorts them for the kernels.
void Nep::gather(const Neighbors &nb, NepState &state, int center, Environment &env) const {
  const int ns = shape_.nspecies();
  env.center = center;
  env.species = nb.species[center];
  const int n = find_neighbors(nb, state, env);
  state.next.resize(2 * ns);    // where the next angular and the next other neighbour go
  for (int s = 0; s < ns; s++) {
    const int count = env.first[s + 1];
    env.first[s + 1] = env.first[s] + width_of(count);
    state.next[2 * s] = env.first[s];
    state.next[2 * s + 1] = env.first[s] + env.angular_first[s + 1];
    env.angular_first[s + 1] += env.angular_first[s];
  }
  env.size = env.first[ns];
  env.index.assign(env.size, -1);
  const Reach *reach = reach_.data() + env.species * (ns + 1);
  double closest = std::numeric_limits<double>::infinity();
  for (int k = 0; k < n; k++) {
    const int s = state.species[k];
    const double d2 = state.distances[k];
    env.index[state.next[2 * s + !(d2 < reach[s + 1].angular)]++] = state.neighbors[k];
    closest = std::min(closest, d2);
  }
  env.min_distance = std::sqrt(closest);
}

void Nep::add_repulsion(Environment &env) const {
  env.repulsion = 0.0;
  if (repulsion_.empty()) return;
  for (int s = 0; s < shape_.nspecies(); s++) {
    const PairRepulsion &repulsion = repulsion_[pair(env.species, s)];
    for (int k = env.first[s]; k < env.first[s + 1] && env.index[k] >= 0; k++) {
      if (env.r[k] >= repulsion.range()) continue;
      double energy, slope;
      repulsion.evaluate(env.r[k], energy, slope);
      env.repulsion += 0.5 * energy;
    }
  }
}

// ---------------------------------------------------------------------- forward

// Makes room for the angular neighbours and their functions, and copies the former.
void Nep::gather_angular(const Environment &env, Angular &angular) const {
  const int count = env.nangular(), n = angular.size = width_of(count);
  const size_t base = static_cast<size_t>(shape_.angular_base) * n;
  const size_t channels = channels_first_ ? static_cast<size_t>(width_of(shape_.nangular)) * n : 0;
  angular.memory.reserve(2 * (base + channels) + static_cast<size_t>(harmonics_.width + 5) * n);
  double *next = angular.memory.data();
  const auto take = [&](size_t size) { return std::exchange(next, next + size); };
  for (double **array : {&angular.x, &angular.y, &angular.z, &angular.r, &angular.cutoff})
    *array = take(n);
  angular.f = take(base);
  angular.df = take(base);
  angular.g = take(channels);
  angular.dg = take(channels);
  angular.harmonics = take(static_cast<size_t>(harmonics_.width) * n);
  for (int s = 0; s < shape_.nspecies(); s++) {
    const int from = env.first[s], to = env.angular_first[s], here = env.angular_first[s + 1] - to;
    std::copy_n(env.x + from, here, angular.x + to);
    std::copy_n(env.y + from, here, angular.y + to);
    std::copy_n(env.z + from, here, angular.z + to);
    std::copy_n(env.r + from, here, angular.r + to);
    std::fill_n(angular.cutoff + to, here, shape_.angular_cutoff[pair(env.species, s)]);
  }
  for (int k = count; k < n; k++) {
    angular.x[k] = angular.y[k] = 0.0;
    angular.z[k] = angular.cutoff[k] = 1.0;
    angular.r[k] = 2.0;
  }
}

// Radial functions and harmonics of the angular neighbours.
void Nep::evaluate_functions(const Environment &env, const Kernels &k, bool slopes,
                             Angular &angular) const {
  gather_angular(env, angular);
  const int n = angular.size, wide = width_of(shape_.nangular), base = shape_.angular_base;
  k.angular(harmonics_, base, n, angular.x, angular.y, angular.z, angular.r, angular.cutoff,
            angular.f, slopes ? angular.df : nullptr, angular.harmonics);
  for (int s = 0; channels_first_ && s < shape_.nspecies(); s++) {
    const int at = env.angular_first[s], count = env.angular_first[s + 1] - at;
    const double *c = members_[0]->angular(pair(env.species, s));
    k.multiply(count, wide, base, {angular.f + at, 1, n}, c, wide, angular.g + at * wide, wide,
               false);
    if (slopes)
      k.multiply(count, wide, base, {angular.df + at, 1, n}, c, wide, angular.dg + at * wide, wide,
                 false);
  }
}

// s_nc of all members, [member][component width][channel width].
void Nep::channel_sums(NepState &state, const Environment &env, const Angular &angular,
                       double *s) const {
  const Kernels &k = *state.kernels;
  const int wide = width_of(shape_.nangular), width = harmonics_.width, base = shape_.angular_base;
  const int last = shape_.nspecies() - 1;
  if (channels_first_)
    return k.multiply(width, wide, env.nangular(), {angular.harmonics, 1, width}, angular.g, wide,
                      s, wide, false);
  bool add = false;
  for (int z = 0; z <= last; z++) {
    const int at = env.angular_first[z], count = env.angular_first[z + 1] - at;
    if (count == 0 && (add || z < last)) continue;    // without neighbours at all: zeros
    double *sums = state.base_sums.data();
    k.multiply(base, width, count, {angular.f + at, angular.size, 1},
               angular.harmonics + at * width, width, sums, width, false);
    for (size_t m = 0; m < members_.size(); m++)
      k.multiply(width, wide, base, {sums, 1, width}, members_[m]->angular(pair(env.species, z)),
                 wide, s + m * width * wide, wide, add);
    add = true;
  }
}

// Descriptors of one atom, member m's at q + m * stride.
void Nep::descriptors(NepState &state, const Environment &env, const double *s, double *q,
                      int stride) const {
  const Kernels &k = *state.kernels;
  const int nm = static_cast<int>(members_.size()), nradial = shape_.nradial;
  const int wide_radial = width_of(nradial), wide = width_of(shape_.nangular);
  double *radial = state.radial.data(), *sums = state.base_sums.data();
  std::fill(radial, radial + nm * wide_radial, 0.0);
  for (int z = 0; z < shape_.nspecies(); z++) {
    const int at = env.first[z], count = env.first[z + 1] - at, p = pair(env.species, z);
    if (count == 0) continue;
    std::fill(sums, sums + shape_.radial_base, 0.0);
    k.radial_sums(shape_.radial_base, shape_.radial_cutoff[p], count, env.r + at, sums);
    for (int m = 0; m < nm; m++)
      k.multiply(1, wide_radial, shape_.radial_base, {sums, 0, 1}, members_[m]->radial(p),
                 wide_radial, radial + m * wide_radial, wide_radial, true);
  }
  for (int m = 0; m < nm; m++) {
    double *out = q + m * stride, *invariants = state.invariants.data();
    std::copy(radial + m * wide_radial, radial + m * wide_radial + nradial, out);
    k.invariants(*invariants_, wide, s + m * harmonics_.width * wide, invariants);
    for (int i = 0; i < shape_.ninvariants(); i++)
      std::copy(invariants + i * wide, invariants + i * wide + shape_.nangular,
                out + nradial + i * shape_.nangular);
  }
}

// From positions to the hidden layers of a block; slopes: those of the functions too, for forces,
// and all that stays of every atom.
void Nep::describe(const Neighbors &nb, NepState &state, const Block &block, bool slopes) const {
  const Kernels &k = *state.kernels;
  const int nm = static_cast<int>(members_.size()), wide_dim = width_of(shape_.dim());
  const size_t size = sums_size();
  double *q = state.descriptors.data();
  for (int a = 0; a < block.natoms; a++) {
    Environment &env = state.environments[block.environment + a];
    double *s = state.sums.data() + block.sums + a * size;
    const int slot = slopes ? a : 0;
    if (!slopes) prefetch(s, size);
    gather(nb, state, nb.centers[block.rows[a]], env);
    env.locate(nb, k, outside(), state.coordinates[slot]);
    add_repulsion(env);
    evaluate_functions(env, k, slopes, state.angular[slot]);
    channel_sums(state, env, state.angular[slot], s);
    descriptors(state, env, s, q + a * wide_dim, block_atoms * wide_dim);
    state.min_distance = std::min(state.min_distance, env.min_distance);
    state.baseline_energy += env.repulsion;
    state.baseline_energies[block.rows[a]] = env.repulsion;
  }
  double *h = state.hidden.data() + block.hidden;
  for (int m = 0; m < nm; m++) {
    const Weights &member = *members_[m];
    const int width = member.width();
    k.multiply(block.natoms, width, shape_.dim(), {q + m * block_atoms * wide_dim, wide_dim, 1},
               member.hidden(block.species), width, h, width, false);
    for (int a = 0; a < block.natoms; a++)
      k.activate(width, h + a * width, member.bias(block.species), h + a * width);
    h += block.natoms * width;
  }
}

// Hidden layers of a block as features.
void Nep::features(NepState &state, const Block &block, double *sum, double *per_atom) const {
  static constexpr double one = 1.0;
  const double *h = state.hidden.data() + block.hidden;
  int first = 0;
  for (const auto &member : members_) {
    const int width = member->width(), neurons = member->neurons();
    if (sum) {
      state.inputs.reserve(width);
      double *total = state.inputs.data(), *out = sum + offset(block.species) + first;
      state.kernels->multiply(1, width, block.natoms, {&one, 0, 0}, h, width, total, width, false);
      for (int v = 0; v < neurons; v++) out[v] += total[v];
      out[neurons] += block.natoms;
    }
    for (int a = 0; per_atom && a < block.natoms; a++) {
      double *row = per_atom + static_cast<size_t>(block.rows[a]) * count_ + first;
      std::copy_n(h + a * width, neurons, row);
      row[neurons] = 1.0;
    }
    h += block.natoms * width;
    first += member->count();
  }
}

void Nep::forward(const Neighbors &nb, State &base, double *sum, double *per_atom) const {
  auto &state = static_cast<NepState &>(base);
  begin(nb, state, true);
  for (const Block &block : state.blocks) {
    describe(nb, state, block, false);
    if (sum || per_atom) features(state, block, sum, per_atom);
  }
}

// ---------------------------------------------------------------------- backward

const double *Nep::cotangent_weights(const Cotangent &cotangent, const Block &block,
                                     int atom) const {
  if (cotangent.shared) return cotangent.shared + offset(block.species);
  return cotangent.per_atom ? cotangent.per_atom + static_cast<size_t>(block.rows[atom]) * count_
                            : nullptr;
}

// Adds f = ∂s/∂r_j [size][3] of all neighbours of a centre.
static void add_forces(const Environment &env, const double *f, Result &result) {
  double total[3] = {};
  for (int j = 0; result.forces && j < env.size; j++) {
    if (env.index[j] < 0) continue;
    double *there = result.forces + 3 * static_cast<size_t>(env.index[j]);
    for (int c = 0; c < 3; c++) {
      there[c] -= f[3 * j + c];
      total[c] += f[3 * j + c];
    }
  }
  if (result.forces)
    for (int c = 0; c < 3; c++) result.forces[3 * static_cast<size_t>(env.center) + c] += total[c];
  if (!result.virial && !result.vatom) return;
  for (int j = 0; j < env.size; j++) {
    if (env.index[j] < 0) continue;
    const double back[3] = {-env.r[j] * env.x[j], -env.r[j] * env.y[j], -env.r[j] * env.z[j]};
    add_pair_virial(back, f + 3 * j, env.index[j], result);
  }
}

// y = ∂s/∂z of one member's hidden layer, w (1 - h²), and the energies of a block. Returns whether
// any weight was not zero.
bool Nep::weigh(NepState &state, const Weights &member, int natoms, const double *const *weights,
                const double *h, double *y, double *energies) const {
  const int width = member.width(), neurons = member.neurons();
  state.weights.zero(width);
  const double *present = nullptr;    // whose weights have been copied
  bool busy = false;
  for (int a = 0; a < natoms; a++) {
    const double *w = weights[a];
    if (!w) continue;
    if (w != present) {
      busy = busy || std::any_of(w, w + member.count(), [](double v) { return v != 0.0; });
      std::copy_n(w, neurons, state.weights.data());
      present = w;
    }
    energies[a] += w[neurons] +
                   state.kernels->weigh(width, state.weights.data(), h + a * width, y + a * width);
  }
  return busy;
}

// Energies of a block and ∂s/∂q of its atoms, [member][atom][dim width]; of members without weights
// only that they are idle.
void Nep::network_backward(NepState &state, const Block &block, const Cotangent &cotangent,
                           Result &result, double *slopes, char *busy) const {
  const Kernels &k = *state.kernels;
  const int wide_dim = width_of(shape_.dim());
  const double *h = state.hidden.data() + block.hidden, *weights[block_atoms];
  double energies[block_atoms] = {};
  for (int a = 0; a < block.natoms; a++) weights[a] = cotangent_weights(cotangent, block, a);
  for (size_t m = 0; m < members_.size(); m++) {
    const Weights &member = *members_[m];
    const int width = member.width();
    state.inputs.zero(static_cast<size_t>(block_atoms) * width);
    double *y = state.inputs.data();
    busy[m] = weigh(state, member, block.natoms, weights, h, y, energies);
    if (busy[m])
      k.multiply(block.natoms, wide_dim, member.neurons(), {y, width, 1},
                 member.hidden_by_neuron(block.species), wide_dim,
                 slopes + m * block_atoms * wide_dim, wide_dim, false);
    h += block.natoms * width;
    for (int a = 0; a < block.natoms; a++)
      if (weights[a]) weights[a] += member.count();
  }
  for (int a = 0; a < block.natoms; a++) {
    const Environment &env = state.environments[block.environment + a];
    const double energy = energies[a] + cotangent.baseline_of(block.rows[a]) * env.repulsion;
    result.energy += energy;
    if (result.eatom) result.eatom[env.center] += energy;
  }
}

// ∂s/∂r at the neighbours along the line to them, of the radial functions and the repulsion.
void Nep::radial_forces(NepState &state, const Environment &env, const AtomSlopes &slopes) const {
  const Kernels &k = *state.kernels;
  const int wide_base = width_of(shape_.radial_base);
  double *along = state.pair_slopes.data(), *w = state.contracted.data();
  for (int z = 0; z < shape_.nspecies(); z++) {
    const int at = env.first[z], count = env.first[z + 1] - at, p = pair(env.species, z);
    if (count == 0) continue;
    std::fill(w, w + wide_base, 0.0);
    for (size_t m = 0; m < members_.size(); m++)
      if (slopes.busy[m])
        k.multiply(1, wide_base, shape_.nradial, {slopes.of(m), 0, 1},
                   members_[m]->radial_by_channel(p), wide_base, w, wide_base, true);
    k.radial_slopes(shape_.radial_base, shape_.radial_cutoff[p], count, env.r + at, w, along + at);
    if (repulsion_.empty() || slopes.baseline == 0.0) continue;
    for (int j = at; j < at + count; j++) {
      if (env.r[j] >= repulsion_[p].range()) continue;
      double energy, slope;
      repulsion_[p].evaluate(env.r[j], energy, slope);
      along[j] += 0.5 * slopes.baseline * slope;
    }
  }
}

// ∂s/∂s_nc, member by member, as [channel width][component width].
void Nep::component_slopes(NepState &state, const double *s, const AtomSlopes &slopes) const {
  const Kernels &k = *state.kernels;
  const int wide = width_of(shape_.nangular), width = harmonics_.width;
  double *invariants = state.invariants.data();
  for (size_t m = 0; m < members_.size(); m++) {
    if (!slopes.busy[m]) continue;
    for (int i = 0; i < shape_.ninvariants(); i++)
      std::copy_n(slopes.of(m) + shape_.nradial + i * shape_.nangular, shape_.nangular,
                  invariants + i * wide);
    double *d = state.component_slopes.data();
    k.invariant_slopes(*invariants_, wide, s + m * width * wide, invariants, d);
    k.transpose(width, wide, d, wide, state.channel_slopes.data() + m * wide * width, width);
  }
}

// U and U' at the angular neighbours, then ∂s/∂r [3][angular size].
void Nep::angular_forces(NepState &state, const Environment &env, const Angular &angular,
                         const AtomSlopes &slopes) const {
  const Kernels &k = *state.kernels;
  const int wide = width_of(shape_.nangular), width = harmonics_.width, base = shape_.angular_base;
  const int n = angular.size;
  state.u.reserve(2 * static_cast<size_t>(n) * width);
  double *u = state.u.data(), *du = u + n * width;
  if (channels_first_) {
    const double *d = state.channel_slopes.data();
    k.multiply(env.nangular(), width, shape_.nangular, {angular.g, wide, 1}, d, width, u, width,
               false);
    k.multiply(env.nangular(), width, shape_.nangular, {angular.dg, wide, 1}, d, width, du, width,
               false);
  } else {
    double *w = state.contracted.data();
    for (int z = 0; z < shape_.nspecies(); z++) {
      const int at = env.angular_first[z], count = env.angular_first[z + 1] - at;
      if (count == 0) continue;
      bool add = false;
      for (size_t m = 0; m < members_.size(); m++) {
        if (!slopes.busy[m]) continue;
        k.multiply(base, width, shape_.nangular,
                   {members_[m]->angular(pair(env.species, z)), wide, 1},
                   state.channel_slopes.data() + m * wide * width, width, w, width, add);
        add = true;
      }
      k.multiply(count, width, base, {angular.f + at, 1, n}, w, width, u + at * width, width,
                 false);
      k.multiply(count, width, base, {angular.df + at, 1, n}, w, width, du + at * width, width,
                 false);
    }
  }
  state.force.reserve(3 * static_cast<size_t>(n));
  k.forces(harmonics_, n, angular.x, angular.y, angular.z, angular.r, angular.harmonics, u, du,
           state.force.data());
}

// Adds the forces of one atom's energy.
void Nep::atom_forces(NepState &state, const Environment &env, const Angular &angular,
                      const double *s, const AtomSlopes &slopes, Result &result) const {
  const int n = angular.size;
  const bool seen_at_all =
      n > 0 && std::any_of(slopes.busy, slopes.busy + members_.size(), [](char b) { return b; });
  state.pair_slopes.reserve(env.size);
  radial_forces(state, env, slopes);
  if (seen_at_all) {
    component_slopes(state, s, slopes);
    angular_forces(state, env, angular, slopes);
  }
  const double *along = state.pair_slopes.data(), *g = state.force.data();
  state.pair_forces.reserve(3 * static_cast<size_t>(env.size));
  double *f = state.pair_forces.data();
  for (int z = 0; z < shape_.nspecies(); z++) {
    const int at = env.angular_first[z];
    const int count = seen_at_all ? env.angular_first[z + 1] - at : 0;
    for (int j = env.first[z], a = at; j < env.first[z + 1]; j++, a++) {
      const bool seen = a < at + count;
      f[3 * j] = along[j] * env.x[j] + (seen ? g[a] : 0.0);
      f[3 * j + 1] = along[j] * env.y[j] + (seen ? g[n + a] : 0.0);
      f[3 * j + 2] = along[j] * env.z[j] + (seen ? g[2 * n + a] : 0.0);
    }
  }
  add_forces(env, f, result);
}

// Energies and forces of a block that describe() has been through with slopes, or, with the atoms
// to begin again from, without.
void Nep::block_forces(NepState &state, const Block &block, int ncotangents,
                       const Cotangent *cotangents, Result *results, const Neighbors *again) const {
  const int stride = block_atoms * width_of(shape_.dim());
  const size_t one = members_.size() * stride;
  state.slopes.reserve(ncotangents * one);
  state.busy.resize(ncotangents * members_.size());
  for (int s = 0; s < ncotangents; s++)
    network_backward(state, block, cotangents[s], results[s], state.slopes.data() + s * one,
                     state.busy.data() + s * members_.size());
  for (int a = 0; a < block.natoms; a++) {
    Environment &env = state.environments[block.environment + a];
    if (env.size == 0) continue;
    Angular &angular = state.angular[again ? 0 : a];
    if (again) {
      prefetch(state.sums.data() + block.sums + a * sums_size(), sums_size());
      env.locate(*again, *state.kernels, outside(), state.coordinates[0]);
      evaluate_functions(env, *state.kernels, true, angular);
    }
    const double *sums = state.sums.data() + block.sums + a * sums_size();
    for (int s = 0; s < ncotangents; s++) {
      const AtomSlopes slopes = {state.slopes.data() + s * one + a * width_of(shape_.dim()), stride,
                                 state.busy.data() + s * members_.size(),
                                 cotangents[s].baseline_of(block.rows[a])};
      atom_forces(state, env, angular, sums, slopes, results[s]);
    }
  }
}

void Nep::backward(const Neighbors &nb, State &base, int ncotangents, const Cotangent *cotangents,
                   Result *results) const {
  auto &state = static_cast<NepState &>(base);
  if (ncotangents == 0) return;
  for (size_t b = state.blocks.size(); b-- > 0;)    // what forward() left last is still in cache
    block_forces(state, state.blocks[b], ncotangents, cotangents, results, &nb);
}

void Nep::evaluate(const Neighbors &nb, State &base, const Cotangent &cotangent,
                   Result &result) const {
  auto &state = static_cast<NepState &>(base);
  begin(nb, state, false);
  for (const Block &block : state.blocks) {
    describe(nb, state, block, true);
    block_forces(state, block, 1, &cotangent, &result, nullptr);
  }
}
