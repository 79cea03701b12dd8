// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/ace/compile.h"

#include "core/error.h"
#include "core/families/ace/layout.h"

#include <algorithm>
#include <cmath>
#include <map>

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

// ---------------------------------------------------------------------- features

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
  couple(file, table, expansions, plan);
  differentiate(file, table, expansions, plan);
}
