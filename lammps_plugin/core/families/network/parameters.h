// SPDX-License-Identifier: GPL-2.0-or-later
// A network file as it stands: hyperparameters and the tensors of each sample, all constants folded
// in. docs/file-formats.md has the layout.

#ifndef UQ_NETWORK_POTENTIAL_H
#define UQ_NETWORK_POTENTIAL_H

#include "core/math/zbl.h"

#include <string>
#include <string_view>
#include <vector>

namespace uq {
namespace network {

constexpr int max_l = 2;

struct Hyperparameters {
  std::vector<std::string> elements;
  double cutoff = 0.0;    // Å
  int lmax = 1, layers = 2, channels = 16, hidden = 16, bessels = 8, envelope = 6;
  int noise_hidden = 0;                // of the force-noise head; 0: none
  std::vector<double> frequencies;     // [bessels], of sin(frequency r / cutoff)
  std::vector<Screening> repulsion;    // [species][species]; empty: none

  int nspecies() const { return static_cast<int>(elements.size()); }
  bool last(int layer) const { return layer == layers - 1; }
  int highest(int layer) const { return last(layer) ? 0 : lmax; }    // l that a layer emits
  int outputs(int layer, int l) const {
    return l == 0 ? channels * (1 + highest(layer)) : channels;
  }
  bool operator==(const Hyperparameters &other) const;
};

// l1: of the neighbour's state, l2: of the harmonics, l3: of the message.
struct PathDegrees {
  int l1, l2, l3;
};
std::vector<PathDegrees> paths(const Hyperparameters &shape, int layer);    // in ascending order

struct LayerWeights {
  std::vector<double> radial1;               // [bessels][hidden]
  std::vector<double> radial2;               // [hidden][paths][channels]
  std::vector<double> linear1[max_l + 1];    // [channels][channels], not in the first layer
  std::vector<double> linear2[max_l + 1];    // [paths to l][channels][outputs]
  std::vector<double> self[max_l + 1];       // [species][channels][outputs], not in the first layer
};

// σ_i = exp(SiLU(h⁰ W₁ + b₁) · w₂ + b₂), eV/Å; empty: none
struct NoiseHead {
  std::vector<double> first, first_bias;      // [channels][hidden], [hidden]
  std::vector<double> second, second_bias;    // [hidden], [1]
};

struct Weights {
  std::vector<double> sources;    // [species][channels]
  std::vector<LayerWeights> layers;
  std::vector<double> readout;    // [species][channels + 1], the last a constant, eV
  NoiseHead noise;
};

struct Parameters {
  Hyperparameters shape;
  std::vector<Weights> samples;
};

bool recognises_network(std::string_view bytes);
// Throws uq::Error.
Parameters read_network(const std::string &name, std::string_view bytes);

}    // namespace network
}    // namespace uq

#endif
