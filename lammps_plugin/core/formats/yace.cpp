// SPDX-License-Identifier: GPL-2.0-or-later
// The .yace format of pacemaker and ML-PACE, and its variant with radial splines that
// ACEpotentials.jl exports.

#include "core/formats/yace.h"

#include "core/formats/text.h"
#include "core/math/elements.h"

#include <algorithm>
#include <cmath>

using namespace uq;
using namespace uq::ace;

RadialBasis ace::radial_basis(const std::string &file, int line, const std::string &name) {
  if (name == "ChebExpCos") return RadialBasis::ChebExpCos;
  if (name == "ChebPow") return RadialBasis::ChebPow;
  if (name == "ChebLinear") return RadialBasis::ChebLinear;
  if (name == "SBessel") return RadialBasis::SBessel;
  if (name == "ACE.jl") return RadialBasis::Table;
  fail_at(file, line,
          "radbasename " + excerpt(name) +
              " is not supported; expected ChebExpCos, ChebPow, ChebLinear, SBessel or ACE.jl");
}

Embedding ace::embedding(const std::string &file, int line, const std::string &name) {
  if (name == "FinnisSinclair") return Embedding::FinnisSinclair;
  if (name == "FinnisSinclairShiftedScaled") return Embedding::FinnisSinclairShiftedScaled;
  fail_at(file, line,
          "embedding " + excerpt(name) +
              " is not supported; expected FinnisSinclair or FinnisSinclairShiftedScaled");
}

InnerCutoff ace::inner_cutoff(const YamlView &bond) {
  if (!bond.has("inner_cutoff_type")) return InnerCutoff::Density;
  const std::string name = bond["inner_cutoff_type"].text();
  if (name == "density") return InnerCutoff::Density;
  if (name == "distance") return InnerCutoff::Distance;
  if (name == "zbl") return InnerCutoff::Zbl;
  bond["inner_cutoff_type"].fail("inner_cutoff_type " + excerpt(name) +
                                 " is not supported; expected density, distance or zbl");
}

double ace::number_or(const YamlView &node, const char *key, double fallback) {
  return node.has(key) ? node[key].number() : fallback;
}

void ace::read_radial_coefficients(const YamlView &crad, Bond &bond) {
  if (static_cast<int>(crad.size()) != bond.nradmax)
    crad.fail("radcoefficients has " + std::to_string(crad.size()) +
              " entries, expected nradmax = " + std::to_string(bond.nradmax));
  for (int n = 0; n < bond.nradmax; n++) {
    const YamlView rows = crad.item(n);
    if (static_cast<int>(rows.size()) != bond.lmax + 1)
      rows.fail("radcoefficients of n = " + std::to_string(n + 1) + " has " +
                std::to_string(rows.size()) +
                " entries, expected lmax + 1 = " + std::to_string(bond.lmax + 1));
    for (int l = 0; l <= bond.lmax; l++) {
      const std::vector<double> row = rows.item(l).numbers();
      if (static_cast<int>(row.size()) != bond.nbase)
        rows.item(l).fail("a row of radcoefficients has " + std::to_string(row.size()) +
                          " numbers, expected nradbasemax = " + std::to_string(bond.nbase));
      bond.crad.insert(bond.crad.end(), row.begin(), row.end());
    }
  }
}

// R_nl = g_n for every l, g_n from its values and slopes at the nodes 0, rcut / nbins, .., rcut.
static void read_splines(const YamlView &node, int lmax, Bond &bond) {
  bond.nradmax = bond.nbase = node["nradial"].integer(1, max_channels);
  bond.lmax = lmax;
  const int nbins = node["nbins"].integer(2, 1 << 20);
  const YamlView values = node["splinenodalvals"], slopes = node["splinenodalderivs"];
  const size_t nnodes = nbins + size_t(1);
  for (int n = 0; n < bond.nbase; n++)
    for (const YamlView &splines : {values, slopes})
      if (splines[std::to_string(n)].size() != nnodes)
        splines[std::to_string(n)].fail("found " +
                                        std::to_string(splines[std::to_string(n)].size()) +
                                        " numbers, expected nbins + 1 = " + std::to_string(nnodes));
  bond.table.resize(nnodes * bond.nbase * 2);
  for (int n = 0; n < bond.nbase; n++) {
    const std::vector<double> g = values[std::to_string(n)].numbers(),
                              dg = slopes[std::to_string(n)].numbers();
    for (size_t bin = 0; bin < nnodes; bin++) {
      double *entry = bond.table.data() + 2 * (bin * bond.nbase + n);
      entry[0] = g[bin];
      entry[1] = dg[bin] * (bond.rcut / nbins);
    }
    for (int l = 0; l <= lmax; l++)
      for (int k = 0; k < bond.nbase; k++) bond.crad.push_back(k == n ? 1.0 : 0.0);
  }
}

static void read_functions_of_distance(const YamlView &node, Bond &bond) {
  bond.nradmax = node["nradmax"].integer(0, max_channels);
  bond.lmax = node["lmax"].integer(0, max_l);
  bond.nbase = node["nradbasemax"].integer(1, max_channels);
  const std::vector<double> parameters = node["radparameters"].numbers();
  if (parameters.empty()) node["radparameters"].fail("expected one number");
  bond.lambda = parameters[0];
  read_radial_coefficients(node["radcoefficients"], bond);
}

// lmax: of the whole file, which bonds with splines do not repeat.
static Bond read_bond(const std::string &file, const YamlView &node, int lmax) {
  Bond bond;
  bond.basis = radial_basis(file, node["radbasename"].line(), node["radbasename"].text());
  bond.rcut = node["rcut"].number();
  if (bond.basis == RadialBasis::Table) {
    read_splines(node, lmax, bond);
    bond.dcut = number_or(node, "dcut", 0.0);
  } else {
    read_functions_of_distance(node, bond);
    bond.dcut = node["dcut"].number();
  }
  bond.prehc = number_or(node, "prehc", 0.0);
  bond.lambdahc = number_or(node, "lambdahc", 1.0);
  bond.rcut_in = number_or(node, "rcut_in", 0.0);
  bond.dcut_in = number_or(node, "dcut_in", 0.0);
  return bond;
}

static void read_bonds(const std::string &file, const YamlView &node, int lmax,
                       Parameters &potential) {
  const int ne = potential.nelements();
  std::vector<bool> seen(static_cast<size_t>(ne) * ne, false);
  potential.bonds.resize(seen.size());
  for (size_t b = 0; b < node.size(); b++) {
    const std::vector<int> pair = node.key(b).integers(0, ne - 1);
    if (pair.size() != 2) node.key(b).fail("expected a pair of element indices [i, j]");
    const size_t index = static_cast<size_t>(pair[0]) * ne + pair[1];
    if (seen[index]) node.key(b).fail("the bond appears twice");
    const InnerCutoff inner = inner_cutoff(node.value(b));
    if (b > 0 && inner != potential.inner)
      node.value(b).fail(
          "bonds with different inner_cutoff_type; expected one type in the whole file");
    potential.inner = inner;
    potential.bonds[index] = read_bond(file, node.value(b), lmax);
    seen[index] = true;
  }
  for (size_t i = 0; i < seen.size(); i++)
    if (!seen[i])
      node.fail("the bond [" + std::to_string(i / ne) + ", " + std::to_string(i % ne) +
                "] is missing");
}

std::vector<Density> ace::read_densities(const YamlView &node, int ndensity) {
  const std::vector<double> fs = node.numbers();
  if (static_cast<int>(fs.size()) < 2 * ndensity)
    node.fail("found " + std::to_string(fs.size()) +
              " numbers, expected two for each of ndensity = " + std::to_string(ndensity));
  std::vector<Density> densities;
  for (int p = 0; p < ndensity; p++) densities.push_back({fs[2 * p], fs[2 * p + 1]});
  return densities;
}

static Species read_embedding(const std::string &file, const YamlView &node) {
  Species species;
  species.embedding = embedding(file, node["npoti"].line(), node["npoti"].text());
  species.densities =
      read_densities(node["FS_parameters"], node["ndensity"].integer(1, max_densities));
  species.rho_core_cutoff = number_or(node, "rho_core_cutoff", 100000.0);
  species.drho_core_cutoff = number_or(node, "drho_core_cutoff", 250.0);
  return species;
}

static Function read_function(const YamlView &node, int mu0, int nelements, int ndensity) {
  Function f;
  if (node["mu0"].integer(0, nelements - 1) != mu0)
    node["mu0"].fail("mu0 differs from the element it is listed under, " + std::to_string(mu0));
  f.rank = node["rank"].integer(1, max_rank);
  f.mus = node["mus"].integers(0, nelements - 1);
  f.ns = node["ns"].integers(1, max_channels);
  f.ls = node["ls"].integers(0, max_l);
  f.ms = node["ms_combs"].integers(-max_l, max_l);
  f.coefficients = node["ctildes"].numbers();
  const size_t rank = f.rank, combinations = f.ms.size() / rank;
  if (f.mus.size() != rank || f.ns.size() != rank || f.ls.size() != rank)
    node.fail("mus, ns, ls have " + std::to_string(f.mus.size()) + ", " +
              std::to_string(f.ns.size()) + ", " + std::to_string(f.ls.size()) +
              " entries, expected rank = " + std::to_string(rank));
  if (f.ms.size() != combinations * rank || f.coefficients.size() != combinations * ndensity)
    node.fail("ms_combs and ctildes have " + std::to_string(f.ms.size()) + " and " +
              std::to_string(f.coefficients.size()) +
              " entries, expected rank = " + std::to_string(rank) +
              " and ndensity = " + std::to_string(ndensity) + " for each combination");
  for (int &n : f.ns) n--;
  for (size_t i = 0; i < f.ms.size(); i++)
    if (std::abs(f.ms[i]) > f.ls[i % rank]) node["ms_combs"].fail("found |m| > l");
  return f;
}

void ace::check(const std::string &file, const Parameters &potential) {
  const auto fail = [&](const std::string &message) { fail_at(file, 1, message); };
  for (const std::string &element : potential.elements) {
    check_element(file, 1, element);
    if (std::count(potential.elements.begin(), potential.elements.end(), element) > 1)
      fail("the element " + excerpt(element) + " appears twice");
    if (potential.inner == InnerCutoff::Zbl && atomic_number(element) < 1)
      fail("inner_cutoff_type zbl needs chemical elements; found " + excerpt(element));
  }
  for (int i = 0; i < potential.nelements(); i++) {
    for (const Density &density : potential.species[i].densities)
      if (density.exponent <= 0.0 || density.exponent > 100.0)
        fail("the embedding of " + potential.elements[i] + " has the exponent " +
             std::to_string(density.exponent) + ", expected one above 0, up to 100");
    for (int j = 0; j < potential.nelements(); j++) {
      const Bond &bond = potential.bond(i, j);
      const std::string name = potential.elements[i] + "-" + potential.elements[j];
      if (bond.rcut <= 0.0 || bond.rcut > 100.0)
        fail("bond " + name + ": rcut = " + std::to_string(bond.rcut) +
             ", expected 0 < rcut <= 100 Å");
      if (bond.dcut < 0.0 || bond.dcut >= bond.rcut)
        fail("bond " + name + ": dcut = " + std::to_string(bond.dcut) +
             ", expected 0 <= dcut < rcut");
      if (bond.basis == RadialBasis::ChebExpCos &&
          (std::abs(bond.lambda) < 1e-8 || std::abs(bond.lambda) > 600.0))
        fail("bond " + name + ": ChebExpCos has the radparameter " + std::to_string(bond.lambda) +
             ", expected one other than 0, of magnitude up to 600");
      if (bond.basis == RadialBasis::ChebPow && (bond.lambda <= 0.0 || bond.lambda > 600.0))
        fail("bond " + name + ": ChebPow has the radparameter " + std::to_string(bond.lambda) +
             ", expected one above 0, up to 600");
      if (potential.inner != InnerCutoff::Density && bond.dcut_in < 0.0)
        fail("bond " + name + ": dcut_in = " + std::to_string(bond.dcut_in) + ", expected >= 0");
      if (potential.inner == InnerCutoff::Distance && bond.rcut_in > 0.0 && bond.dcut_in == 0.0)
        fail("bond " + name + ": inner_cutoff_type distance with rcut_in = " +
             std::to_string(bond.rcut_in) + " needs dcut_in > 0: forces would be infinite there");
      if (potential.inner == InnerCutoff::Zbl && (bond.dcut_in == 0.0 || bond.dcut == 0.0))
        fail("bond " + name + ": inner_cutoff_type zbl needs dcut > 0 and dcut_in > 0");
    }
    for (const Function &f : potential.species[i].functions)
      for (int t = 0; t < f.rank; t++) {
        const Bond &bond = potential.bond(i, f.mus[t]);
        const bool known = f.rank == 1 ? f.ns[t] < bond.nbase && f.ls[t] == 0
                                       : f.ns[t] < bond.nradmax && f.ls[t] <= bond.lmax;
        if (!known)
          fail("a function of rank " + std::to_string(f.rank) + " of " + potential.elements[i] +
               " uses n = " + std::to_string(f.ns[t] + 1) + ", l = " + std::to_string(f.ls[t]) +
               ", which bond " + potential.elements[i] + "-" + potential.elements[f.mus[t]] +
               " does not have");
      }
  }
}

Parameters ace::read_yace(const std::string &file, std::string_view text) {
  const YamlNode root = parse_yaml(file, text);
  const YamlView top(file, root);
  if (!top.has("functions") && top.has("species")) return read_bbasis(file, top);

  Parameters potential;
  const YamlView elements = top["elements"];
  for (size_t i = 0; i < elements.size(); i++)
    potential.elements.push_back(elements.item(i).text());
  const int ne = potential.nelements();
  if (ne < 1 || ne > max_elements)
    elements.fail("expected between 1 and " + std::to_string(max_elements) + " elements");
  const YamlView embeddings = top["embeddings"];
  for (int i = 0; i < ne; i++)
    potential.species.push_back(read_embedding(file, embeddings[std::to_string(i)]));
  if (top.has("E0")) {
    const std::vector<double> e0 = top["E0"].numbers();
    if (static_cast<int>(e0.size()) != ne)
      top["E0"].fail("E0 has " + std::to_string(e0.size()) +
                     " numbers, expected one for each element, " + std::to_string(ne));
    for (int i = 0; i < ne; i++) potential.species[i].e0 = e0[i];
  }
  read_bonds(file, top["bonds"], top.has("lmax") ? top["lmax"].integer(0, max_l) : 0, potential);
  potential.spline_step = number_or(top, "deltaSplineBins", potential.spline_step);

  const YamlView functions = top["functions"];
  for (size_t k = 0; k < functions.size(); k++) {
    const int mu0 = functions.key(k).integer(0, ne - 1);
    Species &species = potential.species[mu0];
    if (!species.functions.empty())
      functions.key(k).fail("the functions of an element appear twice");
    const YamlView list = functions.value(k);
    for (size_t i = 0; i < list.size(); i++)
      species.functions.push_back(
          read_function(list.item(i), mu0, ne, static_cast<int>(species.densities.size())));
  }
  check(file, potential);
  return potential;
}
