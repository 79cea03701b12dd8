// SPDX-License-Identifier: GPL-2.0-or-later

#include "readout.h"

#include "error.h"
#include "math/matrix.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>

using namespace uq;

Readout::Readout(std::vector<double> mean) : mean_(std::move(mean)) {}

void Readout::keep(std::vector<int> kept) {
  const bool rising =
      std::adjacent_find(kept.begin(), kept.end(), std::greater_equal<int>()) == kept.end();
  if (!kept.empty() && (!rising || kept.front() < 0 || kept.back() >= size()))
    throw Error("the weights that are kept do not rise from 0 to " + std::to_string(size() - 1));
  kept_ = std::move(kept);
}

bool Readout::keeps(int offset, int count) const {
  if (kept_.empty() || count == 0) return true;
  const auto first = std::lower_bound(kept_.begin(), kept_.end(), offset);
  return count <= kept_.end() - first && first[0] == offset &&
         first[count - 1] == offset + count - 1;
}

// Where the block of a species begins among what is kept. Throws where it is not kept.
int Readout::place(int offset, int count) const {
  if (kept_.empty()) return offset;
  const auto first = std::lower_bound(kept_.begin(), kept_.end(), offset);
  if (!keeps(offset, count))
    throw Error("the posterior was read without the block of weights " + std::to_string(offset) +
                " to " + std::to_string(offset + count - 1) + ", whose species was not named");
  return static_cast<int>(first - kept_.begin());
}

void Readout::set_covariance(std::vector<double> covariance, std::vector<int> kept) {
  keep(std::move(kept));
  if (covariance.size() != static_cast<size_t>(width()) * width())
    throw Error("the covariance has " + std::to_string(covariance.size()) + " numbers, expected " +
                std::to_string(width()) + " squared");
  covariance_ = std::move(covariance);
  deviations_.clear();
  nsamples_ = 0;
}

void Readout::set_samples(int k, std::vector<double> samples, std::vector<int> kept) {
  keep(std::move(kept));
  const size_t n = width();
  if (k < 1 || samples.size() != n * static_cast<size_t>(k))
    throw Error("the samples have " + std::to_string(samples.size()) + " numbers, expected " +
                std::to_string(k) + " times " + std::to_string(n));
  deviations_ = std::move(samples);
  for (size_t i = 0; i < deviations_.size(); i++) {
    const double mean = mean_[kept_.empty() ? i % n : kept_[i % n]];
    deviations_[i] = (deviations_[i] - mean) / std::sqrt(static_cast<double>(k));
  }
  covariance_.clear();
  nsamples_ = k;
}

void Readout::product(const double *phi, double *v, int part, int parts) const {
  if (kept_.empty()) return product_of_kept(phi, v, part, parts);
  std::vector<double> some(kept_.size()), result(kept_.size());
  for (size_t i = 0; i < kept_.size(); i++) some[i] = phi[kept_[i]];
  product_of_kept(some.data(), result.data(), part, parts);
  std::fill(v, v + size(), 0.0);
  for (size_t i = 0; i < kept_.size(); i++) v[kept_[i]] = result[i];
}

void Readout::product_of_kept(const double *phi, double *v, int part, int parts) const {
  const int m = width();
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
  const size_t m = width();
  offset = place(offset, count);
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

// Lower triangle L of A = L Lᵀ, row-major, in place. Directions of no variance stay out.
static void cholesky(int n, std::vector<double> &a) {
  double largest = 0.0;
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
    }
  }
}

std::vector<double> Readout::root(int offset, int count) const {
  const size_t m = width(), columns = nsamples_ ? nsamples_ : count;
  std::vector<double> root(count * columns, 0.0);
  if (!keeps(offset, count)) return root;    // of a species that does not occur
  offset = place(offset, count);
  for (int i = 0; i < count; i++)
    for (size_t j = 0; j < (nsamples_ ? columns : i + 1); j++)
      root[i * columns + j] =
          nsamples_ ? deviations_[j * m + offset + i] : covariance_[(offset + i) * m + offset + j];
  if (nsamples_ == 0) cholesky(count, root);
  return root;
}

// Rows [..][width] as rows of all weights, zero in what is not kept.
std::vector<double> Readout::spread_out(std::vector<double> rows) const {
  if (kept_.empty()) return rows;
  const size_t n = kept_.size(), m = mean_.size();
  std::vector<double> all(rows.size() / n * m, 0.0);
  for (size_t i = 0; i < rows.size(); i++) all[i / n * m + kept_[i % n]] = rows[i];
  return all;
}

std::vector<double> Readout::factor(int draws, unsigned seed) const {
  if (nsamples_) return spread_out(deviations_);
  if (covariance_.empty() || draws == 0) return {};
  const int m = width();
  std::vector<double> rows(static_cast<size_t>(draws) * m, 0.0), z(m);
  std::vector<double> lower = covariance_;
  cholesky(m, lower);
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal(0.0, 1.0 / std::sqrt(static_cast<double>(draws)));
  for (int s = 0; s < draws; s++) {
    for (double &value : z) value = normal(generator);
    for (int i = 0; i < m; i++)
      for (int q = 0; q <= i; q++)
        rows[static_cast<size_t>(s) * m + i] += lower[static_cast<size_t>(i) * m + q] * z[q];
  }
  return spread_out(std::move(rows));
}
