// SPDX-License-Identifier: GPL-2.0-or-later
// One backward pass of a committee, of the whole system (σ = σ_E) or of its atoms (σ = Σ_i σ_i):
// what it differentiates is S = mean Ē + sigma σ. The mean, the uncertainty and what a biased run
// follows, Ē - τσ, are the weights (1, 0), (0, 1) and (1, -τ).

#ifndef UQ_PASS_H
#define UQ_PASS_H

#include "core/map/feature_map.h"

namespace uq {

struct Pass {
  double mean = 1.0, sigma = 0.0;
  double floor = 0.0;    // eV; lowers each σ_i of a pass over atoms (see lower()), else unused
  Result result;

  static Pass of_mean(const Result &result) { return {1.0, 0.0, 0.0, result}; }
  static Pass of_sigma(const Result &result) { return {0.0, 1.0, 0.0, result}; }
};

}    // namespace uq

#endif
