// SPDX-License-Identifier: GPL-2.0-or-later

#include "readout.h"

#include "error.h"
#include "math/matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

using namespace uq;

Readout::Readout(std::vector<double> mean) : mean_(std::move(mean)) {}

void Readout::set_covariance(std::vector<double> covariance) {
  if (covariance.size() != mean_.size() * mean_.size())
    throw Error("the covariance has " + std::to_string(covariance.size()) + " numbers, expected " +
                std::to_string(mean_.size()) + " squared");
  covariance_ = std::move(covariance);
  deviations_.clear();
  nsamples_ = 0;
}

void Readout::set_samples(int k, std::vector<double> samples) {
  if (k < 1 || samples.size() != mean_.size() * static_cast<size_t>(k))
    throw Error("the samples have " + std::to_string(samples.size()) + " numbers, expected " +
                std::to_string(k) + " times " + std::to_string(mean_.size()));
  deviations_ = std::move(samples);
  for (size_t i = 0; i < deviations_.size(); i++)
    deviations_[i] = (deviations_[i] - mean_[i % mean_.size()]) / std::sqrt(static_cast<double>(k));
  covariance_.clear();
  nsamples_ = k;
}

void Readout::product(const double *phi, double *v, int part, int parts) const {
  const int m = size();
  std::fill(v, v + m, 0.0);
  if (nsamples_) {
    const int first = static_cast<int>(static_cast<long>(nsamples_) * part / parts),
              rows = static_cast<int>(static_cast<long>(nsamples_) * (part + 1) / parts) - first;
    const double *deviations = deviations_.data() + static_cast<size_t>(first) * m;
    std::vector<double> projection(rows, 0.0);
    matrix().times_vector(rows, m, deviations, phi, projection.data());
    for (int s = 0; s < rows; s++)
      for (int i = 0; i < m; i++)
        v[i] += projection[s] * deviations[static_cast<size_t>(s) * m + i];
    return;
  }
  if (covariance_.empty()) return;
  // Species that are absent have no features: only the rows of the others are read.
  const int present = m - static_cast<int>(std::count(phi, phi + m, 0.0));
  if (2 * present > m) {
    matrix().symmetric_times_vector(m, covariance_.data(), phi, v, part, parts);
    return;
  }
  for (int j = part; j < m; j += parts) {
    if (phi[j] == 0.0) continue;
    const double *row = &covariance_[static_cast<size_t>(j) * m];
    for (int i = 0; i < m; i++) v[i] += phi[j] * row[i];
  }
}

static double dot(int n, const double *a, const double *b) {
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

double Readout::variance(const double *phi, double *v) const {
  product(phi, v);
  return dot(size(), phi, v);
}

void Readout::variances(int n, int stride, int offset, int count, const double *phi, double *v,
                        double *var) const {
  std::fill(var, var + n, 0.0);
  if (v)
    for (int i = 0; i < n; i++)
      std::fill(v + static_cast<size_t>(i) * stride, v + static_cast<size_t>(i + 1) * stride, 0.0);
  if (!has_posterior()) return;
  const size_t m = mean_.size();
  if (nsamples_) {
    // P = φ Dᵀ, v = P D
    std::vector<double> transposed(static_cast<size_t>(count) * nsamples_);
    for (int s = 0; s < nsamples_; s++)
      for (int f = 0; f < count; f++)
        transposed[static_cast<size_t>(f) * nsamples_ + s] = deviations_[s * m + offset + f];
    std::vector<double> projection(static_cast<size_t>(n) * nsamples_);
    matrix().multiply(n, nsamples_, count, phi, stride, transposed.data(), nsamples_,
                      projection.data(), nsamples_);
    for (int i = 0; i < n; i++)
      for (int s = 0; s < nsamples_; s++) {
        const double p = projection[static_cast<size_t>(i) * nsamples_ + s];
        var[i] += p * p;
      }
    if (v)
      matrix().multiply(n, count, nsamples_, projection.data(), nsamples_,
                        deviations_.data() + offset, static_cast<int>(m), v, stride);
    return;
  }
  // Without v, columns of Σ down to the diagonal are enough: what lies above it counts twice.
  constexpr int columns = 128;
  std::vector<double> product(v ? 0 : static_cast<size_t>(n) * columns);
  const double *covariance = covariance_.data() + offset * m + offset;
  const int step = v ? count : columns, ld = v ? stride : columns;
  for (int first = 0; first < count; first += step) {
    const int width = std::min(step, count - first);
    double *out = v ? v : product.data();
    if (first > 0) {
      matrix().multiply(n, width, first, phi, stride, covariance + first, static_cast<int>(m), out,
                        ld);
      for (int i = 0; i < n; i++)
        var[i] += 2.0 * dot(width, phi + static_cast<size_t>(i) * stride + first,
                            out + static_cast<size_t>(i) * ld);
    }
    matrix().multiply(n, width, width, phi + first, stride, covariance + first * m + first,
                      static_cast<int>(m), out, ld);
    for (int i = 0; i < n; i++)
      var[i] += dot(width, phi + static_cast<size_t>(i) * stride + first,
                    out + static_cast<size_t>(i) * ld);
  }
}

// Lower triangle L of A = L Lᵀ, row-major, in place. Directions of no variance stay out. Returns
// the smallest pivot: below 0 where A is no covariance.
static double cholesky(int n, std::vector<double> &a) {
  double largest = 0.0, least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < n; i++) largest = std::max(largest, a[static_cast<size_t>(i) * n + i]);
  const double smallest = 1e-14 * largest;
  for (int j = 0; j < n; j++) {
    double *row = &a[static_cast<size_t>(j) * n];
    for (int k = 0; k <= j; k++) {
      const double *other = &a[static_cast<size_t>(k) * n];
      double done;
      matrix().times_vector(1, k, row, other, &done);
      const double value = row[k] - done;
      if (k < j)
        row[k] = other[k] > 0.0 ? value / other[k] : 0.0;
      else
        row[k] = value > smallest ? std::sqrt(value) : 0.0;
      if (k == j) least = std::min(least, value);
    }
  }
  return least;
}

std::string uq::covariance_fault(size_t m, const std::vector<double> &s, bool whole) {
  constexpr double rounding = 1e-6, smallest = 1e-12;
  double largest = 0.0;
  for (size_t i = 0; i < m; i++) largest = std::max(largest, std::abs(s[i * m + i]));
  const auto at = [](size_t i, size_t j) {
    return "[" + std::to_string(i) + "," + std::to_string(j) + "]";
  };
  std::vector<double> scale(m);
  for (size_t i = 0; i < m; i++) {
    const double variance = s[i * m + i];
    if (variance < -smallest * largest)
      return "has the variance " + at(i, i) + " = " + std::to_string(variance) +
             ", expected none below 0";
    scale[i] = std::sqrt(std::max(variance, smallest * largest));
  }
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < i; j++) {
      const double a = s[i * m + j], b = s[j * m + i], unit = scale[i] * scale[j];
      if (!(std::abs(a - b) <= rounding * unit))
        return "is not symmetric: " + at(i, j) + " and " + at(j, i) + " differ by " +
               std::to_string(std::abs(a - b) / unit) + " of their standard deviations";
      if (!(std::abs(a) <= (1.0 + rounding) * unit))
        return "has the correlation " + at(i, j) + " = " + std::to_string(a / unit) +
               ", expected -1 to 1";
    }
  if (!whole || largest == 0.0) return "";
  std::vector<double> correlation(m * m);
  for (size_t i = 0; i < m; i++) {
    for (size_t j = 0; j < i; j++) correlation[i * m + j] = s[i * m + j] / (scale[i] * scale[j]);
    correlation[i * m + i] = s[i * m + i] / (scale[i] * scale[i]) + rounding;
  }
  if (cholesky(static_cast<int>(m), correlation) < 0.0)
    return "is not positive semidefinite: some combination of weights has a variance below 0";
  return "";
}

std::vector<double> Readout::root(int offset, int count) const {
  const size_t m = mean_.size(), columns = nsamples_ ? nsamples_ : count;
  std::vector<double> root(count * columns, 0.0);
  for (int i = 0; i < count; i++)
    for (size_t j = 0; j < (nsamples_ ? columns : i + 1); j++)
      root[i * columns + j] =
          nsamples_ ? deviations_[j * m + offset + i] : covariance_[(offset + i) * m + offset + j];
  if (nsamples_ == 0) cholesky(count, root);
  return root;
}

std::vector<double> Readout::factor(int draws, unsigned seed) const {
  if (nsamples_) return deviations_;
  if (covariance_.empty() || draws == 0) return {};
  const int m = size();
  std::vector<double> rows(static_cast<size_t>(draws) * m, 0.0), z(m);
  const std::vector<double> lower = root(0, m);
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal(0.0, 1.0 / std::sqrt(static_cast<double>(draws)));
  for (int s = 0; s < draws; s++) {
    for (double &value : z) value = normal(generator);
    for (int i = 0; i < m; i++)
      for (int q = 0; q <= i; q++)
        rows[static_cast<size_t>(s) * m + i] += lower[static_cast<size_t>(i) * m + q] * z[q];
  }
  return rows;
}
