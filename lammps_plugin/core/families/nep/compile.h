// SPDX-License-Identifier: GPL-2.0-or-later
// From the file to what the kernels read: constants of the harmonics and invariants from their
// closed rules, coefficients laid out for vectors.

#ifndef UQ_NEP_COMPILE_H
#define UQ_NEP_COMPILE_H

#include "core/families/nep/parameters.h"
#include "core/families/nep/plan.h"
#include "core/math/aligned.h"

#include <vector>

namespace uq {
namespace nep {

Harmonics harmonics(int lmax);

// q_{l1 l2 l3} = Σ (l1 l2 l3; m1 m2 m3) A_{l1 m1} A_{l2 m2} A_{l3 m3} in the real components.
std::vector<Cubic> cubic_terms(int l1, int l2, int l3);

// q_1122 = Σ_L Σ (1 1 L; m1 m2 M) (2 2 L; m3 m4 -M) A_{1 m1} A_{1 m2} A_{2 m3} A_{2 m4}, L = 0 and
// 2, signed so that the coefficient of q_1 q_2 is 1/√15 in L = 0: (1/√15 - 2√21/105) q_1 q_2 +
// (√21/35) |M v|², where v is s_1 as a vector and M is s_2 as a symmetric matrix without trace,
// tr M² = 2 q_2.
std::vector<Quartic> quartic_terms();

// Invariants with the arrays that they point into.
class InvariantPlan {
 public:
  explicit InvariantPlan(const Hyperparameters &shape);
  InvariantPlan(const InvariantPlan &) = delete;
  InvariantPlan &operator=(const InvariantPlan &) = delete;
  const Invariants &operator*() const { return plan_; }

 private:
  std::vector<int> place_, first_ = {0};
  std::vector<Cubic> terms_;
  std::vector<Quartic> quartic_;
  Invariants plan_;
};

// The fitted numbers of one potential. `pair`: index of centre and neighbour, i * nspecies + j.
class Weights {
 public:
  explicit Weights(const Parameters &potential);

  int neurons() const { return neurons_; }
  int width() const { return width_of(neurons_); }
  int count() const { return neurons_ + 1; }    // features of an atom

  // c_nk of a pair as [base][channel width], and for the radial ones [channel][base width] too.
  const double *radial(int pair) const { return radial_.data() + pair * radial_size_; }
  const double *radial_by_channel(int pair) const {
    return radial_by_channel_.data() + pair * radial_by_channel_size_;
  }
  const double *angular(int pair) const { return angular_.data() + pair * angular_size_; }

  // Hidden layer of a species, the scalers folded in: [dim][width] and [neurons][dim width].
  const double *hidden(int species) const { return hidden_.data() + species * hidden_size_; }
  const double *hidden_by_neuron(int species) const {
    return hidden_by_neuron_.data() + species * hidden_by_neuron_size_;
  }
  const double *bias(int species) const { return bias_.data() + species * width(); }

  // Readout weights of a species: w1 and minus the bias, [count].
  const double *weights(int species) const { return weights_.data() + species * count(); }

 private:
  int neurons_;
  size_t radial_size_, radial_by_channel_size_, angular_size_, hidden_size_, hidden_by_neuron_size_;
  AlignedArray radial_, radial_by_channel_, angular_, hidden_, hidden_by_neuron_, bias_;
  std::vector<double> weights_;

  void lay_out_coefficients(const Parameters &potential);
  void lay_out_networks(const Parameters &potential);
};

}    // namespace nep
}    // namespace uq

#endif
