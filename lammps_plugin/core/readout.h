// SPDX-License-Identifier: GPL-2.0-or-later
// Readout weights and what is known of them: w ~ N(mean, Σ), Σ dense (exact posterior) or Σ = F
// Fᵀ/K from K samples. Both go through the same two questions: variance along Φ and the product ΣΦ.

#ifndef UQ_READOUT_H
#define UQ_READOUT_H

#include <cstddef>
#include <vector>

namespace uq {

class Readout {
 public:
  Readout() = default;
  // mean [m]
  explicit Readout(std::vector<double> mean);

  // Exact covariance, [m][m], symmetric. kept: the weights that it is of, ascending, where those of
  // the other species are left out: then m is their number, and the others must never be asked for.
  void set_covariance(std::vector<double> covariance, std::vector<int> kept = {});
  // Samples of the weights, [k][m]; deviations are taken from the mean: Σ = (1/k) Σ_s (w_s -
  // mean)(w_s - mean)ᵀ.
  void set_samples(int k, std::vector<double> samples, std::vector<int> kept = {});

  int size() const { return static_cast<int>(mean_.size()); }
  int nsamples() const { return nsamples_; }
  bool has_posterior() const { return nsamples_ > 0 || !covariance_.empty(); }
  // Bytes of what is known of the weights.
  size_t memory() const { return (covariance_.size() + deviations_.size()) * sizeof(double); }
  const std::vector<double> &mean() const { return mean_; }

  // v = ΣΦ, or one of several `parts` that add up to it, for ranks to share the work.
  void product(const double *phi, double *v, int part = 0, int parts = 1) const;
  // v = ΣΦ, returns Φ·v = σ² (eV²).
  double variance(const double *phi, double *v) const;

  // The same for n atoms whose features occupy block [offset, offset+count): phi, v [n][stride],
  // var [n]. Matrix-matrix products; v may be null.
  void variances(int n, int stride, int offset, int count, const double *phi, double *v,
                 double *var) const;

  // R [count][columns] of a block of the weights, Σ_block = R Rᵀ: lower triangular for a covariance
  // (columns = count), the deviations of samples as columns; zeros of a block that is not kept.
  std::vector<double> root(int offset, int count) const;

  // Rows d_s, [rows][m], with Σ = Σ_s d_s d_sᵀ: of samples their deviations; of a covariance
  // `draws` random rows, for which it holds on average. Empty without posterior.
  std::vector<double> factor(int draws, unsigned seed) const;

 private:
  std::vector<double> mean_;
  std::vector<int> kept_;             // weights that the posterior is of; empty: all
  std::vector<double> covariance_;    // [n][n], n: all or those kept
  int nsamples_ = 0;
  std::vector<double> deviations_;    // [k][n], (w_s - mean)/sqrt(k)

  int width() const { return static_cast<int>(kept_.empty() ? mean_.size() : kept_.size()); }
  void keep(std::vector<int> kept);
  bool keeps(int offset, int count) const;
  int place(int offset, int count) const;
  void product_of_kept(const double *phi, double *v, int part, int parts) const;
  std::vector<double> spread_out(std::vector<double> rows) const;
};

}    // namespace uq

#endif
