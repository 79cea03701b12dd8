// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/posterior/readout.h"

#include "core/error.h"
#include "core/math/matrix.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
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
  present_.clear();
  root_.clear();
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

// Lower triangle L of A = L Lᵀ, row-major, in place, a panel of columns after the other. Directions
// of no variance stay out. Returns the smallest pivot: below 0 where A is no covariance.
static double cholesky(int n, std::vector<double> &a) {
  double least = std::numeric_limits<double>::infinity();
  constexpr int WIDTH = 64, ROWS = 120;
  std::vector<double> smallest(n), panel(static_cast<size_t>(WIDTH) * n), product;
  const auto row = [&](int i) { return &a[static_cast<size_t>(i) * n]; };
  for (int i = 0; i < n; i++) smallest[i] = 1e-15 * row(i)[i];
  for (int first = 0; first < n; first += WIDTH) {
    const int width = std::min(WIDTH, n - first), behind = first + width;
    for (int i = first; i < n; i++)
      for (int j = first; j <= std::min(i, behind - 1); j++) {
        double value = row(i)[j];
        for (int k = first; k < j; k++) value -= row(i)[k] * row(j)[k];
        if (j < i) {
          row(i)[j] = row(j)[j] > 0.0 ? value / row(j)[j] : 0.0;
        } else {
          least = std::min(least, value);
          row(i)[j] = value > smallest[i] ? std::sqrt(value) : 0.0;
        }
      }
    for (int k = 0; k < width; k++)
      for (int i = behind; i < n; i++) panel[static_cast<size_t>(k) * n + i] = row(i)[first + k];
    for (int i = behind; i < n; i += ROWS) {
      const int rows = std::min(ROWS, n - i), columns = i + rows - behind;
      product.resize(static_cast<size_t>(rows) * columns);
      matrix().multiply(rows, columns, width, row(i) + first, n, &panel[behind], n, product.data(),
                        columns);
      for (int q = 0; q < rows; q++)
        for (int j = 0; j <= i + q - behind; j++)
          row(i + q)[behind + j] -= product[static_cast<size_t>(q) * columns + j];
    }
  }
  return least;
}

// Φ of the weights that are kept.
std::vector<double> Readout::gather(const double *phi) const {
  std::vector<double> some;
  some.reserve(kept_.size());
  for (const int i : kept_) some.push_back(phi[i]);
  return some;
}

void Readout::prepare(const double *phi) {
  if (covariance_.empty()) return;
  prepare_kept(kept_.empty() ? phi : gather(phi).data());
}

void Readout::prepare_kept(const double *phi) {
  const int m = width();
  std::vector<char> known(m, 0);
  for (const int i : present_) known[i] = 1;
  bool more = false;
  for (int i = 0; i < m; i++) {
    more = more || (phi[i] != 0.0 && !known[i]);
    known[i] = known[i] || phi[i] != 0.0;
  }
  if (!more) return;
  present_.clear();
  absent_.clear();
  for (int i = 0; i < m; i++) (known[i] ? present_ : absent_).push_back(i);
  const size_t n = present_.size();
  std::vector<double> lower(n * n);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j <= i; j++)
      lower[i * n + j] = covariance_[static_cast<size_t>(present_[i]) * m + present_[j]];
  cholesky(static_cast<int>(n), lower);
  root_.clear();
  root_.reserve(n * (n + 1) / 2);
  for (size_t j = 0; j < n; j++)
    for (size_t i = j; i < n; i++) root_.push_back(lower[i * n + j]);
}

void Readout::product(const double *phi, double *v, int part, int parts) const {
  if (kept_.empty()) return product_of_kept(phi, v, part, parts);
  std::vector<double> result(kept_.size());
  product_of_kept(gather(phi).data(), result.data(), part, parts);
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
  const int n = static_cast<int>(present_.size());
  std::vector<double> x(n), y(n);
  for (int k = 0; k < n; k++) x[k] = phi[present_[k]];
  matrix().gram_times_vector(n, root_.data(), x.data(), y.data(), part, parts);
  for (int k = 0; k < n; k++) v[present_[k]] = y[k];
  // Species that are absent have no features, but the weights of a product.
  for (int k = part; k < n && !absent_.empty(); k += parts) {
    const double *row = &covariance_[static_cast<size_t>(present_[k]) * m];
    for (const int i : absent_) v[i] += x[k] * row[i];
  }
}

static double dot(int n, const double *a, const double *b) {
  double sum = 0.0;
  for (int i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

double Readout::variance(const double *phi, double *v) {
  prepare(phi);
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
