// SPDX-License-Identifier: GPL-2.0-or-later
// The B-basis files (.yaml) of pacemaker: blocks of species with the radial functions of a pair and
// functions given by species, n, l and intermediate angular momenta of their factors. Coupling them
// by generalised Clebsch-Gordan coefficients gives the functions of a .yace.
// R. Drautz, Phys. Rev. B 99, 014104 (2019); Y. Lysogorskiy et al., npj Comput. Mater. 7, 97
// (2021).

#include "core/formats/text.h"
#include "core/formats/yace.h"
#include "core/math/clebsch_gordan.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

using namespace uq;
using namespace uq::ace;

static_assert(max_l <= max_momentum);

namespace {

std::vector<std::string> words(const YamlView &node) {
  std::istringstream stream(node.text());
  std::vector<std::string> result;
  for (std::string word; stream >> word;) result.push_back(word);
  return result;
}

class Reader {
 public:
  // projections: the functions alone, in the reference's order, for its active sets.
  Reader(const std::string &file, const YamlView &top, bool projections)
      : file_(file), blocks_(top["species"]), projections_(projections) {
    if (top.has("global"))
      potential_.spline_step = number_or(top["global"], "DeltaSplineBins", potential_.spline_step);
  }

  Parameters read() {
    find_elements();
    const int ne = potential_.nelements();
    potential_.species.resize(ne);
    for (int i = 0; i < ne; i++) {
      read_embedding(pair_block(i, i, blocks_), potential_.species[i]);
      ndensity_.push_back(potential_.species[i].densities.size());
    }
    for (int i = 0; i < ne; i++)
      for (int j = 0; j < ne; j++) potential_.bonds.push_back(read_bond(i, j));
    for (size_t b = 0; b < blocks_.size(); b++) {
      const YamlView block = blocks_.item(b);
      if (!block.has("nbody")) continue;
      const YamlView functions = block["nbody"];
      for (size_t k = 0; k < functions.size(); k++) read_function(functions.item(k));
      if (projections_) sort_functions();    // after each block, as the reference does
    }
    if (projections_) {
      sort_functions();
      leave_functions_only();
    }
    check(file_, potential_);
    return std::move(potential_);
  }

 private:
  // Products that one function, and all functions, may be sums of: beyond any real potential.
  static constexpr double most_products = 1e6, most_products_in_all = 2e7;

  const std::string &file_;
  const YamlView blocks_;
  const bool projections_;
  std::vector<size_t> ndensity_;    // of the elements
  Parameters potential_;
  std::map<std::pair<int, int>, size_t> pairs_;    // (centre, neighbour) → block
  double nproducts_ = 0.0;

  // By rank, species, n, l and products. Functions that differ in `lint` alone may tie; the same
  // algorithm on the same sequence leaves them in the same order.
  void sort_functions() {
    for (Species &species : potential_.species)
      std::sort(species.functions.begin(), species.functions.end(),
                [](const Function &a, const Function &b) {
                  const size_t na = a.coefficients.size(), nb = b.coefficients.size();
                  return std::tie(a.rank, a.mus, a.ns, a.ls, na, a.ms) <
                         std::tie(b.rank, b.mus, b.ns, b.ls, nb, b.ms);
                });
  }

  // Linear, without repulsion and its switch.
  void leave_functions_only() {
    for (Species &species : potential_.species) {
      species.densities = {{1.0, 1.0}};
      species.rho_core_cutoff = 100000.0;
      species.drho_core_cutoff = 250.0;
    }
    for (Bond &bond : potential_.bonds) bond.prehc = 0.0;
    if (potential_.inner == InnerCutoff::Zbl) potential_.inner = InnerCutoff::Density;
  }

  int element(const YamlView &node, const std::string &name) const {
    const auto &elements = potential_.elements;
    const auto found = std::find(elements.begin(), elements.end(), name);
    if (found == elements.end())
      node.fail("found the element " + excerpt(name) + ", which no speciesblock names");
    return static_cast<int>(found - elements.begin());
  }

  // Elements in alphabetical order; which block speaks of which pair.
  void find_elements() {
    std::set<std::string> names;
    for (size_t b = 0; b < blocks_.size(); b++)
      for (const std::string &name : words(blocks_.item(b)["speciesblock"])) names.insert(name);
    if (names.empty() || names.size() > max_elements)
      blocks_.fail("expected between 1 and " + std::to_string(max_elements) + " elements, found " +
                   std::to_string(names.size()));
    potential_.elements.assign(names.begin(), names.end());
    for (size_t b = 0; b < blocks_.size(); b++) {
      const YamlView name = blocks_.item(b)["speciesblock"];
      std::vector<std::string> parts = words(name);
      if (parts.empty()) name.fail("speciesblock is empty, expected elements");
      if (parts.size() > 2) continue;
      const auto pair = std::make_pair(element(name, parts.front()), element(name, parts.back()));
      if (!pairs_.emplace(pair, b).second)
        name.fail("speciesblock " + excerpt(name.text()) + " appears twice");
    }
  }

  YamlView pair_block(int i, int j, const YamlView &where) const {
    const auto found = pairs_.find({i, j});
    if (found != pairs_.end()) return blocks_.item(found->second);
    where.fail("a speciesblock for " + potential_.elements[i] +
               (i == j ? "" : " and " + potential_.elements[j]) + " is missing");
  }

  void read_embedding(const YamlView &block, Species &species) const {
    species.embedding = embedding(file_, block["npoti"].line(), block["npoti"].text());
    species.densities =
        read_densities(block["parameters"], block["ndensityi"].integer(1, max_densities));
    species.rho_core_cutoff = number_or(block, "rho_core_cut", 100000.0);
    species.drho_core_cutoff = number_or(block, "drho_core_cut", 250.0);
  }

  // The block of a pair that holds `key`: the pair's own, or that of the pair turned round.
  YamlView block_with(const char *key, int i, int j) const {
    const auto turned = pairs_.find({j, i});
    if (pairs_.count({i, j})) {
      const YamlView own = pair_block(i, j, blocks_);
      if (own.has(key) || turned == pairs_.end() || !blocks_.item(turned->second).has(key))
        return own;
    }
    return turned == pairs_.end() ? pair_block(i, j, blocks_) : blocks_.item(turned->second);
  }

  Bond read_bond(int i, int j) {
    const YamlView radial = block_with("lmaxi", i, j), core = block_with("core-repulsion", i, j);
    Bond bond;
    bond.basis = radial_basis(file_, radial["radbase"].line(), radial["radbase"].text());
    if (bond.basis == RadialBasis::Table)
      radial["radbase"].fail("radbase ACE.jl is not one of a B-basis");
    bond.nradmax = radial["nradmaxi"].integer(0, max_channels);
    bond.lmax = radial["lmaxi"].integer(0, max_l);
    bond.nbase = radial["nradbaseij"].integer(1, max_channels);
    const std::vector<double> parameters = radial["radparameters"].numbers();
    if (parameters.empty()) radial["radparameters"].fail("expected one number");
    bond.lambda = parameters[0];
    const YamlView coefficients = radial["radcoefficients"];
    if (coefficients.size() > 0 && coefficients.item(0).is_scalar())
      read_flat_coefficients(coefficients, bond);
    else
      read_radial_coefficients(coefficients, bond);
    bond.rcut = radial["rcutij"].number();
    bond.dcut = radial["dcutij"].number();
    bond.rcut_in = number_or(core, "r_in", 0.0);
    bond.dcut_in = number_or(core, "delta_in", 0.0);
    if (core.has("core-repulsion")) {
      const std::vector<double> repulsion = core["core-repulsion"].numbers();
      if (repulsion.size() < 2)
        core["core-repulsion"].fail("found " + std::to_string(repulsion.size()) +
                                    " numbers, expected prefactor and exponent");
      bond.prehc = repulsion[0];
      bond.lambdahc = repulsion[1];
    }
    const InnerCutoff inner = inner_cutoff(core);
    if (i + j > 0 && inner != potential_.inner)
      core.fail("bonds with different inner_cutoff_type; expected one type in the whole file");
    potential_.inner = inner;
    return bond;
  }

  // Early files hold the coefficients as one list in the order k, n, l.
  static void read_flat_coefficients(const YamlView &node, Bond &bond) {
    const std::vector<double> flat = node.numbers();
    const size_t nl = bond.lmax + 1, size = nl * bond.nradmax * bond.nbase;
    if (flat.size() != size)
      node.fail("radcoefficients has " + std::to_string(flat.size()) +
                " numbers, expected nradbaseij nradmaxi (lmaxi + 1) = " + std::to_string(size));
    for (int n = 0; n < bond.nradmax; n++)
      for (size_t l = 0; l < nl; l++)
        for (int k = 0; k < bond.nbase; k++)
          bond.crad.push_back(flat[(static_cast<size_t>(k) * bond.nradmax + n) * nl + l]);
  }

  void read_function(const YamlView &node) {
    if (node.has("skip") && (node["skip"].text() == "true" || node["skip"].text() == "True"))
      return;
    Function f;
    std::vector<std::string> names = words(node["type"]);
    f.rank = static_cast<int>(names.size()) - 1;
    if (f.rank < 1 || f.rank > max_rank)
      node["type"].fail("type " + excerpt(node["type"].text()) +
                        ", expected a centre and between 1 and " + std::to_string(max_rank) +
                        " neighbours");
    Species &species = potential_.species[element(node["type"], names[0])];
    for (int t = 1; t <= f.rank; t++) f.mus.push_back(element(node["type"], names[t]));
    f.ns = node["nr"].integers(1, max_channels);
    f.ls = node["nl"].integers(0, max_l);
    const size_t rank = f.rank;
    if (f.ns.size() != rank || f.ls.size() != rank)
      node.fail("nr, nl have " + std::to_string(f.ns.size()) + ", " + std::to_string(f.ls.size()) +
                " entries, expected " + std::to_string(rank));
    for (int &n : f.ns) n--;
    std::vector<double> coefficients =
        node["c"].is_scalar() ? std::vector<double>{node["c"].number()} : node["c"].numbers();
    const size_t ndensity = ndensity_[&species - potential_.species.data()];
    if (coefficients.size() != ndensity)
      node["c"].fail("found " + std::to_string(coefficients.size()) +
                     " coefficients, expected one for each density, " + std::to_string(ndensity));
    std::vector<Coupled> products = couple(node, f);
    if (projections_) {
      coefficients.assign(1, 1.0);
      std::sort(products.begin(), products.end(), [](const Coupled &a, const Coupled &b) {
        return std::lexicographical_compare(a.ms.rbegin(), a.ms.rend(), b.ms.rbegin(), b.ms.rend());
      });
    }
    for (const Coupled &product : products) {
      f.ms.insert(f.ms.end(), product.ms.begin(), product.ms.end());
      for (double c : coefficients) f.coefficients.push_back(c * product.coefficient);
    }
    species.functions.push_back(std::move(f));
  }

  std::vector<Coupled> couple(const YamlView &node, const Function &f) {
    std::vector<int> intermediate;
    if (node.has("lint")) intermediate = node["lint"].integers(0, max_l);
    const size_t expected = std::max(0, f.rank - 2);
    if (intermediate.size() != expected)
      node.fail("lint has " + std::to_string(intermediate.size()) + " entries, expected " +
                std::to_string(expected) + " for " + std::to_string(f.rank) + " neighbours");
    int sum = 0;
    double combinations = 1.0;
    for (int t = 0; t < f.rank; t++) {
      sum += f.ls[t];
      if (t < f.rank - 1) combinations *= 2 * f.ls[t] + 1;
    }
    nproducts_ += combinations;
    if (combinations > most_products || nproducts_ > most_products_in_all)
      node.fail("too many products of spherical harmonics to couple");
    std::vector<Coupled> products;
    if (sum % 2 == 0) products = couple_to_invariant(f.ls, intermediate);
    if (products.empty()) node.fail("nl and lint do not couple to an invariant");
    return products;
  }
};

}    // namespace

Parameters ace::read_bbasis(const std::string &file, const YamlView &top) {
  return Reader(file, top, false).read();
}

Parameters ace::read_projections(const std::string &file, std::string_view text) {
  const YamlNode root = parse_yaml(file, text);
  const YamlView top(file, root);
  if (top.has("functions") || !top.has("species"))
    fail_at(file, 1, "not a B-basis (.yaml), to whose functions an active set (.asi) belongs");
  return Reader(file, top, true).read();
}
