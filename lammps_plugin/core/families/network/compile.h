// SPDX-License-Identifier: GPL-2.0-or-later
// From the file to what the kernels read: invariant tensors, paths, weights laid out for vectors.

#ifndef UQ_NETWORK_COMPILE_H
#define UQ_NETWORK_COMPILE_H

#include "core/families/network/parameters.h"
#include "core/families/network/plan.h"
#include "core/math/aligned.h"

#include <vector>

namespace uq {
namespace network {

// Paths of one layer.
struct LayerPlan {
  std::vector<Path> paths;
  int to[max_l + 1] = {};                           // paths to each l; in the first layer species
  int first[max_l + 1] = {};                        // slot of (l, m3 = 0, first path)
  int slots = 0, width = 0;                         // width: of a slot and of a radial function
  int functions = 0;                                // radial functions
  int lmax = 0;                                     // that it emits
  int messages() const { return slots * width; }    // doubles of one sample
  int radial() const { return functions * width; }
  int components() const { return (lmax + 1) * (lmax + 1); }
  int blocks() const { return lmax + components(); }    // of q: scalars and gates, then the others
};

// All layers, with the edge coupling that they share.
class NetworkPlan {
 public:
  explicit NetworkPlan(const Hyperparameters &shape);

  std::vector<LayerPlan> layers;
  std::vector<Term> terms;
  int entries = 0;

 private:
  int entry_[max_l + 1][max_l + 1][max_l + 1];
  int entry_of(const PathDegrees &path);
};

// Weights of one sample: rows of `width` doubles and their transposes, padded with zeros.
struct Matrix {
  AlignedArray forward, backward;    // [in][out width], [out][in width]
  int in = 0, out = 0, in_width = 0, out_width = 0;
};

class Sample {
 public:
  Sample(const Hyperparameters &shape, const NetworkPlan &plan, const Weights &weights);

  struct Layer {
    Matrix radial1;               // bessels → hidden
    Matrix radial2;               // hidden → [path][channel width]; not in the first layer
    Matrix linear1[max_l + 1];    // channels → channels
    Matrix linear2[max_l + 1];    // [path][slot width] → [output block][channel width]
    std::vector<Matrix> self[max_l + 1];    // of each species
  };
  const Layer &layer(int t) const { return layers_[t]; }
  const double *readout(int species) const { return readout_.data() + species * (channels_ + 1); }
  double noise(const double *scalars) const;    // variance, (eV/Å)²

 private:
  int channels_;
  std::vector<Layer> layers_;
  std::vector<double> readout_;
  NoiseHead noise_;
};

}    // namespace network
}    // namespace uq

#endif
