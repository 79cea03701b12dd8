// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/nep/compile.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <map>

using namespace uq;
using namespace uq::nep;

static constexpr double pi = 3.14159265358979323846;

Harmonics nep::harmonics(int lmax) {
  static_assert(Harmonics::max_l == max_l);
  Harmonics h;
  h.lmax = lmax;
  h.ncomp = lmax * (lmax + 2);
  h.width = width_of(h.ncomp);
  for (int m = 0; m <= lmax; m++) {
    h.diagonal[m] = m == 0   ? std::sqrt(0.25 / pi)
                    : m == 1 ? std::sqrt(0.75 / pi)
                             : h.diagonal[m - 1] * std::sqrt((2.0 * m + 1.0) / (2.0 * m));
    for (int l = m + 1; l <= lmax; l++) {
      h.a[l][m] = std::sqrt((4.0 * l * l - 1.0) / (l * l - m * m));
      h.b[l][m] = -std::sqrt(((l - 1.0) * (l - 1.0) - m * m) / (4.0 * (l - 1.0) * (l - 1.0) - 1.0));
    }
  }
  return h;
}

// Wigner's 3j symbol by Racah's formula.
static double wigner_3j(int j1, int j2, int j3, int m1, int m2, int m3) {
  const auto factorial = [](int n) { return std::tgamma(n + 1.0); };
  if (m1 + m2 + m3 != 0 || j3 < std::abs(j1 - j2) || j3 > j1 + j2) return 0.0;
  double sum = 0.0;
  for (int t = 0; t <= j1 + j2 - j3; t++) {
    const int terms[] = {j3 - j2 + t + m1, j3 - j1 + t - m2, j1 + j2 - j3 - t, j1 - t - m1,
                         j2 - t + m2};
    if (*std::min_element(std::begin(terms), std::end(terms)) < 0) continue;
    double product = factorial(t);
    for (int n : terms) product *= factorial(n);
    sum += (t % 2 ? -1.0 : 1.0) / product;
  }
  double square = factorial(j1 + j2 - j3) * factorial(j1 - j2 + j3) * factorial(-j1 + j2 + j3) /
                  factorial(j1 + j2 + j3 + 1);
  for (const auto &[j, m] : {std::pair(j1, m1), std::pair(j2, m2), std::pair(j3, m3)})
    square *= factorial(j + m) * factorial(j - m);
  return ((j1 - j2 - m3) % 2 ? -1.0 : 1.0) * std::sqrt(square) * sum;
}

// A_lm as a combination of real components: A_lm = (-1)^m (s_cos + i s_sin)/√2 for m > 0, and
// A_{l,-m} = (-1)^m conj A_lm.
static std::vector<std::pair<int, std::complex<double>>> component_of(int l, int m) {
  const int first = l * l - 1, n = std::abs(m);
  if (m == 0) return {{first, 1.0}};
  const double sign = m > 0 && n % 2 ? -1.0 : 1.0;
  return {{first + 2 * n - 1, sign * std::sqrt(0.5)},
          {first + 2 * n, {0.0, (m > 0 ? sign : -1.0) * std::sqrt(0.5)}}};
}

std::vector<Cubic> nep::cubic_terms(int l1, int l2, int l3) {
  std::map<std::array<int, 3>, double> sums;    // imaginary parts cancel between m and -m
  for (int m1 = -l1; m1 <= l1; m1++)
    for (int m2 = -l2; m2 <= l2; m2++) {
      const int m3 = -m1 - m2;
      if (std::abs(m3) > l3) continue;
      const double w = wigner_3j(l1, l2, l3, m1, m2, m3);
      for (const auto &[i, a] : component_of(l1, m1))
        for (const auto &[j, b] : component_of(l2, m2))
          for (const auto &[k, c] : component_of(l3, m3)) {
            std::array<int, 3> key = {i, j, k};
            std::sort(key.begin(), key.end());
            sums[key] += w * (a * b * c).real();
          }
    }
  std::vector<Cubic> terms;
  for (const auto &[key, factor] : sums)
    if (std::abs(factor) > 1e-13) terms.push_back({factor, key[0], key[1], key[2]});
  return terms;
}

std::vector<Quartic> nep::quartic_terms() {
  // Components: v = (1, 2, 0); M as sums of components 3 .. 7.
  using Sum = std::vector<std::pair<int, double>>;
  const double third = std::sqrt(1.0 / 3.0);
  const int v[3] = {1, 2, 0};
  const Sum xx = {{6, 1.0}, {3, -third}}, yy = {{6, -1.0}, {3, -third}}, zz = {{3, 2.0 * third}},
            xy = {{7, 1.0}}, xz = {{4, 1.0}}, yz = {{5, 1.0}};
  const Sum matrix[3][3] = {{xx, xy, xz}, {xy, yy, yz}, {xz, yz, zz}};
  const double product = std::sqrt(1.0 / 15.0) - 2.0 * std::sqrt(21.0) / 105.0,
               square = std::sqrt(21.0) / 35.0;
  std::map<std::array<int, 4>, double> sums;
  const auto add = [&](double factor, std::array<int, 4> key) {
    std::sort(key.begin(), key.end());
    sums[key] += factor;
  };
  for (int i = 0; i < 3; i++)
    for (int c = 3; c < 8; c++) add(product, {i, i, c, c});
  for (int row = 0; row < 3; row++)
    for (int i = 0; i < 3; i++)
      for (int j = 0; j < 3; j++)
        for (const auto &[c, a] : matrix[row][i])
          for (const auto &[d, b] : matrix[row][j]) add(square * a * b, {v[i], v[j], c, d});
  std::vector<Quartic> terms;
  for (const auto &[key, factor] : sums)
    if (std::abs(factor) > 1e-13) terms.push_back({factor, key[0], key[1], key[2], key[3]});
  return terms;
}

InvariantPlan::InvariantPlan(const Hyperparameters &shape) {
  static constexpr int degrees[nhigher][3] = {{2, 2, 2}, {},        {1, 1, 2}, {1, 2, 3},
                                              {2, 3, 3}, {1, 3, 4}, {}};
  plan_.lmax = shape.lmax;
  plan_.count = shape.lmax;
  for (int h = 0; h < nhigher; h++) {
    if (!shape.higher[h]) continue;
    const int place = plan_.count++;
    if (h == Q1111) {
      plan_.q1111 = place;
      continue;
    }
    if (h == Q1122) {
      plan_.q1122 = place;
      quartic_ = quartic_terms();
      continue;
    }
    const auto terms = cubic_terms(degrees[h][0], degrees[h][1], degrees[h][2]);
    terms_.insert(terms_.end(), terms.begin(), terms.end());
    place_.push_back(place);
    first_.push_back(static_cast<int>(terms_.size()));
  }
  plan_.ncubic = static_cast<int>(place_.size());
  plan_.place = place_.data();
  plan_.first = first_.data();
  plan_.terms = terms_.data();
  plan_.nquartic = static_cast<int>(quartic_.size());
  plan_.quartic = quartic_.data();
}

Weights::Weights(const Parameters &potential) : neurons_(potential.neurons) {
  lay_out_coefficients(potential);
  lay_out_networks(potential);
}

void Weights::lay_out_coefficients(const Parameters &p) {
  const size_t pairs = static_cast<size_t>(p.nspecies()) * p.nspecies();
  const size_t wide = width_of(p.nradial), wide_base = width_of(p.radial_base),
               wide_angular = width_of(p.nangular);
  radial_size_ = p.radial_base * wide;
  radial_by_channel_size_ = p.nradial * wide_base;
  angular_size_ = p.angular_base * wide_angular;
  radial_.zero(pairs * radial_size_);
  radial_by_channel_.zero(pairs * radial_by_channel_size_);
  angular_.zero(pairs * angular_size_);
  for (size_t pair = 0; pair < pairs; pair++) {
    for (int n = 0; n < p.nradial; n++)
      for (int k = 0; k < p.radial_base; k++) {
        const double c = p.radial_coefficients[(n * p.radial_base + k) * pairs + pair];
        radial_.data()[pair * radial_size_ + k * wide + n] = c;
        radial_by_channel_.data()[pair * radial_by_channel_size_ + n * wide_base + k] = c;
      }
    for (int n = 0; n < p.nangular; n++)
      for (int k = 0; k < p.angular_base; k++)
        angular_.data()[pair * angular_size_ + k * wide_angular + n] =
            p.angular_coefficients[(n * p.angular_base + k) * pairs + pair];
  }
}

void Weights::lay_out_networks(const Parameters &p) {
  const size_t dim = p.dim(), wide_dim = width_of(p.dim()), wide = width();
  hidden_size_ = dim * wide;
  hidden_by_neuron_size_ = neurons_ * wide_dim;
  hidden_.zero(p.networks.size() * hidden_size_);
  hidden_by_neuron_.zero(p.networks.size() * hidden_by_neuron_size_);
  bias_.zero(p.networks.size() * wide);
  for (size_t z = 0; z < p.networks.size(); z++) {
    const Network &network = p.networks[z];
    for (int v = 0; v < neurons_; v++) {
      for (size_t d = 0; d < dim; d++) {
        const double w = network.w0[v * dim + d] * p.scaler[d];
        hidden_.data()[z * hidden_size_ + d * wide + v] = w;
        hidden_by_neuron_.data()[z * hidden_by_neuron_size_ + v * wide_dim + d] = w;
      }
      bias_.data()[z * wide + v] = network.b0[v];
      weights_.push_back(network.w1[v]);
    }
    weights_.push_back(-network.bias);
  }
}
