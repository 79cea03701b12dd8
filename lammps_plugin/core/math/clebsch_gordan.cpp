// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/math/clebsch_gordan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

using namespace uq;

static long double factorial(int n) {
  static const auto table = [] {
    std::array<long double, 3 * max_momentum + 2> values;
    values[0] = 1.0L;
    for (size_t i = 1; i < values.size(); i++) values[i] = values[i - 1] * i;
    return values;
  }();
  return table[n];
}

// Racah's formula; long double, because the sum alternates.
double uq::clebsch_gordan(int j1, int m1, int j2, int m2, int j) {
  const int m = m1 + m2;
  if (j < std::abs(j1 - j2) || j > j1 + j2) return 0.0;
  if (std::abs(m1) > j1 || std::abs(m2) > j2 || std::abs(m) > j) return 0.0;
  const auto f = factorial;
  long double sum = 0.0L;
  const int low = std::max({0, j2 - j - m1, j1 - j + m2}),
            high = std::min({j1 + j2 - j, j1 - m1, j2 + m2});
  for (int k = low; k <= high; k++)
    sum += (k % 2 ? -1.0L : 1.0L) / (f(k) * f(j1 + j2 - j - k) * f(j1 - m1 - k) * f(j2 + m2 - k) *
                                     f(j - j2 + m1 + k) * f(j - j1 - m2 + k));
  const long double triangle =
      f(j1 + j2 - j) * f(j1 - j2 + j) * f(-j1 + j2 + j) / f(j1 + j2 + j + 1);
  // Roots one by one: the product of all factorials could overflow.
  return static_cast<double>(sum * std::sqrt((2 * j + 1) * triangle) *
                             std::sqrt(f(j1 + m1) * f(j1 - m1)) *
                             std::sqrt(f(j2 + m2) * f(j2 - m2)) * std::sqrt(f(j + m) * f(j - m)));
}

std::vector<std::pair<int, int>> uq::coupling_tree(int rank) {
  std::vector<std::pair<int, int>> tree;
  for (int t = 0; t + 1 < rank; t += 2) tree.emplace_back(t, t + 1);
  int next = rank;    // the first result that nothing has taken up
  for (; next + 1 < rank + static_cast<int>(tree.size()); next += 2)
    tree.emplace_back(next, next + 1);
  if (rank % 2 && rank > 1) tree.emplace_back(next, rank - 1);
  return tree;
}

namespace {

// The sign of the first m that is not zero.
int leading_sign(const std::vector<int> &ms) {
  for (int m : ms)
    if (m) return m < 0 ? -1 : 1;
  return 0;
}

}    // namespace

std::vector<Coupled> uq::couple_to_invariant(const std::vector<int> &ls,
                                             const std::vector<int> &intermediate) {
  const int rank = static_cast<int>(ls.size());
  const std::vector<std::pair<int, int>> tree = coupling_tree(rank);
  std::vector<int> l = ls, m(rank + tree.size());
  l.insert(l.end(), intermediate.begin(), intermediate.end());
  l.push_back(0);
  std::vector<Coupled> result;
  std::vector<int> ms(rank);
  for (int t = 0; t < rank; t++) ms[t] = -ls[t];
  while (true) {
    // All but the last m run; the last makes the sum zero.
    ms[rank - 1] = 0;
    for (int t = 0; t < rank - 1; t++) ms[rank - 1] -= ms[t];
    const int sign = leading_sign(ms);
    if (std::abs(ms[rank - 1]) <= ls[rank - 1] && sign >= 0) {
      std::copy(ms.begin(), ms.end(), m.begin());
      double coefficient = sign ? 2.0 : 1.0;
      for (size_t i = 0; i < tree.size() && coefficient != 0.0; i++) {
        const auto [a, b] = tree[i];
        m[rank + i] = m[a] + m[b];
        coefficient *= clebsch_gordan(l[a], m[a], l[b], m[b], l[rank + i]);
      }
      if (coefficient != 0.0) result.push_back({ms, coefficient});
    }
    int t = rank - 2;
    while (t >= 0 && ms[t] == ls[t]) ms[t] = -ls[t], t--;
    if (t < 0) return result;
    ms[t]++;
  }
}
