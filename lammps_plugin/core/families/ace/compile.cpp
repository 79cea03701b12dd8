// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/ace/compile.h"

#include "core/error.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

using namespace uq;
using namespace uq::ace;

namespace {

// ---------------------------------------------------------------------- radial functions

// Constants of the simplified spherical Bessel functions, [n][3].
std::vector<double> bessel_constants(int nbase, double rcut) {
  static constexpr double pi = 3.14159265358979323846;
  std::vector<double> constants;
  double d_previous = 1.0;
  for (int n = 0; n < nbase; n++) {
    const double a = n + 1.0, b = n + 2.0, n2 = static_cast<double>(n) * n;
    const double e = n2 * b * b / (4.0 * a * a * a * a + 1.0), d = n ? 1.0 - e / d_previous : 1.0;
    constants.push_back((n % 2 ? -1.0 : 1.0) * std::sqrt(2.0) * pi / std::pow(rcut, 1.5) * a * b /
                        std::hypot(a, b));
    constants.push_back(n ? std::sqrt(e / d_previous) : 0.0);
    constants.push_back(1.0 / std::sqrt(d));
    d_previous = d;
  }
  return constants;
}

// g and (bin width) g' at the nodes, from the exact radial functions of the kernels: a bond of
// rank-1 components gives g as A of a single neighbour and g' as its force.
std::vector<double> radial_table(const RadialPlan &exact, double spline_step) {
  static constexpr size_t most_numbers = size_t(1) << 26;    // half a gigabyte
  const double bins = std::floor(exact.rcut / spline_step);
  if (!(bins >= 2.0) || 2.0 * bins * exact.nbase > most_numbers)
    throw Error("deltaSplineBins = " + std::to_string(spline_step) + " gives " +
                std::to_string(bins) + " bins, expected at least 2 and tables below 512 MB");
  const Kernels &k = kernels();
  const int nbins = static_cast<int>(bins), lanes = k.lanes, nbase = exact.nbase;
  BondPlan bond;
  bond.radial = exact;
  bond.nrank1 = bond.ncomp = nbase;
  AlignedArray x(lanes), y(lanes), z(lanes), r(lanes), scratch(scratch_size(bond, lanes)),
      force(static_cast<size_t>(3) * lanes), a(static_cast<size_t>(nbase) * lanes);
  std::vector<double> table, weights(nbase, 0.0);
  for (int bin = 0; bin <= nbins; bin++) {
    for (int i = 0; i < lanes; i++) {
      x.data()[i] = y.data()[i] = 0.0;
      z.data()[i] = 1.0;
      r.data()[i] = i == 0 ? std::max(bin, 1) * (exact.rcut / nbins) : exact.rcut;
    }
    k.accumulate(bond, legendre(), lanes, x.data(), y.data(), z.data(), r.data(), scratch.data(),
                 a.data());
    for (int n = 0; n < nbase; n++) {
      weights[n] = 1.0;
      k.forces(bond, legendre(), lanes, x.data(), y.data(), z.data(), r.data(), 1, nbase,
               weights.data(), scratch.data(), force.data());
      weights[n] = 0.0;
      table.push_back(a.data()[static_cast<size_t>(n) * lanes]);
      table.push_back(force.data()[2 * lanes] * (exact.rcut / nbins));
    }
  }
  return table;
}

// The first `kept` of the `nbase` functions of a table.
std::vector<double> first_functions(const std::vector<double> &table, int nbase, int kept) {
  std::vector<double> result;
  for (size_t node = 0; node < table.size(); node += 2 * static_cast<size_t>(nbase))
    result.insert(result.end(), table.begin() + node, table.begin() + node + 2 * kept);
  return result;
}

bool is_identity(const Bond &bond) {
  if (bond.nradmax > bond.nbase) return false;
  size_t i = 0;
  for (int n = 0; n < bond.nradmax; n++)
    for (int l = 0; l <= bond.lmax; l++)
      for (int k = 0; k < bond.nbase; k++)
        if (bond.crad[i++] != (k == n ? 1.0 : 0.0)) return false;
  return true;
}

BondPlan compile_bond(const Parameters &potential, int i, int j, Radial mode, SpeciesPlan &plan) {
  const Bond &bond = potential.bond(i, j);
  const bool splines =
      mode == Radial::Spline || (mode == Radial::Automatic && !vanishes_at_cutoff(bond));
  BondPlan out;
  for (const Function &f : potential.species[i].functions)
    for (int t = 0; t < f.rank; t++) {
      if (f.mus[t] != j) continue;
      if (f.rank == 1) {
        out.nrank1 = std::max(out.nrank1, f.ns[t] + 1);
      } else {
        out.lmax = std::max(out.lmax, f.ls[t]);
        out.nchannels[f.ls[t]] = std::max(out.nchannels[f.ls[t]], f.ns[t] + 1);
      }
    }
  out.identity = is_identity(bond);
  RadialPlan &radial = out.radial;
  radial.basis = static_cast<int>(bond.basis);
  radial.nbase = bond.nbase;
  if (out.identity) {    // functions beyond the last one in use need not be computed
    radial.nbase = std::max(1, out.nrank1);
    for (int n : out.nchannels) radial.nbase = std::max(radial.nbase, n);
  }
  radial.rcut = bond.rcut;
  radial.dcut = bond.dcut;
  radial.lambda = bond.lambda;
  radial.end = std::exp(-bond.lambda);
  if (potential.inner == InnerCutoff::Distance) {
    radial.rcut_in = bond.rcut_in;
    radial.dcut_in = bond.dcut_in;
  }
  plan.numbers.push_back(bessel_constants(radial.nbase, bond.rcut));
  radial.bessel = plan.numbers.back().data();
  if (bond.basis == RadialBasis::Table) {
    plan.numbers.push_back(first_functions(bond.table, bond.nbase, radial.nbase));
    radial.nbins = static_cast<int>(bond.table.size()) / (2 * bond.nbase) - 1;
    radial.table = plan.numbers.back().data();
  } else if (splines) {
    plan.numbers.push_back(radial_table(radial, potential.spline_step));
    radial.nbins = static_cast<int>(bond.rcut / potential.spline_step);
    radial.table = plan.numbers.back().data();
  }
  for (int l = 0; l <= out.lmax; l++) {
    std::vector<double> rows;
    for (int n = 0; n < out.nchannels[l]; n++) {
      const double *row =
          bond.crad.data() + (static_cast<size_t>(n) * (bond.lmax + 1) + l) * bond.nbase;
      rows.insert(rows.end(), row, row + bond.nbase);
    }
    plan.numbers.push_back(std::move(rows));
    out.crad[l] = plan.numbers.back().data();
    out.nradial += out.nchannels[l];
  }
  return out;
}

// ---------------------------------------------------------------------- products

// A factor A[mu, n, l, m] as one number that sorts by mu, n, l, m. Here A[.., -m] stands for the
// complex conjugate of A[.., m]: the sign (-1)^m goes to the coefficient of the product.
int factor_code(int mu, int n, int l, int m) {
  return ((mu * max_channels + n) * 32 + l) * 64 + m + 32;
}

int order_of(int code) {
  return code % 64 - 32;
}

int degree_of(int code) {
  return code / 64 % 32;
}

using Factors = std::vector<int>;    // sorted

// Of a product and its complex conjugate, makes it the one with Σ m > 0 or, where Σ m = 0, the
// smaller. Returns whether it was the other.
bool canonicalise(Factors &factors) {
  Factors other;
  int order = 0;
  for (int code : factors) {
    order += order_of(code);
    other.push_back(code - 2 * order_of(code));
  }
  std::sort(other.begin(), other.end());
  if (order > 0 || (order == 0 && factors <= other)) return false;
  factors = other;
  return true;
}

// A node or its complex conjugate.
struct Operand {
  int node;
  bool conjugate;
};

// The graph: every product of two or more factors is cut in two, and parts that several products
// need are made once, also where they are each other's conjugates.
class Graph {
 public:
  explicit Graph(const std::map<Factors, int> &products) {
    for (const auto &[factors, index] : products)
      for (size_t i = 0; i < factors.size(); i++)
        for (size_t j = i + 1; j < factors.size(); j++) popularity_[pair(factors, i, j)]++;
    for (const auto &[factors, index] : products)
      for (int code : factors) {
        Factors leaf = {code};
        canonicalise(leaf);
        nodes_.emplace(leaf, Operand{0, false});
      }
    for (auto &[factors, leaf] : nodes_) {
      leaf.node = static_cast<int>(leaves.size());
      leaves.push_back(factors[0]);
      orders.push_back(order_of(factors[0]));
      degrees.push_back(degree_of(factors[0]));
      real.push_back(orders.back() == 0);
    }
  }

  struct Inner {
    int a, b;
    bool conjugate;    // of b
  };

  std::vector<int> leaves;     // factor codes
  std::vector<Inner> inner;    // the nodes behind the leaves
  std::vector<int> orders;     // Σ m of the factors of each node, 0 or more
  std::vector<int> degrees;    // Σ l
  std::vector<bool> real;      // nodes without imaginary part

  Operand leaf(int code) const {
    Factors factors = {code};
    const bool conjugate = canonicalise(factors);
    return {nodes_.at(factors).node, conjugate};
  }

  // Nodes whose product this is.
  std::pair<Operand, Operand> cut(const Factors &factors) {
    const auto [left, right] = best_cut(factors);
    const Operand a = node(left), b = node(right);
    return a.node < b.node ? std::make_pair(b, a) : std::make_pair(a, b);
  }

 private:
  std::map<Factors, Operand> nodes_;    // by canonical factors
  std::map<Factors, int> popularity_;

  static Factors pair(const Factors &factors, size_t i, size_t j) {
    Factors pair = {factors[i], factors[j]};
    canonicalise(pair);
    return pair;
  }

  Operand node(Factors factors) {
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
  double worth(Factors part) const {
    if (part.size() == 1) return 0.0;
    canonicalise(part);
    if (nodes_.count(part)) return 1e6;
    double best = 0.0;
    for (size_t i = 0; i < part.size(); i++)
      for (size_t j = i + 1; j < part.size(); j++)
        best = std::max(best, static_cast<double>(popularity_.at(pair(part, i, j))));
    return best / part.size();
  }

  std::pair<Factors, Factors> best_cut(const Factors &factors) const {
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
};

// All Re Π A of an element with their coefficients in each function and density.
struct ProductTable {
  std::map<Factors, int> index;    // canonical factors → Re Π A
  struct Term {
    int function, product;
    std::vector<double> coefficients;    // [density]
  };
  std::vector<Term> terms;
};

ProductTable collect_products(const Species &species) {
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
        factors.push_back(factor_code(f.mus[t], f.ns[t], f.ls[t], m));
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

void lay_out_leaves(const Graph &graph, const std::vector<BondPlan> &bonds, SpeciesPlan &plan) {
  for (int code : graph.leaves) {
    const int m = order_of(code), l = degree_of(code), n = code / (64 * 32) % max_channels;
    const BondPlan &bond = bonds[code / (64 * 32 * max_channels)];
    const int base = bond.comp[l] + n * (2 * l + 1);
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

// Of each node, or of each half, those that it is multiplied with; both ways.
using Partners = std::map<int, std::set<int>>;

// A few leaders, each multiplied with each of the partners that they have in common.
struct Tile {
  std::vector<int> leaders;
  std::set<int> partners;
};

// The tile of a leader, which is joined by those that leave it most partners.
Tile grow_tile(const Partners &partners, int leader, size_t width) {
  Tile tile = {{leader}, partners.at(leader)};
  while (tile.leaders.size() < width) {
    std::map<int, int> common;
    for (int partner : tile.partners)
      for (int other : partners.at(partner)) common[other]++;
    for (int member : tile.leaders) common.erase(member);
    const auto best =
        std::max_element(common.begin(), common.end(),
                         [](const auto &a, const auto &b) { return a.second < b.second; });
    if (best == common.end()) break;
    std::set<int> rest;
    const std::set<int> &theirs = partners.at(best->first);
    std::set_intersection(tile.partners.begin(), tile.partners.end(), theirs.begin(), theirs.end(),
                          std::inserter(rest, rest.end()));
    tile.partners = std::move(rest);
    tile.leaders.push_back(best->first);
  }
  if (width > 1)
    for (int member : tile.leaders) tile.partners.erase(member);
  return tile;
}

// Takes products out of `partners` into tiles with at least so many partners.
std::vector<Tile> take_tiles(Partners &partners, size_t width, size_t least) {
  std::vector<Tile> tiles;
  std::set<std::pair<size_t, int>> candidates;    // number of partners, node or half
  for (const auto &[leader, mine] : partners) candidates.emplace(mine.size(), leader);
  while (!candidates.empty()) {
    const auto last = std::prev(candidates.end());
    const auto [count, leader] = *last;
    candidates.erase(last);
    if (partners.at(leader).size() < count) {    // some are gone since
      candidates.emplace(partners.at(leader).size(), leader);
      continue;
    }
    Tile tile = grow_tile(partners, leader, width);
    if (tile.leaders.size() < width || tile.partners.size() < least) continue;
    for (int member : tile.leaders)
      for (int partner : tile.partners) {
        partners[member].erase(partner);
        partners[partner].erase(member);
      }
    candidates.emplace(partners.at(leader).size(), leader);
    tiles.push_back(std::move(tile));
  }
  return tiles;
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

// Of each Re Π A of a table the products of the kernels and their coefficients.
using Expansions = std::vector<std::vector<std::pair<int, double>>>;

// Lays out products: rank 1 first, then those of nodes.
Expansions lay_out_products(const ProductTable &table, const std::vector<BondPlan> &bonds,
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
    const int mu = factors[0] / (64 * 32 * max_channels), n = factors[0] / (64 * 32) % max_channels;
    expansions[index] = {{static_cast<int>(plan.linear.size()), 1.0}};
    plan.linear.push_back(bonds[mu].comp1 + n);
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
    for (int code : *factors) {
      if (factors->size() == 1) break;
      const Operand leaf = graph.leaf(code);
      plan.factor.push_back(2 * leaf.node + leaf.conjugate);
    }
    plan.factor_first.push_back(static_cast<int>(plan.factor.size()));
  }
  return expansions;
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

void couple(const Species &species, const ProductTable &table, const Expansions &expansions,
            SpeciesPlan &plan) {
  const auto add = [&](const ProductTable::Term &term, size_t p, auto &&target) {
    for (const auto &[product, coefficient] : expansions[term.product])
      target[product] += coefficient * term.coefficients[p];
  };
  for (size_t p = 0; p < species.densities.size(); p++) {
    if (species.densities[p].exponent != 1.0) {
      std::vector<double> density(plan.products.nproduct, 0.0);
      for (const auto &term : table.terms) add(term, p, density);
      plan.densities.push_back(std::move(density));
      plan.nonlinear.push_back(species.densities[p]);
      continue;
    }
    size_t t = 0;
    for (size_t k = 0; k < species.functions.size(); k++) {
      std::map<int, double> row;
      for (; t < table.terms.size() && table.terms[t].function == static_cast<int>(k); t++)
        add(table.terms[t], p, row);
      for (const auto &[product, value] : row) {
        plan.coupling.column.push_back(product);
        plan.coupling.value.push_back(species.densities[p].weight * value);
      }
      plan.coupling.first.push_back(static_cast<int>(plan.coupling.column.size()));
    }
  }
  plan.nfeatures = plan.coupling.rows() + static_cast<int>(plan.nonlinear.size());
}

// Pattern and coefficients of ∂φ/∂A.
void differentiate(const Species &species, const ProductTable &table, const Expansions &expansions,
                   SpeciesPlan &plan) {
  plan.factors.nproduct = static_cast<int>(plan.factor_first.size()) - 1;
  plan.factors.first = plan.factor_first.data();
  plan.factors.factor = plan.factor.data();
  plan.ngradients = 2 * static_cast<int>(plan.factor.size()) + 1;
  std::map<int, std::vector<std::pair<int, double>>>
      entries;    // component → gradients and coefficients
  const auto add = [&](const ProductTable::Term &term, double coefficient) {
    const int first = plan.factor_first[term.product], end = plan.factor_first[term.product + 1];
    if (first == end)
      entries[plan.linear[expansions[term.product][0].first]].push_back(
          {plan.ngradients - 1, coefficient});
    for (int q = first; q < end; q++) {
      const int leaf = plan.factor[q] / 2;
      entries[plan.leaf_re[leaf]].push_back({2 * q, coefficient});
      if (plan.leaf_im[leaf] >= 0) entries[plan.leaf_im[leaf]].push_back({2 * q + 1, coefficient});
    }
  };
  const auto close_feature = [&] {
    for (const auto &[component, terms] : entries) {
      plan.gradient_component.push_back(component);
      for (const auto &[gradient, coefficient] : terms) {
        plan.gradient_terms.column.push_back(gradient);
        plan.gradient_terms.value.push_back(coefficient);
      }
      plan.gradient_terms.first.push_back(static_cast<int>(plan.gradient_terms.column.size()));
    }
    plan.gradient_first.push_back(static_cast<int>(plan.gradient_component.size()));
    entries.clear();
  };
  plan.gradient_first.push_back(0);
  for (size_t p = 0; p < species.densities.size(); p++) {
    const Density &density = species.densities[p];
    if (density.exponent != 1.0) continue;
    size_t t = 0;
    for (size_t k = 0; k < species.functions.size(); k++) {
      for (; t < table.terms.size() && table.terms[t].function == static_cast<int>(k); t++)
        add(table.terms[t], density.weight * table.terms[t].coefficients[p]);
      close_feature();
    }
  }
  for (size_t p = 0; p < species.densities.size(); p++) {
    if (species.densities[p].exponent == 1.0) continue;
    for (const auto &term : table.terms) add(term, term.coefficients[p]);
    close_feature();
  }
}

}    // namespace

const Legendre &ace::legendre() {
  static const Legendre table = [] {
    Legendre t = {};
    for (int m = 0; m <= max_l; m++) {
      t.diagonal[m] = m ? -std::sqrt(1.0 + 0.5 / m) : 1.0;
      t.first[m] = std::sqrt(2.0 * m + 3.0);
      for (int l = m + 2; l <= max_l; l++) {
        const double l2 = static_cast<double>(l) * l, m2 = static_cast<double>(m) * m,
                     k2 = (l - 1.0) * (l - 1.0);
        t.a[m * (max_l + 1) + l] = std::sqrt((4.0 * l2 - 1.0) / (l2 - m2));
        t.b[m * (max_l + 1) + l] = -std::sqrt((k2 - m2) / (4.0 * k2 - 1.0));
      }
    }
    return t;
  }();
  return table;
}

int ace::scratch_size(const BondPlan &bond, int lanes) {
  const int nlm = (bond.lmax + 1) * (bond.lmax + 1);
  return lanes * (bundle * (2 * bond.radial.nbase + 2 * bond.nradial + 2 * nlm) + bond.ncomp);
}

bool ace::vanishes_at_cutoff(const Bond &bond) {
  if (bond.basis == RadialBasis::ChebLinear) return false;
  if (bond.basis != RadialBasis::Table) return true;
  double largest = 0.0, last = 0.0;    // of values, which stand in front of the slopes
  const size_t end = bond.table.size() - 2 * static_cast<size_t>(bond.nbase);
  for (size_t k = 0; k < bond.table.size(); k += 2) {
    largest = std::max(largest, std::abs(bond.table[k]));
    if (k >= end) last = std::max(last, std::abs(bond.table[k]));
  }
  return last <= 1e-6 * largest;
}

void ace::compile(const Parameters &potential, int species, Radial mode, SpeciesPlan &plan) {
  const Species &file = potential.species[species];
  plan.embedding = file.embedding;
  plan.e0 = file.e0;
  plan.rho_core_cutoff = file.rho_core_cutoff;
  plan.drho_core_cutoff = file.drho_core_cutoff;
  int ncomp = 0;
  for (int j = 0; j < potential.nelements(); j++) {
    BondPlan bond = compile_bond(potential, species, j, mode, plan);
    bond.comp0 = bond.comp1 = ncomp;
    ncomp += bond.nrank1;
    for (int l = 0; l <= bond.lmax; l++) {
      bond.comp[l] = ncomp;
      ncomp += bond.nchannels[l] * (2 * l + 1);
    }
    bond.ncomp = ncomp - bond.comp0;
    plan.bonds.push_back(bond);
    plan.core.emplace_back(potential, species, j,
                           mode == Radial::Spline ? potential.spline_step : 0.0);
  }
  plan.products.ncomp = ncomp;
  const ProductTable table = collect_products(file);
  const Expansions expansions = lay_out_products(table, plan.bonds, plan);
  point_at(plan);
  couple(file, table, expansions, plan);
  differentiate(file, table, expansions, plan);
}
