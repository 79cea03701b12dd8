// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/ace/layout.h"

#include "core/families/ace/tiles.h"

#include <algorithm>
#include <numeric>
#include <tuple>

using namespace uq;
using namespace uq::ace;

ProductTable ace::collect_products(const Species &species) {
  ProductTable table;
  const size_t ndensity = species.densities.size();
  for (size_t k = 0; k < species.functions.size(); k++) {
    const Function &f = species.functions[k];
    std::map<int, std::vector<double>> mine;
    for (size_t c = 0; c < f.ms.size() / f.rank; c++) {
      Factors factors;
      double sign = 1.0;    // A_{l,-m} = (-1)^m conj A_lm
      for (int t = 0; t < f.rank; t++) {
        const int m = f.ms[c * f.rank + t];
        if (m < 0 && m % 2) sign = -sign;
        factors.push_back({static_cast<int16_t>(f.mus[t]), static_cast<int16_t>(f.ns[t]),
                           static_cast<int8_t>(f.ls[t]), static_cast<int8_t>(m)});
      }
      std::sort(factors.begin(), factors.end());
      canonicalise(factors);
      const int product =
          table.index.emplace(factors, static_cast<int>(table.index.size())).first->second;
      std::vector<double> &sum =
          mine.emplace(product, std::vector<double>(ndensity, 0.0)).first->second;
      for (size_t p = 0; p < ndensity; p++) sum[p] += sign * f.coefficients[c * ndensity + p];
    }
    for (auto &[product, coefficients] : mine)
      table.terms.push_back({static_cast<int>(k), product, std::move(coefficients)});
  }
  return table;
}

namespace {

void lay_out_leaves(const Graph &graph, const std::vector<BondPlan> &bonds, SpeciesPlan &plan) {
  for (const Factor &leaf : graph.leaves) {
    const int m = leaf.m, l = leaf.l, base = bonds[leaf.mu].comp[l] + leaf.n * (2 * l + 1);
    plan.leaf_re.push_back(m ? base + 2 * m - 1 : base);
    plan.leaf_im.push_back(m ? base + 2 * m : -1);
  }
}

// A product of the kernels: of two nodes, or of two halves of nodes.
struct Product {
  bool halves;
  int a, b;    // a >= b

  int node_a() const { return halves ? a / 2 : a; }
  int node_b() const { return halves ? b / 2 : b; }
  bool operator<(const Product &other) const {
    return std::tie(halves, a, b) < std::tie(other.halves, other.a, other.b);
  }
};

// Re Π A as products and their coefficients.
using Terms = std::vector<std::pair<Product, double>>;

// x y - x' y' or x y + x' y' from nodes x + i x' and y + i y'. The second is one product, Re(X Y*);
// but where Σ m of both nodes is zero, X Y* comes along with X Y, and x y and x' y' give both.
Terms expand(const Graph &graph, const std::pair<Operand, Operand> &parts) {
  const auto [x, y] = parts;
  const bool mixed = x.conjugate != y.conjugate;
  if (mixed && graph.orders[x.node] != 0) return {{{false, x.node, y.node}, 1.0}};
  Terms terms = {{{true, 2 * x.node, 2 * y.node}, 1.0}};
  if (!graph.real[x.node] && !graph.real[y.node])
    terms.push_back({{true, 2 * x.node + 1, 2 * y.node + 1}, mixed ? 1.0 : -1.0});
  return terms;
}

// The inner nodes of a segment are made, used and forgotten together, so that they stay in the
// first-level cache. Nodes meet others of the same Σ m and parity of Σ l only, those are a segment.
// Factors of inner nodes are shared, as the leaves are: segment 0.
struct Segments {
  std::vector<int> of;    // [node]
  std::vector<bool> shared;
  std::vector<int> local;                 // [node], its number within the segment
  std::vector<std::vector<int>> inner;    // [segment]

  Segments(const Graph &graph, const std::map<Product, int> &products)
      : of(graph.orders), shared(of.size(), false), local(of.size()), inner(1) {
    const int nleaf = static_cast<int>(graph.leaves.size()), nnode = static_cast<int>(of.size());
    for (int i = 0; i < nnode; i++) {
      of[i] = 1 + 2 * graph.orders[i] + graph.degrees[i] % 2;
      inner.resize(std::max(static_cast<int>(inner.size()), of[i] + 1));
      if (i < nleaf) shared[i] = true;
    }
    for (const Graph::Inner &node : graph.inner) shared[node.a] = shared[node.b] = true;
    for (const auto &[p, place] : products)
      if (of[p.node_a()] != of[p.node_b()]) shared[p.node_a()] = true;
    for (int i = nleaf; i < nnode; i++) inner[shared[i] ? 0 : of[i]].push_back(i);
  }

  int of_product(const Product &p) const {
    return of[shared[p.node_a()] ? p.node_b() : p.node_a()];
  }
  int place(bool halves, int i) const { return halves ? 2 * local[i / 2] + i % 2 : local[i]; }
};

// Inner nodes segment after segment, those of segments of their own grouped by the factor that more
// have; gives all nodes their local numbers.
void lay_out_nodes(const Graph &graph, Segments &segments, SpeciesPlan &plan) {
  const int nleaf = static_cast<int>(graph.leaves.size());
  std::iota(segments.local.begin(), segments.local.begin() + nleaf, 0);
  int place = nleaf;
  for (std::vector<int> &inner : segments.inner) {
    struct Factored {
      int a, b, node;
      double sign_a, sign_b;
    };
    std::vector<Factored> nodes;
    std::map<int, int> partners;
    const bool shared = &inner == &segments.inner[0];
    for (int i : inner) {
      const Graph::Inner &node = graph.inner[i - nleaf];
      nodes.push_back({node.a, node.b, i, 1.0, node.conjugate ? -1.0 : 1.0});
      partners[node.a]++;
      partners[node.b]++;
    }
    for (Factored &f : nodes) {
      if (partners[f.a] >= partners[f.b]) continue;
      std::swap(f.a, f.b);
      std::swap(f.sign_a, f.sign_b);
    }
    const auto key = [](const Factored &f) {
      return std::make_tuple(f.a, f.sign_a, f.b, f.sign_b);
    };
    if (!shared)    // those build on one another
      std::sort(nodes.begin(), nodes.end(),
                [&](const Factored &f, const Factored &g) { return key(f) < key(g); });
    plan.segment_node.push_back(static_cast<int>(plan.node_a.size()));
    for (size_t k = 0; k < nodes.size(); k++) {
      const Factored &f = nodes[k];
      if (k == 0 || f.a != nodes[k - 1].a || f.sign_a != nodes[k - 1].sign_a) {
        plan.node_a.push_back(segments.local[f.a]);
        plan.sign_a.push_back(f.sign_a);
        plan.node_first.push_back(static_cast<int>(plan.node_b.size()));
      }
      plan.node_b.push_back(segments.local[f.b]);
      plan.sign_b.push_back(f.sign_b);
      segments.local[f.node] = place + static_cast<int>(k);
    }
    plan.products.nnode = std::max(plan.products.nnode, place + static_cast<int>(nodes.size()));
    if (shared) plan.products.nshared = place += static_cast<int>(nodes.size());
  }
  plan.segment_node.push_back(static_cast<int>(plan.node_a.size()));
  plan.node_first.push_back(static_cast<int>(plan.node_b.size()));
}

// Products in tiles, segment after segment, nodes before halves; their places from `next` on into
// `position`.
void lay_out_tiles(const Segments &segments, int next, std::map<Product, int> &position,
                   SpeciesPlan &plan) {
  const size_t nsegment = segments.inner.size();
  std::vector<Partners> partners(2 * nsegment);
  for (const auto &[p, place] : position) {
    Partners &mine = partners[2 * segments.of_product(p) + p.halves];
    mine[p.a].insert(p.b);
    mine[p.b].insert(p.a);
  }
  const auto lay_out = [&](const Tile &tile, bool halves) {
    plan.tile_leader.push_back(static_cast<int>(plan.leader.size()));
    plan.tile_partner.push_back(static_cast<int>(plan.partner.size()));
    plan.tile_product.push_back(next);
    for (int leader : tile.leaders) plan.leader.push_back(segments.place(halves, leader));
    for (int partner : tile.partners) {
      plan.partner.push_back(segments.place(halves, partner));
      for (int leader : tile.leaders)
        position[{halves, std::max(leader, partner), std::min(leader, partner)}] = next++;
    }
  };
  for (size_t k = 0; k < 2 * nsegment; k++)
    for (const auto &[width, least] : {std::pair(4, 3), std::pair(2, 3), std::pair(1, 1)}) {
      plan.segment_tile.push_back(static_cast<int>(plan.tile_leader.size()));
      for (const Tile &tile : take_tiles(partners[k], width, least)) lay_out(tile, k % 2);
    }
  plan.segment_tile.push_back(static_cast<int>(plan.tile_leader.size()));
  plan.tile_partner.push_back(static_cast<int>(plan.partner.size()));
  plan.products.nproduct = next;
}

void point_at(SpeciesPlan &plan) {
  ProductPlan &p = plan.products;
  p.nleaf = static_cast<int>(plan.leaf_re.size());
  p.leaf_re = plan.leaf_re.data();
  p.leaf_im = plan.leaf_im.data();
  p.nsegment = static_cast<int>(plan.segment_node.size()) - 1;
  p.segment_node = plan.segment_node.data();
  p.segment_tile = plan.segment_tile.data();
  p.node_a = plan.node_a.data();
  p.node_b = plan.node_b.data();
  p.node_first = plan.node_first.data();
  p.sign_a = plan.sign_a.data();
  p.sign_b = plan.sign_b.data();
  p.nlinear = static_cast<int>(plan.linear.size());
  p.linear = plan.linear.data();
  p.leader = plan.leader.data();
  p.tile_leader = plan.tile_leader.data();
  p.partner = plan.partner.data();
  p.tile_partner = plan.tile_partner.data();
  p.tile_product = plan.tile_product.data();
}

}    // namespace

Expansions ace::lay_out_products(const ProductTable &table, const std::vector<BondPlan> &bonds,
                                 SpeciesPlan &plan) {
  Expansions expansions(table.index.size());
  std::vector<const Factors *> factors_of(table.index.size());
  std::map<Factors, int> higher;
  for (const auto &[factors, index] : table.index) {
    factors_of[index] = &factors;
    if (factors.size() > 1) {
      higher.emplace(factors, index);
      continue;
    }
    expansions[index] = {{static_cast<int>(plan.linear.size()), 1.0}};
    plan.linear.push_back(bonds[factors[0].mu].comp1 + factors[0].n);
  }
  Graph graph(higher);
  std::map<Product, int> position;
  std::vector<Terms> terms(expansions.size());
  for (size_t rank = max_rank; rank >= 2; rank--)
    for (const auto &[factors, index] : higher) {
      if (factors.size() != rank) continue;
      terms[index] = expand(graph, graph.cut(factors));
      for (const auto &[product, coefficient] : terms[index]) position[product] = -1;
    }
  Segments segments(graph, position);
  lay_out_leaves(graph, bonds, plan);
  lay_out_nodes(graph, segments, plan);
  lay_out_tiles(segments, static_cast<int>(plan.linear.size()), position, plan);
  for (size_t index = 0; index < terms.size(); index++)
    for (const auto &[product, coefficient] : terms[index])
      expansions[index].push_back({position.at(product), coefficient});

  plan.factor_first.push_back(0);
  for (const Factors *factors : factors_of) {
    for (const Factor &factor : *factors) {
      if (factors->size() == 1) break;
      const Operand leaf = graph.leaf(factor);
      plan.factor.push_back(2 * leaf.node + leaf.conjugate);
    }
    plan.factor_first.push_back(static_cast<int>(plan.factor.size()));
  }
  point_at(plan);
  return expansions;
}
