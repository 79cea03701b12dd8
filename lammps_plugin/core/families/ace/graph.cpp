// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/ace/graph.h"

#include <algorithm>

using namespace uq;
using namespace uq::ace;

bool ace::canonicalise(Factors &factors) {
  Factors other;
  int order = 0;
  for (const Factor &factor : factors) {
    order += factor.m;
    other.push_back(factor.conjugate());
  }
  std::sort(other.begin(), other.end());
  if (order > 0 || (order == 0 && factors <= other)) return false;
  factors = other;
  return true;
}

Graph::Graph(const std::map<Factors, int> &products) {
  for (const auto &[factors, index] : products)
    for (size_t i = 0; i < factors.size(); i++)
      for (size_t j = i + 1; j < factors.size(); j++) popularity_[pair(factors, i, j)]++;
  for (const auto &[factors, index] : products)
    for (const Factor &factor : factors) {
      Factors leaf = {factor};
      canonicalise(leaf);
      nodes_.emplace(leaf, Operand{0, false});
    }
  for (auto &[factors, leaf] : nodes_) {
    leaf.node = static_cast<int>(leaves.size());
    leaves.push_back(factors[0]);
    orders.push_back(factors[0].m);
    degrees.push_back(factors[0].l);
    real.push_back(orders.back() == 0);
  }
}

Operand Graph::leaf(const Factor &factor) const {
  Factors factors = {factor};
  const bool conjugate = canonicalise(factors);
  return {nodes_.at(factors).node, conjugate};
}

std::pair<Operand, Operand> Graph::cut(const Factors &factors) {
  const auto [left, right] = best_cut(factors);
  const Operand a = node(left), b = node(right);
  return a.node < b.node ? std::make_pair(b, a) : std::make_pair(a, b);
}

Factors Graph::pair(const Factors &factors, size_t i, size_t j) {
  Factors pair = {factors[i], factors[j]};
  canonicalise(pair);
  return pair;
}

Operand Graph::node(Factors factors) {
  const bool flip = canonicalise(factors);
  const auto found = nodes_.find(factors);
  if (found != nodes_.end()) return {found->second.node, found->second.conjugate != flip};
  auto [a, b] = cut(factors);
  if (a.conjugate && !b.conjugate) std::swap(a, b);
  const bool mixed = a.conjugate != b.conjugate;
  const int id = static_cast<int>(orders.size());
  inner.push_back({a.node, b.node, mixed});
  orders.push_back(orders[a.node] + (mixed ? -1 : 1) * orders[b.node]);
  degrees.push_back(degrees[a.node] + degrees[b.node]);
  real.push_back((real[a.node] && real[b.node]) || (mixed && a.node == b.node));
  // Where both are conjugates, so is what they make.
  nodes_.emplace(factors, Operand{id, a.conjugate});
  return {id, a.conjugate != flip};
}

// A part that exists costs nothing; otherwise pairs that many products share are best.
double Graph::worth(Factors part) const {
  if (part.size() == 1) return 0.0;
  canonicalise(part);
  if (nodes_.count(part)) return 1e6;
  double best = 0.0;
  for (size_t i = 0; i < part.size(); i++)
    for (size_t j = i + 1; j < part.size(); j++)
      best = std::max(best, static_cast<double>(popularity_.at(pair(part, i, j))));
  return best / part.size();
}

std::pair<Factors, Factors> Graph::best_cut(const Factors &factors) const {
  const int n = static_cast<int>(factors.size()), half = n / 2;
  std::pair<Factors, Factors> best;
  double best_worth = -1.0;
  for (int subset = 1; subset < 1 << n; subset++) {
    if (__builtin_popcount(subset) != half) continue;
    Factors left, right;
    for (int i = 0; i < n; i++) (subset >> i & 1 ? left : right).push_back(factors[i]);
    const double w = worth(left) + worth(right);
    if (w > best_worth) {
      best_worth = w;
      best = {left, right};
    }
  }
  return best;
}
