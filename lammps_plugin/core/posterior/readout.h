// SPDX-License-Identifier: GPL-2.0-or-later
// Readout weights and what is known of them: w ~ N(mean, Σ), Σ dense (exact posterior) or Σ = F
// Fᵀ/K from K samples. Both go through the same two questions: variance along Φ and the product ΣΦ.

#ifndef UQ_READOUT_H
#define UQ_READOUT_H

#include <cstddef>
#include <string>
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

  // v = ΣΦ, or one of several `parts` that add up to it, for ranks to share the work. σ² is a small
  // rest of large products of Φ and Σ: with a root, Σ = UᵀU, only the square root of that
  // cancellation meets the rounding of Φ, which depends on the order of atoms. prepare() makes the
  // root of the weights that have had features so far.
  void prepare(const double *phi);
  void product(const double *phi, double *v, int part = 0, int parts = 1) const;
  // v = ΣΦ, returns Φ·v = σ² (eV²).
  double variance(const double *phi, double *v);

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
  std::vector<double> deviations_;       // [k][n], (w_s - mean)/sqrt(k)
  std::vector<int> present_, absent_;    // weights in the root and those that are not
  std::vector<double> root_;             // U of those present, rows from the diagonal on

  int width() const { return static_cast<int>(kept_.empty() ? mean_.size() : kept_.size()); }
  void keep(std::vector<int> kept);
  std::vector<double> gather(const double *phi) const;
  void prepare_kept(const double *phi);
  bool keeps(int offset, int count) const;
  int place(int offset, int count) const;
  void product_of_kept(const double *phi, double *v, int part, int parts) const;
  std::vector<double> spread_out(std::vector<double> rows) const;
};

// What keeps s [m][m] from being a covariance, empty if nothing does: a variance below 0, an
// asymmetry, a correlation beyond ±1, each to rounding (1e-6 of the standard deviations); if
// `whole` also a negative eigenvalue, which costs a Cholesky factorisation, m³/3. The same is
// checked by pyuq/inference/posterior.py before a file is written.
std::string covariance_fault(size_t m, const std::vector<double> &s, bool whole);

}    // namespace uq

#endif
