// SPDX-License-Identifier: GPL-2.0-or-later
// Spread of any quantity over a committee whose members have posteriors, by the law of total
// variance:
//
//     var = (1/K) Σ_k (y_k - ȳ)² + (1/K) Σ_k Σ_s (y_ks)²,
//
// y_k: the quantity by the mean weights of member k; y_ks: by row s of a factor of its posterior
// covariance, Σ_k = Σ_s d_ks d_ksᵀ.

#ifndef UQ_SPREAD_H
#define UQ_SPREAD_H

#include <cstddef>
#include <vector>

namespace uq {

class Spread {
 public:
  // n vectors of `width` components; members: K.
  void start(size_t n, int width, int members);
  void add_member(const double *values);       // [n][width]
  void add_posterior(const double *values);    // [n][width]

  const std::vector<double> &mean() const { return mean_; }    // [n][width]
  // Square root of the variance summed over the components, [n].
  std::vector<double> deviations() const;

 private:
  int width_ = 1, members_ = 1, added_ = 0;
  std::vector<double> mean_, squares_;    // [n][width], [n]: Σ_k |y_k - ȳ|² and Σ_k Σ_s |y_ks|²
};

}    // namespace uq

#endif
