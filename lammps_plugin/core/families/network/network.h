// SPDX-License-Identifier: GPL-2.0-or-later
// An E(3)-equivariant message-passing network of natural parity as a feature map.
//
// S. Batzner et al., Nat. Commun. 13, 2453 (2022); equations in docs/families/network.md. Features
// of an atom: the final scalars h⁰ and the constant 1. A map holds one sample of the weights or
// several, which share neighbours, distances, Bessel functions, harmonics and their couplings;
// their features follow each other within the block of a species.
//
// Messages: T - 1 forward exchanges of g = h W₁ in the forward pass, T - 1 reverse exchanges of its
// adjoint for each cotangent of the backward pass.

#ifndef UQ_NETWORK_NETWORK_H
#define UQ_NETWORK_NETWORK_H

#include "core/families/network/compile.h"
#include "core/map/feature_map.h"

#include <memory>

namespace uq {
namespace network {

struct NetworkState;

class Network : public FeatureMap {
 public:
  explicit Network(const Parameters &potential);    // all its samples

  const char *family() const override { return "network"; }
  const std::vector<std::string> &elements() const override { return shape_.elements; }
  double cutoff() const override { return shape_.cutoff; }
  double cutoff(int, int) const override { return shape_.cutoff; }
  int nreadout() const override { return static_cast<int>(weights_.size()); }
  int offset(int species) const override { return species * count_; }
  int count(int) const override { return count_; }
  const std::vector<double> &weights() const override { return weights_; }
  int exchange_width() const override;
  double reach() const override { return shape_.layers * shape_.cutoff; }

  int nsamples() const { return static_cast<int>(samples_.size()); }

  std::unique_ptr<State> new_state() const override;
  void forward(const Neighbors &nb, State &state, double *sum, double *per_atom) const override;
  void backward(const Neighbors &nb, State &state, int ncotangents, const Cotangent *cotangents,
                Result *results) const override;
  void evaluate(const Neighbors &nb, State &state, const Cotangent &cotangent,
                Result &result) const override;
  bool has_noise() const override { return shape_.noise_hidden > 0; }
  void noise(const Neighbors &nb, State &state, double *variances) const override;
  std::unique_ptr<const FeatureMap>
  fuse_with(const std::vector<const FeatureMap *> &maps) const override;

 private:
  Hyperparameters shape_;
  std::shared_ptr<const NetworkPlan> plan_;
  std::vector<std::shared_ptr<const Sample>> samples_;
  std::vector<PairRepulsion> repulsion_;    // [species][species]; empty: none
  int width_;                               // of channels
  int count_;                               // features of an atom
  std::vector<double> weights_;

  Network(const Hyperparameters &shape, std::shared_ptr<const NetworkPlan> plan,
          std::vector<std::shared_ptr<const Sample>> samples);

  int components() const { return (shape_.lmax + 1) * (shape_.lmax + 1); }
  size_t size_of_q(int layer) const;    // doubles of one sample
  size_t size_of_h() const;
  size_t row_of_g(int samples) const;    // doubles of one atom
  void find_edges(const Neighbors &nb, NetworkState &state) const;
  const PairRepulsion *repulsion_of(const NetworkState &state, int atom, size_t edge) const;
  void add_repulsion(NetworkState &state, int ncenters) const;
  void open(NetworkState &state, int first, int n) const;
  void radial(NetworkState &state, int layer, int sample, const Edges &edges, bool slopes) const;
  Message message(const NetworkState &state, int layer, int sample, double *slots) const;
  template <class Visit>
  void for_messages(const NetworkState &state, int layer, int atom, const Edges &all,
                    Message message, const Visit &visit) const;
  void require_states(const Neighbors &nb, const NetworkState &state) const;
  void pass_states(const Neighbors &nb, NetworkState &state, int layer) const;
  void gather_messages(NetworkState &state, int layer, int sample, int atom, bool slopes,
                       double *slots) const;
  void mix(NetworkState &state, int layer, int sample, int first, int n) const;
  void forward_layer(const Neighbors &nb, NetworkState &state, int layer) const;
  void start(const Neighbors &nb, NetworkState &state) const;
  const double *final_scalars(NetworkState &state, size_t atom, int sample) const;
  void final_features(const Neighbors &nb, NetworkState &state, double *sum,
                      double *per_atom) const;

  void find_samples(NetworkState &state, const Cotangent &cotangent) const;
  void cotangent_final(NetworkState &state, const Cotangent &cotangent, int sample, int atom,
                       Result &result) const;
  void mix_backward(NetworkState &state, int layer, int sample, int first, int n) const;
  void scatter_messages(NetworkState &state, int layer, int sample, int atom, double *slots) const;
  void open_backward(NetworkState &state, int first, int n) const;
  void close_backward(NetworkState &state, int first, int n, const Cotangent *cotangent,
                      Result &result) const;
  void start_adjoints(const Neighbors &nb, NetworkState &state, int layer) const;
  void pass_adjoints(const Neighbors &nb, NetworkState &state, int layer) const;
  double baseline_of(const NetworkState &state, const Cotangent &cotangent, int atom) const;
  void backward_layer(const Neighbors &nb, NetworkState &state, int layer,
                      const Cotangent &cotangent, Result &result) const;
  void last_layer(const Neighbors &nb, NetworkState &state, const Cotangent &cotangent,
                  Result &result) const;
  void messages_backward(NetworkState &state, int layer, int sample, int atom, const Edges &edges,
                         double *slots) const;
  void radial_backward(NetworkState &state, int layer, int sample, const Edges &edges) const;
  void find_slopes(NetworkState &state) const;
  void add_repulsion_slopes(NetworkState &state, int atom, double baseline) const;
  void pass_states_backward(const Neighbors &nb, NetworkState &state, int layer) const;
  void add_forces(const NetworkState &state, int atom, Result &result) const;
  template <class Visit> void for_blocks(const NetworkState &state, const Visit &visit) const;
};

}    // namespace network
}    // namespace uq

#endif
