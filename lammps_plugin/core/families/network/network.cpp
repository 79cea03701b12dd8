// SPDX-License-Identifier: GPL-2.0-or-later
// Orchestrates the kernels: layer after layer, blocks of atoms of one species, sample after sample.

#include "core/families/network/network.h"

#include "core/error.h"
#include "core/families/network/state.h"
#include "core/map/pair_virial.h"
#include "core/math/elements.h"
#include "core/parallel/exchange.h"
#include "core/simd/dispatch.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

using namespace uq;
using namespace uq::network;

namespace uq {
namespace network {
UQ_SELECT_KERNELS(Kernels, kernel_table, kernels)
}
}    // namespace uq

// Atoms of a block share one reading of the weights, samples one computation of the block's edges.
static constexpr int block_atoms = 8;

static std::vector<std::shared_ptr<const Sample>> compile(const Parameters &potential,
                                                          const NetworkPlan &plan) {
  std::vector<std::shared_ptr<const Sample>> samples;
  for (const Weights &weights : potential.samples)
    samples.push_back(std::make_shared<const Sample>(potential.shape, plan, weights));
  return samples;
}

Network::Network(const Parameters &potential)
    : Network(potential.shape, std::make_shared<const NetworkPlan>(potential.shape), {}) {
  *this = Network(shape_, plan_, compile(potential, *plan_));
}

Network::Network(const Hyperparameters &shape, std::shared_ptr<const NetworkPlan> plan,
                 std::vector<std::shared_ptr<const Sample>> samples)
    : shape_(shape), plan_(std::move(plan)), samples_(std::move(samples)),
      width_(width_of(shape.channels)), count_(nsamples() * (shape.channels + 1)) {
  for (int i = 0; i < shape_.nspecies() && !shape_.repulsion.empty(); i++)
    for (int j = 0; j < shape_.nspecies(); j++)
      repulsion_.emplace_back(shape_.repulsion[i * shape_.nspecies() + j],
                              atomic_number(shape_.elements[i]), atomic_number(shape_.elements[j]));
  // The mean over samples.
  for (int z = 0; z < shape_.nspecies(); z++)
    for (const auto &sample : samples_)
      for (int u = 0; u <= shape_.channels; u++)
        weights_.push_back(sample->readout(z)[u] / nsamples());
}

std::unique_ptr<const FeatureMap>
Network::fuse_with(const std::vector<const FeatureMap *> &maps) const {
  std::vector<std::shared_ptr<const Sample>> samples;
  for (const FeatureMap *map : maps) {
    const auto &other = static_cast<const Network &>(*map);
    if (!(other.shape_ == shape_)) return nullptr;
    samples.insert(samples.end(), other.samples_.begin(), other.samples_.end());
  }
  return std::unique_ptr<const FeatureMap>(new Network(shape_, plan_, std::move(samples)));
}

int Network::exchange_width() const {
  return shape_.layers > 1 ? static_cast<int>(row_of_g(nsamples())) : 0;
}

size_t Network::size_of_h() const {
  return static_cast<size_t>(components()) * width_;
}

size_t Network::size_of_q(int layer) const {
  return static_cast<size_t>(plan_->layers[layer].blocks()) * width_;
}

// An odd number of cache lines: rows of neighbours, read out of order, share the cache evenly.
size_t Network::row_of_g(int samples) const {
  return (samples * size_of_h() / widest | 1) * widest;
}

std::unique_ptr<FeatureMap::State> Network::new_state() const {
  auto state = std::make_unique<NetworkState>();
  state->kernels = &kernels();
  state->g.resize(shape_.layers);
  state->q.resize(shape_.layers);
  const int width = plan_->layers[0].width;
  state->ones.reserve(width);
  std::fill_n(state->ones.data(), width, 1.0);
  return state;
}

// ---------------------------------------------------------------------- edges

void Network::find_edges(const Neighbors &nb, NetworkState &state) const {
  const int natoms = nb.ncenters + nb.nrelays;
  state.order.resize(natoms);
  std::iota(state.order.begin(), state.order.end(), 0);
  const auto species_of = [&](int row) { return nb.species[nb.centers[row]]; };
  std::stable_sort(state.order.begin(), state.order.end(),
                   [&](int a, int b) { return species_of(a) < species_of(b); });
  size_t most = 0;
  for (int i = 0; i < natoms; i++) most += width_of(nb.counts[nb.centers[i]]);
  for (AlignedArray *a : {&state.x, &state.y, &state.z, &state.r}) a->reserve(most);
  state.atoms.clear();
  state.species.clear();
  state.counts.clear();
  state.index.clear();
  state.runs.clear();
  state.first.assign(1, 0);
  double *x = state.x.data(), *y = state.y.data(), *z = state.z.data(), *r = state.r.data();
  const double cut2 = shape_.cutoff * shape_.cutoff;
  double closest = std::numeric_limits<double>::infinity();
  for (int row : state.order) {
    const int i = nb.centers[row];
    const double *xi = nb.x + 3 * static_cast<size_t>(i);
    state.atoms.push_back(i);
    state.species.push_back(nb.species[i]);
    for (int species = 0; species < shape_.nspecies(); species++) {
      state.runs.push_back(static_cast<int>(state.index.size() - state.first.back()));
      for (int k = 0; k < nb.counts[i]; k++) {
        const int j = nb.neighbors[i][k] & nb.mask;
        if (nb.species[j] != species) continue;
        const double *xj = nb.x + 3 * static_cast<size_t>(j);
        const double dx = xj[0] - xi[0], dy = xj[1] - xi[1], dz = xj[2] - xi[2],
                     r2 = dx * dx + dy * dy + dz * dz;
        if (r2 >= cut2) continue;    // NaN stays
        const size_t e = state.index.size();
        x[e] = dx, y[e] = dy, z[e] = dz, r[e] = r2;
        state.index.push_back(j);
        closest = std::min(closest, r2);
      }
    }
    state.counts.push_back(static_cast<int>(state.index.size() - state.first.back()));
    state.runs.push_back(state.counts.back());
    while (state.index.size() % widest) {
      const size_t e = state.index.size();
      x[e] = r[e] = cut2, y[e] = z[e] = 0.0;
      state.index.push_back(-1);
    }
    state.first.push_back(state.index.size());
  }
  state.kernels->normalise(static_cast<int>(state.index.size()), x, y, z, r);
  state.min_distance = std::sqrt(closest);
  add_repulsion(state, nb.ncenters);
}

// That of an edge, null: out of its range. Half of it belongs to the centre.
const PairRepulsion *Network::repulsion_of(const NetworkState &state, int atom, size_t edge) const {
  const int n = shape_.nspecies();
  const int *runs = state.runs.data() + static_cast<size_t>(atom) * (n + 1);
  int other = 0;
  while (static_cast<int>(edge) >= runs[other + 1]) other++;
  const PairRepulsion &pair = repulsion_[state.species[atom] * n + other];
  return state.r.data()[state.first[atom] + edge] < pair.range() ? &pair : nullptr;
}

// The energy of the centres that no weight scales.
void Network::add_repulsion(NetworkState &state, int ncenters) const {
  state.baseline_energy = 0.0;
  state.baseline_energies.assign(ncenters, 0.0);
  if (repulsion_.empty()) return;
  for (int a = 0; a < static_cast<int>(state.atoms.size()); a++) {
    if (state.order[a] >= ncenters) continue;    // a relay
    double &total = state.baseline_energies[state.order[a]];
    for (int e = 0; e < state.counts[a]; e++)
      if (const PairRepulsion *pair = repulsion_of(state, a, e)) {
        double energy, slope;
        pair->evaluate(state.r.data()[state.first[a] + e], energy, slope);
        total += 0.5 * energy;
      }
    state.baseline_energy += total;
  }
}

// Functions of the edges of n atoms from `first`, which become the open block.
void Network::open(NetworkState &state, int first, int n) const {
  const size_t begin = state.first[first];
  Edges &edges = state.edges;
  edges.n = edges.stride = static_cast<int>(state.first[first + n] - begin);
  edges.index = state.index.data() + begin;
  edges.x = state.x.data() + begin;
  edges.y = state.y.data() + begin;
  edges.z = state.z.data() + begin;
  edges.r = state.r.data() + begin;
  const size_t stride = edges.stride;
  state.functions.reserve((components() + 2 * shape_.bessels + 2 * plan_->entries) * stride);
  edges.harmonics = state.functions.data();
  edges.basis = edges.harmonics + components() * stride;
  edges.slopes = edges.basis + shape_.bessels * stride;
  edges.coupling = edges.slopes + shape_.bessels * stride;
  edges.coupling_adjoint = edges.coupling + plan_->entries * stride;
  const Radial radial = {shape_.cutoff, shape_.bessels, shape_.envelope, shape_.frequencies.data()};
  state.kernels->functions(radial, shape_.lmax, edges);
  state.kernels->couple(static_cast<int>(plan_->terms.size()), plan_->terms.data(), plan_->entries,
                        edges);
}

// n of the edges from `first`.
static Edges part_of(Edges edges, ptrdiff_t first, int n) {
  edges.n = n;
  edges.index += first;
  for (const double **array : {&edges.x, &edges.y, &edges.z, &edges.r}) *array += first;
  for (double **array :
       {&edges.harmonics, &edges.basis, &edges.slopes, &edges.coupling, &edges.coupling_adjoint})
    *array += first;
  return edges;
}

// Those of an atom of the open block.
static Edges edges_of(const NetworkState &state, int atom) {
  const int *index = state.index.data() + state.first[atom];
  return part_of(state.edges, index - state.edges.index, state.counts[atom]);
}

// R = SiLU(b V1) V2, [edge][path][width]; slopes: leaves SiLU' in z1. The first layer takes
// R = SiLU(b V1).
void Network::radial(NetworkState &state, int layer, int sample, const Edges &edges,
                     bool slopes) const {
  const Kernels &k = *state.kernels;
  const Sample::Layer &w = samples_[sample]->layer(layer);
  const Matrix &v1 = w.radial1, &v2 = w.radial2;
  const size_t hidden = v1.out_width, size = edges.n * hidden;
  state.z1.reserve(size);
  state.s1.reserve(size);
  k.multiply(edges.n, v1.out_width, v1.in, edges.basis, 1, edges.stride, v1.forward.data(), hidden,
             state.z1.data(), hidden, false);
  (slopes ? k.silu_slopes(size, state.z1.data(), state.s1.data())
          : k.silu(size, state.z1.data(), state.s1.data()));
  if (layer == 0) return;
  const size_t paths = v2.out_width;
  state.radial.reserve(edges.n * paths);
  k.multiply(edges.n, v2.out_width, v2.in, state.s1.data(), hidden, 1, v2.forward.data(), paths,
             state.radial.data(), paths, false);
}

// ---------------------------------------------------------------------- forward

// Blocks of atoms of one species: visit(first, n).
template <class Visit>
void Network::for_blocks(const NetworkState &state, const Visit &visit) const {
  const int natoms = static_cast<int>(state.atoms.size());
  for (int first = 0, end; first < natoms; first = end) {
    end = first + 1;
    while (end < natoms && end - first < block_atoms && state.species[end] == state.species[first])
      end++;
    visit(first, end - first);
  }
}

// Block of q where the components of degree l start; the scalars' gates lie behind the scalars.
static int block_of(const LayerPlan &plan, int l, int m) {
  return l == 0 ? 0 : plan.lmax + l * l + m;
}

// From h of the layer before: g = h W1 of owned atoms, then of ghosts, and q = h S.
void Network::pass_states(const Neighbors &nb, NetworkState &state, int layer) const {
  const Kernels &k = *state.kernels;
  const LayerPlan &plan = plan_->layers[layer];
  const size_t row = row_of_g(nsamples()), before = size_of_q(layer - 1);
  state.g[layer].reserve(nb.ntotal * row);
  state.h.reserve(size_of_h());
  for (size_t a = 0; a < state.atoms.size(); a++)
    for (int s = 0; s < nsamples(); s++) {
      const Sample::Layer &w = samples_[s]->layer(layer);
      const size_t at = a * nsamples() + s;
      double *g = state.g[layer].data() + state.atoms[a] * row + s * size_of_h(),
             *q = state.q[layer].data() + at * size_of_q(layer), *h = state.h.data();
      k.gate(width_, shape_.lmax, state.q[layer - 1].data() + at * before, h);
      for (int l = 0; l <= shape_.lmax; l++)
        k.multiply(2 * l + 1, width_, width_, h + l * l * width_, width_, 1,
                   w.linear1[l].forward.data(), width_, g + l * l * width_, width_, false);
      for (int l = 0; l <= plan.lmax; l++) {
        const Matrix &self = w.self[l][state.species[a]];
        k.multiply(2 * l + 1, self.out, self.in, h + l * l * width_, width_, 1, self.forward.data(),
                   self.out_width, q + block_of(plan, l, 0) * width_, width_, false);
      }
    }
  if (nb.exchange)
    nb.exchange->forward(static_cast<int>(row), state.g[layer].data());
  else
    require_states(nb, state);
}

// Without an exchange every atom has to be a centre or a relay.
void Network::require_states(const Neighbors &nb, const NetworkState &state) const {
  const size_t known = nb.ntotal - std::count_if(nb.species, nb.species + nb.ntotal,
                                                 [](int species) { return species < 0; });
  if (known > state.atoms.size())
    throw Error("a network passes messages, but only " + std::to_string(state.atoms.size()) +
                " of " + std::to_string(known) +
                " atoms come with neighbours, and no exchange between owners and ghosts");
}

// The part of a message that all paths have in common; slots [slot][width].
Message Network::message(const NetworkState &state, int layer, int sample, double *slots) const {
  const LayerPlan &plan = plan_->layers[layer];
  Message message;
  message.width = plan.width;
  message.radial = (layer ? state.radial : state.s1).data();
  message.radial_edge = plan.radial();
  message.g = layer ? state.g[layer].data() + sample * size_of_h() : state.ones.data();
  message.g_row = static_cast<ptrdiff_t>(layer ? row_of_g(nsamples()) : 0);
  message.slots = slots;
  return message;
}

// Visits the messages at one atom along its edges: visit(edges, message). Those of the first layer
// are divided by the species of the neighbour.
template <class Visit>
void Network::for_messages(const NetworkState &state, int layer, int atom, const Edges &all,
                           Message message, const Visit &visit) const {
  const double *radial = message.radial, *g = message.g;
  const int nspecies = shape_.nspecies();
  const int *runs = state.runs.data() + static_cast<size_t>(atom) * (nspecies + 1);
  for (int z = 0; z < nspecies && layer == 0; z++) {
    const Edges edges = part_of(all, runs[z], runs[z + 1] - runs[z]);
    message.radial = radial + runs[z] * message.radial_edge;
    for (const Path &path : plan_->layers[0].paths) {
      message.path = path;
      message.path.slot += z;
      visit(edges, message);
    }
  }
  for (const Path &path : plan_->layers[layer].paths) {
    if (layer == 0) break;
    message.path = path;
    message.radial = radial;
    message.g = g + path.l1 * path.l1 * width_;
    visit(all, message);
    radial += width_;
  }
}

// Sums over the neighbours of an atom of the open block, slots [slot][width]. Leaves R behind and,
// if asked, SiLU'.
void Network::gather_messages(NetworkState &state, int layer, int sample, int atom, bool slopes,
                              double *slots) const {
  const Edges edges = edges_of(state, atom);
  if (edges.n == 0) {
    std::fill_n(slots, plan_->layers[layer].messages(), 0.0);
    return;
  }
  radial(state, layer, sample, edges, slopes);
  for_messages(state, layer, atom, edges, message(state, layer, sample, slots),
               state.kernels->messages);
}

// q of n atoms from `first`: adds what their slots [atom][slot][width] make to the part of h.
void Network::mix(NetworkState &state, int layer, int sample, int first, int n) const {
  const LayerPlan &plan = plan_->layers[layer];
  const size_t q_size = size_of_q(layer), q_row = nsamples() * q_size;
  double *q = state.q[layer].data() + first * q_row + sample * q_size;
  for (int l = 0; l <= plan.lmax; l++) {
    const Matrix &w = samples_[sample]->layer(layer).linear2[l];
    for (int m = 0; m < 2 * l + 1; m++)
      state.kernels->multiply(n, w.out, w.in,
                              state.slots.data() + (plan.first[l] + m * plan.to[l]) * plan.width,
                              plan.messages(), 1, w.forward.data(), w.out_width,
                              q + block_of(plan, l, m) * width_, q_row, layer > 0);
  }
}

// From the states before a layer to those after it.
void Network::forward_layer(const Neighbors &nb, NetworkState &state, int layer) const {
  const size_t slot_row = plan_->layers[layer].messages();
  state.q[layer].reserve(state.atoms.size() * nsamples() * size_of_q(layer));
  if (layer > 0) pass_states(nb, state, layer);
  state.slots.reserve(block_atoms * slot_row);
  for_blocks(state, [&](int first, int n) {
    open(state, first, n);
    for (int s = 0; s < nsamples(); s++) {
      for (int a = 0; a < n; a++)
        gather_messages(state, layer, s, first + a, false, state.slots.data() + a * slot_row);
      mix(state, layer, s, first, n);
    }
  });
}

const double *Network::final_scalars(NetworkState &state, size_t atom, int sample) const {
  const int last = shape_.layers - 1;
  state.h.reserve(width_);
  state.kernels->gate(width_, 0,
                      state.q[last].data() + (atom * nsamples() + sample) * size_of_q(last),
                      state.h.data());
  return state.h.data();
}

// h⁰ and 1.
void Network::final_features(const Neighbors &nb, NetworkState &state, double *sum,
                             double *per_atom) const {
  const int c = shape_.channels;
  const size_t stride = max_features();
  if (per_atom) std::fill_n(per_atom, nb.ncenters * stride, 0.0);
  for (size_t a = 0; a < state.atoms.size(); a++) {
    if (state.order[a] >= nb.ncenters) continue;
    for (int s = 0; s < nsamples(); s++) {
      const double *h = final_scalars(state, a, s);
      double *total = sum ? sum + offset(state.species[a]) + s * (c + 1) : nullptr;
      double *own = per_atom ? per_atom + state.order[a] * stride + s * (c + 1) : nullptr;
      for (int u = 0; u <= c; u++) {
        const double value = u < c ? h[u] : 1.0;
        if (total) total[u] += value;
        if (own) own[u] = value;
      }
    }
  }
}

// To where the last layer begins.
void Network::start(const Neighbors &nb, NetworkState &state) const {
  find_edges(nb, state);
  for (int t = 0; t < shape_.layers - 1; t++) forward_layer(nb, state, t);
}

void Network::forward(const Neighbors &nb, State &base, double *sum, double *per_atom) const {
  auto &state = static_cast<NetworkState &>(base);
  start(nb, state);
  forward_layer(nb, state, shape_.layers - 1);
  if (sum || per_atom) final_features(nb, state, sum, per_atom);
}

// ---------------------------------------------------------------------- backward

// The range of samples that a cotangent gives a weight. Weights of single atoms differ from rank to
// rank, which have to agree on what they exchange.
void Network::find_samples(NetworkState &state, const Cotangent &cotangent) const {
  const int c = shape_.channels + 1;
  const auto counts = [&](int s) {
    for (int z = 0; z < shape_.nspecies(); z++)
      for (int u = 0; u < c; u++)
        if (!cotangent.shared || cotangent.shared[offset(z) + s * c + u] != 0.0) return true;
    return false;
  };
  int first = 0, last = nsamples();
  while (first < last && !counts(first)) first++;
  while (last > first && !counts(last - 1)) last--;
  if (first == last && !repulsion_.empty()) first = 0, last = 1;    // carries the repulsion
  state.first_sample = first;
  state.samples = last - first;
}

// Weight of the repulsion at an atom.
double Network::baseline_of(const NetworkState &state, const Cotangent &cotangent, int atom) const {
  const int center = state.order[atom];
  const bool relay = center >= static_cast<int>(state.baseline_energies.size());
  return relay ? 0.0 : cotangent.baseline_of(center);
}

// Energy of an atom by one sample, and the adjoint of its final scalars; the first sample of a pass
// adds what no weight scales.
void Network::cotangent_final(NetworkState &state, const Cotangent &cotangent, int sample, int atom,
                              Result &result) const {
  const int c = shape_.channels, s = sample - state.first_sample;
  const double *w = cotangent.shared
                        ? cotangent.shared + offset(state.species[atom])
                        : cotangent.per_atom + static_cast<size_t>(state.order[atom]) * count_;
  w += sample * (c + 1);
  double energy = w[c];
  if (s == 0)
    energy += baseline_of(state, cotangent, atom) * state.baseline_energies[state.order[atom]];
  double *adjoint =
      state.h_adjoint.data() + (static_cast<size_t>(atom) * state.samples + s) * width_;
  const double *h = final_scalars(state, atom, sample);
  for (int u = 0; u < c; u++) {
    energy += w[u] * h[u];
    adjoint[u] = w[u];
  }
  result.energy += energy;
  if (result.eatom) result.eatom[state.atoms[atom]] += energy;
}

// From the adjoint of h after a layer to that of its messages, in the slots, and of h before it:
// arguments: see mix().
void Network::mix_backward(NetworkState &state, int layer, int sample, int first, int n) const {
  const Kernels &k = *state.kernels;
  const LayerPlan &plan = plan_->layers[layer];
  const Sample::Layer &w = samples_[sample]->layer(layer);
  const size_t slot_row = plan.messages(), q_size = size_of_q(layer),
               h_size = static_cast<size_t>(plan.components()) * width_, before = size_of_h();
  const int species = state.species[first], s = sample - state.first_sample;
  state.q_adjoint.reserve(n * q_size);
  for (int a = 0; a < n; a++)
    k.gate_backward(width_, plan.lmax,
                    state.q[layer].data() + ((first + a) * nsamples() + sample) * q_size,
                    state.h_adjoint.data() + ((first + a) * state.samples + s) * h_size,
                    state.q_adjoint.data() + a * q_size);
  for (int l = 0; l <= plan.lmax; l++)
    for (int m = 0; m < 2 * l + 1; m++) {
      const double *q = state.q_adjoint.data() + block_of(plan, l, m) * width_;
      const Matrix &mix = w.linear2[l];
      k.multiply(n, mix.in, mix.out, q, q_size, 1, mix.backward.data(), mix.in_width,
                 state.slots.data() + (plan.first[l] + m * plan.to[l]) * plan.width, slot_row,
                 false);
      if (layer == 0) continue;
      const Matrix &self = w.self[l][species];
      k.multiply(n, self.in, self.out, q, q_size, 1, self.backward.data(), self.in_width,
                 state.next.data() + (first * state.samples + s) * before + (l * l + m) * width_,
                 state.samples * before, true);
    }
}

// From Ā of an atom of the open block to R̄, ḡ, M̄ and b̄. R and SiLU' are there.
void Network::scatter_messages(NetworkState &state, int layer, int sample, int atom,
                               double *slots) const {
  const Edges edges = edges_of(state, atom);
  if (edges.n == 0) return;
  messages_backward(state, layer, sample, atom, edges, slots);
  radial_backward(state, layer, sample, edges);
}

void Network::open_backward(NetworkState &state, int first, int n) const {
  open(state, first, n);
  const size_t edges = state.edges.stride;
  std::fill_n(state.edges.coupling_adjoint, plan_->entries * edges, 0.0);
  state.basis_adjoint.zero(edges * width_of(shape_.bessels));
}

// Forces, from the adjoints of all functions of the open block's edges, and, with a cotangent, of
// the repulsion.
void Network::close_backward(NetworkState &state, int first, int n, const Cotangent *cotangent,
                             Result &result) const {
  find_slopes(state);
  for (int a = first; a < first + n && cotangent && !repulsion_.empty(); a++)
    add_repulsion_slopes(state, a, baseline_of(state, *cotangent, a));
  state.gradients.reserve(3 * static_cast<size_t>(state.edges.stride));
  state.kernels->gradients(static_cast<int>(plan_->terms.size()), plan_->terms.data(), shape_.lmax,
                           state.edges, state.slope.data(), state.gradients.data());
  for (int a = first; a < first + n; a++) add_forces(state, a, result);
}

void Network::messages_backward(NetworkState &state, int layer, int sample, int atom,
                                const Edges &edges, double *slots) const {
  const Message all = message(state, layer, sample, slots);
  state.radial_adjoint.reserve(edges.n * all.radial_edge);
  MessageAdjoints adjoints = {nullptr, false, nullptr, 0};
  adjoints.g_row = static_cast<ptrdiff_t>(row_of_g(state.samples));
  double *g =
      layer ? state.g_adjoint.data() + (sample - state.first_sample) * size_of_h() : nullptr;
  for_messages(state, layer, atom, edges, all, [&](const Edges &edges, const Message &message) {
    adjoints.radial = state.radial_adjoint.data() + (message.radial - all.radial);
    adjoints.add = layer == 0 && message.path.l3 > 0;
    adjoints.g = g ? g + (message.g - all.g) : nullptr;
    state.kernels->messages_backward(edges, message, adjoints);
  });
}

// Adds b̄ of one sample to the sum over all.
void Network::radial_backward(NetworkState &state, int layer, int sample,
                              const Edges &edges) const {
  const Kernels &k = *state.kernels;
  const Sample::Layer &w = samples_[sample]->layer(layer);
  const Matrix &v1 = w.radial1, &v2 = w.radial2;
  const size_t hidden = v1.out_width;
  state.s1_adjoint.reserve(edges.n * hidden);
  double *s1 = (layer ? state.s1_adjoint : state.radial_adjoint).data();
  if (layer)
    k.multiply(edges.n, v2.in_width, v2.out, state.radial_adjoint.data(), v2.out_width, 1,
               v2.backward.data(), v2.in_width, s1, hidden, false);
  k.scale(edges.n * hidden, state.z1.data(), s1);
  k.multiply(edges.n, v1.in_width, v1.out, s1, hidden, 1, v1.backward.data(), v1.in_width,
             state.basis_adjoint.data() + (edges.index - state.edges.index) * v1.in_width,
             v1.in_width, true);
}

// dE/dr of the edges through R.
void Network::find_slopes(NetworkState &state) const {
  const Edges &edges = state.edges;
  const double *basis = state.basis_adjoint.data();
  const int width = width_of(shape_.bessels);
  state.slope.zero(edges.stride);
  for (int b = 0; b < shape_.bessels; b++)
    for (int e = 0; e < edges.n; e++)
      state.slope.data()[e] +=
          basis[e * width + b] * edges.slopes[static_cast<size_t>(b) * edges.stride + e];
}

// And through the repulsion, `baseline` times.
void Network::add_repulsion_slopes(NetworkState &state, int atom, double baseline) const {
  const Edges edges = edges_of(state, atom);
  double *slopes = state.slope.data() + (edges.index - state.edges.index);
  for (int e = 0; e < edges.n && baseline != 0.0; e++)
    if (const PairRepulsion *pair = repulsion_of(state, atom, e)) {
      double energy, slope;
      pair->evaluate(edges.r[e], energy, slope);
      slopes[e] += 0.5 * baseline * slope;
    }
}

void Network::add_forces(const NetworkState &state, int atom, Result &result) const {
  const Edges edges = edges_of(state, atom);
  const int *index = edges.index, n = edges.stride;
  const double *g = state.gradients.data() + (index - state.edges.index);
  double total[3] = {};
  for (int e = 0; result.forces && e < edges.n; e++)
    for (int c = 0; c < 3; c++) {
      result.forces[3 * static_cast<size_t>(index[e]) + c] -= g[c * n + e];
      total[c] += g[c * n + e];
    }
  for (int c = 0; result.forces && c < 3; c++)
    result.forces[3 * static_cast<size_t>(state.atoms[atom]) + c] += total[c];
  if (!result.virial && !result.vatom) return;
  for (int e = 0; e < edges.n; e++) {
    const double f[3] = {g[e], g[n + e], g[2 * n + e]}, r = -edges.r[e],
                 back[3] = {r * edges.x[e], r * edges.y[e], r * edges.z[e]};
    add_pair_virial(back, f, index[e], result);
  }
}

// Reverse exchange of ḡ, then its part of h̄.
void Network::pass_states_backward(const Neighbors &nb, NetworkState &state, int layer) const {
  const size_t size = size_of_h(), row = row_of_g(state.samples), next_row = state.samples * size;
  if (nb.exchange) nb.exchange->reverse(static_cast<int>(row), state.g_adjoint.data());
  for (size_t a = 0; a < state.atoms.size(); a++)
    for (int s = 0; s < state.samples; s++)
      for (int l = 0; l <= shape_.lmax; l++) {
        const size_t at = s * size + l * l * width_;
        const Matrix &w = samples_[state.first_sample + s]->layer(layer).linear1[l];
        state.kernels->multiply(
            2 * l + 1, width_, width_, state.g_adjoint.data() + state.atoms[a] * row + at, width_,
            1, w.backward.data(), width_, state.next.data() + a * next_row + at, width_, true);
      }
}

// Room for the adjoints that a layer adds to.
void Network::start_adjoints(const Neighbors &nb, NetworkState &state, int layer) const {
  if (layer == 0) return;
  state.g_adjoint.zero(nb.ntotal * row_of_g(state.samples));
  state.next.zero(state.atoms.size() * state.samples * size_of_h());
}

// The adjoints that it has added to become those of the layer before.
void Network::pass_adjoints(const Neighbors &nb, NetworkState &state, int layer) const {
  if (layer > 0) pass_states_backward(nb, state, layer);
  std::swap(state.h_adjoint, state.next);
}

// From the adjoint of the states after a layer to that of those before it.
void Network::backward_layer(const Neighbors &nb, NetworkState &state, int layer,
                             const Cotangent &cotangent, Result &result) const {
  const size_t slot_row = plan_->layers[layer].messages();
  const bool last = layer == shape_.layers - 1;
  start_adjoints(nb, state, layer);
  state.slots.reserve(block_atoms * slot_row);
  for_blocks(state, [&](int first, int n) {
    open_backward(state, first, n);
    for (int s = state.first_sample; s < state.first_sample + state.samples; s++) {
      mix_backward(state, layer, s, first, n);
      for (int a = 0; a < n; a++) {
        radial(state, layer, s, edges_of(state, first + a), true);
        scatter_messages(state, layer, s, first + a, state.slots.data() + a * slot_row);
      }
    }
    close_backward(state, first, n, last ? &cotangent : nullptr, result);
  });
  pass_adjoints(nb, state, layer);
}

// The last layer forward and back, atom by atom: R is made once.
void Network::last_layer(const Neighbors &nb, NetworkState &state, const Cotangent &cotangent,
                         Result &result) const {
  const int last = shape_.layers - 1;
  state.q[last].reserve(state.atoms.size() * nsamples() * size_of_q(last));
  if (last > 0) pass_states(nb, state, last);
  start_adjoints(nb, state, last);
  state.h_adjoint.zero(state.atoms.size() * state.samples * width_);
  state.slots.reserve(plan_->layers[last].messages());
  for_blocks(state, [&](int first, int n) {
    open_backward(state, first, n);
    for (int s = state.first_sample; s < state.first_sample + state.samples; s++)
      for (int a = first; a < first + n; a++) {
        if (state.order[a] >= nb.ncenters) continue;    // a relay
        gather_messages(state, last, s, a, true, state.slots.data());
        mix(state, last, s, a, 1);
        cotangent_final(state, cotangent, s, a, result);
        mix_backward(state, last, s, a, 1);
        scatter_messages(state, last, s, a, state.slots.data());
      }
    close_backward(state, first, n, &cotangent, result);
  });
  pass_adjoints(nb, state, last);
}

void Network::backward(const Neighbors &nb, State &base, int ncotangents,
                       const Cotangent *cotangents, Result *results) const {
  auto &state = static_cast<NetworkState &>(base);
  for (int i = 0; i < ncotangents; i++) {
    find_samples(state, cotangents[i]);
    if (state.samples == 0) continue;
    state.h_adjoint.zero(state.atoms.size() * state.samples * width_);
    for (int a = 0; a < static_cast<int>(state.atoms.size()); a++)
      if (state.order[a] < nb.ncenters)    // not a relay
        for (int s = state.first_sample; s < state.first_sample + state.samples; s++)
          cotangent_final(state, cotangents[i], s, a, results[i]);
    for (int t = shape_.layers - 1; t >= 0; t--)
      backward_layer(nb, state, t, cotangents[i], results[i]);
  }
}

void Network::evaluate(const Neighbors &nb, State &base, const Cotangent &cotangent,
                       Result &result) const {
  auto &state = static_cast<NetworkState &>(base);
  start(nb, state);
  find_samples(state, cotangent);
  if (state.samples == 0) return;
  last_layer(nb, state, cotangent, result);
  for (int t = shape_.layers - 2; t >= 0; t--) backward_layer(nb, state, t, cotangent, result);
}

void Network::noise(const Neighbors &nb, State &base, double *variances) const {
  auto &state = static_cast<NetworkState &>(base);
  forward(nb, state, nullptr, nullptr);
  std::fill_n(variances, nb.ncenters, 0.0);
  for (size_t a = 0; a < state.atoms.size(); a++)
    for (int s = 0; s < nsamples() && state.order[a] < nb.ncenters; s++)
      variances[state.order[a]] += samples_[s]->noise(final_scalars(state, a, s)) / nsamples();
}
