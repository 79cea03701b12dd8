// SPDX-License-Identifier: GPL-2.0-or-later
// The products of a species as a graph, before it is laid out for the kernels (layout.h): each
// product of several factors A is one of two nodes, and nodes that several products need are made
// once.

#ifndef UQ_ACE_GRAPH_H
#define UQ_ACE_GRAPH_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

namespace uq {
namespace ace {

// A[mu, n, l, m], with -m for the complex conjugate of A[mu, n, l, m]: the sign (-1)^m of A_{l,-m}
// goes to the coefficient of the product.
struct Factor {
  int16_t mu, n;
  int8_t l, m;

  Factor conjugate() const { return {mu, n, l, static_cast<int8_t>(-m)}; }
  bool operator<(const Factor &other) const {
    return std::tie(mu, n, l, m) < std::tie(other.mu, other.n, other.l, other.m);
  }
};

using Factors = std::vector<Factor>;    // sorted

// Replaces a product by its complex conjugate where that has Σ m > 0 or, at Σ m = 0, is the
// smaller of the two. Returns whether it did.
bool canonicalise(Factors &factors);

// A node or its complex conjugate.
struct Operand {
  int node;
  bool conjugate;
};

// The graph: every product of two or more factors is cut in two, and parts that several products
// need are made once, also where they are each other's conjugates.
class Graph {
 public:
  explicit Graph(const std::map<Factors, int> &products);

  struct Inner {
    int a, b;
    bool conjugate;    // of b
  };

  std::vector<Factor> leaves;
  std::vector<Inner> inner;    // the nodes behind the leaves
  std::vector<int> orders;     // Σ m of the factors of each node, 0 or more
  std::vector<int> degrees;    // Σ l
  std::vector<bool> real;      // nodes without imaginary part

  Operand leaf(const Factor &factor) const;

  // Nodes whose product this is.
  std::pair<Operand, Operand> cut(const Factors &factors);

 private:
  std::map<Factors, Operand> nodes_;    // by canonical factors
  std::map<Factors, int> popularity_;

  static Factors pair(const Factors &factors, size_t i, size_t j);

  Operand node(Factors factors);

  // A part that exists costs nothing; otherwise pairs that many products share are best.
  double worth(Factors part) const;

  std::pair<Factors, Factors> best_cut(const Factors &factors) const;
};

}    // namespace ace
}    // namespace uq

#endif
