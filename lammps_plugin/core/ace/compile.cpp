// SPDX-License-Identifier: GPL-2.0-or-later

#include "compile.h"

#include "error.h"

#include <algorithm>
#include <cmath>
#include <map>
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

BondPlan compile_bond(const Potential &potential, int i, int j, double spline_step,
                      SpeciesPlan &plan) {
  const Bond &bond = potential.bond(i, j);
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
  } else if (spline_step > 0.0) {
    plan.numbers.push_back(radial_table(radial, spline_step));
    radial.nbins = static_cast<int>(bond.rcut / spline_step);
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

// A factor A[mu, n, l, m] as one number that sorts by mu, n, l, m; `flipped` has the opposite m.
int factor_code(int mu, int n, int l, int m) {
  return ((mu * max_channels + n) * 32 + l) * 64 + m + 32;
}

int flipped(int code) {
  return code - (code & 63) + 64 - (code & 63);
}

using Factors = std::vector<int>;    // sorted

// The graph: every product of two or more factors is cut in two, and parts that several products
// need are made once.
class Graph {
 public:
  explicit Graph(const std::map<Factors, int> &products) {
    for (const auto &[factors, index] : products)
      for (size_t i = 0; i < factors.size(); i++)
        for (size_t j = i + 1; j < factors.size(); j++) popularity_[{factors[i], factors[j]}]++;
    for (const auto &[factors, index] : products)
      for (int f : factors) nodes_.emplace(Factors{f}, 0);
    for (auto &[factors, id] : nodes_) {
      id = static_cast<int>(leaves.size());
      leaves.push_back(factors[0]);
    }
  }

  std::vector<int> leaves;                      // factor codes
  std::vector<std::pair<int, int>> products;    // of the inner nodes

  int leaf(int code) const { return nodes_.at({code}); }

  // Σ m of the factors of each node.
  std::vector<int> orders() const {
    std::vector<int> m;
    for (int code : leaves) m.push_back((code & 63) - 32);
    for (const auto &[a, b] : products) m.push_back(m[a] + m[b]);
    return m;
  }

  // Nodes whose product this is.
  std::pair<int, int> cut(const Factors &factors) {
    auto [left, right] = best_cut(factors);
    const int a = node(left), b = node(right);
    return {std::max(a, b), std::min(a, b)};
  }

 private:
  std::map<Factors, int> nodes_;
  std::map<std::pair<int, int>, int> popularity_;

  int node(const Factors &factors) {
    const auto found = nodes_.find(factors);
    if (found != nodes_.end()) return found->second;
    const std::pair<int, int> parts = cut(factors);
    products.push_back(parts);
    const int id = static_cast<int>(leaves.size() + products.size()) - 1;
    nodes_.emplace(factors, id);
    return id;
  }

  // A part that exists costs nothing; otherwise pairs that many products share are best.
  double worth(const Factors &part) const {
    if (part.size() == 1) return 0.0;
    if (nodes_.count(part)) return 1e6;
    double best = 0.0;
    for (size_t i = 0; i < part.size(); i++)
      for (size_t j = i + 1; j < part.size(); j++)
        best = std::max(best, static_cast<double>(popularity_.at({part[i], part[j]})));
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

// All products of an element with their coefficients in each function and density.
struct ProductTable {
  std::map<Factors, int> index;    // canonical factors → product
  struct Term {
    int function, product;
    std::vector<double> coefficients;    // [density]
  };
  std::vector<Term> terms;
};

// Re Π A equals (-1)^Σm Re Π A with all m flipped: of the two, the smaller stands for both.
double canonical(Factors &factors, int sum_m) {
  std::sort(factors.begin(), factors.end());
  Factors other;
  for (int f : factors) other.push_back(flipped(f));
  std::sort(other.begin(), other.end());
  if (factors <= other) return 1.0;
  factors = other;
  return sum_m % 2 ? -1.0 : 1.0;
}

ProductTable collect_products(const Species &species) {
  ProductTable table;
  const size_t ndensity = species.densities.size();
  for (size_t k = 0; k < species.functions.size(); k++) {
    const Function &f = species.functions[k];
    std::map<int, std::vector<double>> mine;
    for (size_t c = 0; c < f.ms.size() / f.rank; c++) {
      Factors factors;
      int sum_m = 0;
      for (int t = 0; t < f.rank; t++) {
        const int m = f.ms[c * f.rank + t];
        sum_m += m;
        factors.push_back(factor_code(f.mus[t], f.ns[t], f.ls[t], m));
      }
      const double sign = canonical(factors, sum_m);
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

// Leaves: components with the sign of m.
void lay_out_leaves(const std::vector<int> &codes, const std::vector<BondPlan> &bonds,
                    SpeciesPlan &plan) {
  for (int code : codes) {
    const int m = (code & 63) - 32, l = code / 64 % 32, n = code / (64 * 32) % max_channels;
    const BondPlan &bond = bonds[code / (64 * 32 * max_channels)];
    const int base = bond.comp[l] + n * (2 * l + 1), absolute = std::abs(m);
    const double parity = absolute % 2 ? -1.0 : 1.0;    // A_{l,-m} = (-1)^m conj A_lm
    plan.leaf_re.push_back(m ? base + 2 * absolute - 1 : base);
    plan.leaf_im.push_back(m ? base + 2 * absolute : -1);
    plan.sign_re.push_back(m < 0 ? parity : 1.0);
    plan.sign_im.push_back(m < 0 ? -parity : 1.0);
  }
}

// A product of two nodes.
struct Pair {
  std::pair<int, int> nodes;
  int index;    // in the product table
  const Factors *factors;
};

// The inner nodes of a segment are made, used and forgotten together, so that they stay in the
// first-level cache. Nodes meet others of the opposite Σ m only: where all inner nodes are products
// of two leaves, those of one |Σ m| are a segment; otherwise all are one.
struct Segments {
  std::vector<int> of;       // [node]; of a leaf only where pairs have no inner node
  std::vector<int> local;    // [node], its number within the segment
  std::vector<int> inner;    // inner nodes, segment after segment
  std::vector<int> first;    // [segments + 1], where each begins in `inner`

  Segments(const Graph &graph, const std::vector<Pair> &pairs) : of(graph.orders()) {
    const int nleaf = static_cast<int>(graph.leaves.size());
    for (int &segment : of) segment = std::abs(segment);
    const auto inner_pair = [&](const std::pair<int, int> &nodes) {
      return std::max(nodes.first, nodes.second) < nleaf;
    };
    bool separate = std::all_of(graph.products.begin(), graph.products.end(), inner_pair);
    for (const Pair &pair : pairs)
      if (std::min(pair.nodes.first, pair.nodes.second) >= nleaf)
        separate = separate && of[pair.nodes.first] == of[pair.nodes.second];
    if (!separate) std::fill(of.begin(), of.end(), 0);

    const int count = of.empty() ? 1 : *std::max_element(of.begin(), of.end()) + 1;
    local.resize(of.size());
    for (int i = 0; i < nleaf; i++) local[i] = i;
    for (int segment = 0; segment < count; segment++) {
      first.push_back(static_cast<int>(inner.size()));
      for (int i = nleaf; i < static_cast<int>(of.size()); i++) {
        if (of[i] != segment) continue;
        local[i] = nleaf + static_cast<int>(inner.size()) - first.back();
        inner.push_back(i);
      }
    }
    first.push_back(static_cast<int>(inner.size()));
  }

  int of_pair(const Pair &pair) const { return of[std::max(pair.nodes.first, pair.nodes.second)]; }
};

// The pairs segment after segment, grouped by their first node.
void lay_out_groups(const std::vector<Pair> &pairs, const Segments &segments, SpeciesPlan &plan) {
  size_t next = 0;
  for (int segment = 0; segment + 1 < static_cast<int>(segments.first.size()); segment++) {
    plan.segment_group.push_back(static_cast<int>(plan.group_a.size()));
    int leader = -1;
    for (; next < pairs.size() && segments.of_pair(pairs[next]) == segment; next++) {
      const auto [a, b] = pairs[next].nodes;
      if (a != leader) {
        plan.group_first.push_back(static_cast<int>(plan.product_b.size()));
        plan.group_a.push_back(segments.local[a]);
      }
      leader = a;
      plan.product_b.push_back(segments.local[b]);
    }
  }
  plan.segment_group.push_back(static_cast<int>(plan.group_a.size()));
  plan.group_first.push_back(static_cast<int>(plan.product_b.size()));
}

// Lays out products: rank 1 first, then pairs of nodes sorted by the first. Returns table index →
// final index.
std::vector<int> lay_out_products(const ProductTable &table, const std::vector<BondPlan> &bonds,
                                  SpeciesPlan &plan) {
  std::vector<int> position(table.index.size());
  std::map<Factors, int> higher;
  for (const auto &[factors, index] : table.index) {
    if (factors.size() > 1) {
      higher.emplace(factors, index);
      continue;
    }
    const int mu = factors[0] / (64 * 32 * max_channels), n = factors[0] / (64 * 32) % max_channels;
    position[index] = static_cast<int>(plan.linear.size());
    plan.linear.push_back(bonds[mu].comp1 + n);
  }
  Graph graph(higher);
  std::vector<Pair> pairs;
  for (size_t rank = 2; rank <= max_rank; rank++)
    for (const auto &[factors, index] : higher)
      if (factors.size() == rank) pairs.push_back({graph.cut(factors), index, &factors});
  // The node with more partners leads the group: fewer, longer groups.
  std::map<int, int> partners;
  for (const Pair &pair : pairs) {
    partners[pair.nodes.first]++;
    partners[pair.nodes.second]++;
  }
  for (Pair &pair : pairs)
    if (partners[pair.nodes.second] > partners[pair.nodes.first])
      std::swap(pair.nodes.first, pair.nodes.second);
  const Segments segments(graph, pairs);
  const std::vector<int> m = graph.orders();
  const auto place = [&](const Pair &pair) {
    return std::make_tuple(segments.of_pair(pair), m[pair.nodes.first], pair.nodes);
  };
  std::sort(pairs.begin(), pairs.end(),
            [&](const Pair &a, const Pair &b) { return place(a) < place(b); });
  plan.factor_first.push_back(0);
  for (size_t t = 0; t < pairs.size(); t++) {
    position[pairs[t].index] = static_cast<int>(plan.linear.size() + t);
    for (int code : *pairs[t].factors) plan.factor_leaf.push_back(graph.leaf(code));
    plan.factor_first.push_back(static_cast<int>(plan.factor_leaf.size()));
  }
  lay_out_groups(pairs, segments, plan);
  lay_out_leaves(graph.leaves, bonds, plan);
  plan.segment_node = segments.first;
  for (int i : segments.inner) {
    const auto [a, b] = graph.products[i - graph.leaves.size()];
    plan.node_a.push_back(segments.local[a]);
    plan.node_b.push_back(segments.local[b]);
  }
  return position;
}

void point_at(SpeciesPlan &plan) {
  ProductPlan &p = plan.products;
  p.nleaf = static_cast<int>(plan.leaf_re.size());
  p.leaf_re = plan.leaf_re.data();
  p.leaf_im = plan.leaf_im.data();
  p.sign_re = plan.sign_re.data();
  p.sign_im = plan.sign_im.data();
  p.nsegment = static_cast<int>(plan.segment_node.size()) - 1;
  p.segment_node = plan.segment_node.data();
  p.segment_group = plan.segment_group.data();
  for (int i = 0; i < p.nsegment; i++)
    p.nnode = std::max(p.nnode, p.nleaf + p.segment_node[i + 1] - p.segment_node[i]);
  p.node_a = plan.node_a.data();
  p.node_b = plan.node_b.data();
  p.nlinear = static_cast<int>(plan.linear.size());
  p.linear = plan.linear.data();
  p.group_a = plan.group_a.data();
  p.group_first = plan.group_first.data();
  p.product_b = plan.product_b.data();
  p.nproduct = p.nlinear + static_cast<int>(plan.product_b.size());
}

void couple(const Species &species, const ProductTable &table, const std::vector<int> &position,
            SpeciesPlan &plan) {
  for (size_t p = 0; p < species.densities.size(); p++) {
    if (species.densities[p].exponent != 1.0) {
      std::vector<double> density(position.size(), 0.0);
      for (const auto &term : table.terms) density[position[term.product]] += term.coefficients[p];
      plan.densities.push_back(std::move(density));
      plan.nonlinear.push_back(species.densities[p]);
      continue;
    }
    size_t t = 0;
    for (size_t k = 0; k < species.functions.size(); k++) {
      for (; t < table.terms.size() && table.terms[t].function == static_cast<int>(k); t++) {
        plan.coupling.column.push_back(position[table.terms[t].product]);
        plan.coupling.value.push_back(species.densities[p].weight * table.terms[t].coefficients[p]);
      }
      plan.coupling.first.push_back(static_cast<int>(plan.coupling.column.size()));
    }
  }
  plan.nfeatures = plan.coupling.rows() + static_cast<int>(plan.nonlinear.size());
}

// Pattern and coefficients of ∂φ/∂A.
void differentiate(SpeciesPlan &plan) {
  plan.factors.nproduct = static_cast<int>(plan.product_b.size());
  plan.factors.first = plan.factor_first.data();
  plan.factors.leaf = plan.factor_leaf.data();
  plan.ngradients = 2 * static_cast<int>(plan.factor_leaf.size()) + 1;
  const int nlinear = plan.products.nlinear;
  std::map<int, std::vector<std::pair<int, double>>>
      entries;    // component → gradients and coefficients
  const auto add_product = [&](int t, double coefficient) {
    if (t < nlinear) {
      entries[plan.linear[t]].push_back({plan.ngradients - 1, coefficient});
      return;
    }
    for (int q = plan.factor_first[t - nlinear]; q < plan.factor_first[t - nlinear + 1]; q++) {
      const int leaf = plan.factor_leaf[q];
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
  const Sparse &c = plan.coupling;
  for (int f = 0; f < c.rows(); f++) {
    for (int t = c.first[f]; t < c.first[f + 1]; t++) add_product(c.column[t], c.value[t]);
    close_feature();
  }
  for (const std::vector<double> &density : plan.densities) {
    for (size_t t = 0; t < density.size(); t++) add_product(static_cast<int>(t), density[t]);
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
  static constexpr int bundle = 4;
  const int nlm = (bond.lmax + 1) * (bond.lmax + 1);
  return lanes * (bundle * (2 * bond.radial.nbase + 2 * bond.nradial + 2 * nlm) + bond.ncomp);
}

void ace::compile(const Potential &potential, int species, double spline_step, SpeciesPlan &plan) {
  const Species &file = potential.species[species];
  plan.embedding = file.embedding;
  plan.e0 = file.e0;
  plan.rho_core_cutoff = file.rho_core_cutoff;
  plan.drho_core_cutoff = file.drho_core_cutoff;
  int ncomp = 0;
  for (int j = 0; j < potential.nelements(); j++) {
    BondPlan bond = compile_bond(potential, species, j, spline_step, plan);
    bond.comp0 = bond.comp1 = ncomp;
    ncomp += bond.nrank1;
    for (int l = 0; l <= bond.lmax; l++) {
      bond.comp[l] = ncomp;
      ncomp += bond.nchannels[l] * (2 * l + 1);
    }
    bond.ncomp = ncomp - bond.comp0;
    plan.bonds.push_back(bond);
    plan.core.emplace_back(potential, species, j, spline_step);
  }
  plan.products.ncomp = ncomp;
  const ProductTable table = collect_products(file);
  couple(file, table, lay_out_products(table, plan.bonds, plan), plan);
  point_at(plan);
  differentiate(plan);
}
