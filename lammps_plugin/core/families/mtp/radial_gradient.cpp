// SPDX-License-Identifier: GPL-2.0-or-later
// How an energy and its derivative along a displacement change with the radial coefficients: what a
// fit of these coefficients to energies, forces and virials needs. Plain arithmetic on numbers that
// carry their derivative along the displacement.

#include "core/error.h"
#include "core/families/mtp/mtp.h"

#include <cmath>
#include <string>

using namespace uq;
using namespace uq::mtp;

namespace {

// A value and its derivative along the displacement.
struct Dual {
  double v = 0.0, d = 0.0;
};

Dual operator+(Dual a, Dual b) {
  return {a.v + b.v, a.d + b.d};
}
Dual operator-(Dual a, Dual b) {
  return {a.v - b.v, a.d - b.d};
}
Dual operator*(Dual a, Dual b) {
  return {a.v * b.v, a.v * b.d + a.d * b.v};
}
Dual operator*(double a, Dual b) {
  return {a * b.v, a * b.d};
}
void operator+=(Dual &a, Dual b) {
  a = a + b;
}

// u_k(r) without the scaling, and the unit vector.
struct Neighbor {
  int species;
  std::vector<Dual> basis;
  Dual unit[3];

  Neighbor(const RadialPlan &plan, int species_, const double *x, const double *u)
      : species(species_), basis(plan.nbasis) {
    const double r = std::sqrt(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
    const Dual distance = {r, (x[0] * u[0] + x[1] * u[1] + x[2] * u[2]) / r};
    const Dual inverse = {1.0 / r, -distance.d / (r * r)};
    for (int c = 0; c < 3; c++) unit[c] = Dual{x[c], u[c]} * inverse;
    const bool clamped = plan.clamp && r < plan.rmin;
    const Dual inside = clamped ? Dual{plan.rmin, 0.0} : distance;
    const Dual gap = inside - Dual{plan.rmax, 0.0};
    const double slope = 2.0 / (plan.rmax - plan.rmin);
    const Dual xi = slope * (inside - Dual{plan.rmin, 0.0}) - Dual{1.0, 0.0};
    Dual t0 = gap * gap, t1 = xi * t0;
    for (Dual &b : basis) {
      b = t0;
      const Dual t2 = 2.0 * (xi * t1) - t0;
      t0 = t1;
      t1 = t2;
    }
  }
};

// Calls visit(slot, core moment, monomial) in Horner's order, see AngularPlan.
template <class Visit>
void for_monomials(const AngularPlan &plan, const Dual *unit, const Visit &visit) {
  Dual powers[3][max_degree + 1];
  for (int axis = 0; axis < 3; axis++) {
    powers[axis][0] = {1.0, 0.0};
    for (int d = 1; d <= plan.degree[0]; d++) powers[axis][d] = powers[axis][d - 1] * unit[axis];
  }
  int k = 0;
  for (int s = 0; s < plan.nslots; s++)
    for (int c = 0; c < 2; c++)
      for (int b = plan.degree[s] - c; b >= 0; b--)
        for (int a = plan.degree[s] - c - b; a >= 0; a--)
          visit(s, k++, powers[0][a] * powers[1][b] * powers[2][c]);
}

void add_rows(const RowPlan &plan, const Dual *left, const Dual *right, Dual *out) {
  const Term *t = plan.terms;
  for (int i = 0; i < plan.nrows; i++)
    for (const Term *end = t + plan.size[i]; t < end; t++)
      out[plan.row[i] / block_atoms] +=
          t->weight * (left[t->left / block_atoms] * right[t->right / block_atoms]);
}

// From the core moments in `nodes` to ∂E/∂(core moments) in `adjoint`.
void differentiate(const Compiled &plan, const double *weights, std::vector<Dual> &nodes,
                   std::vector<Dual> &adjoint) {
  const ProductPlan &p = plan.products;
  for (int e = 0; e < p.nexpanded; e++) {
    const Expansion &x = p.expansion[e];
    nodes[p.ncore + e] = nodes[x.first] - nodes[x.second] - nodes[x.third];
  }
  add_rows(p.forward, nodes.data(), nodes.data(), nodes.data());
  for (size_t n = 0; n < plan.scalars.size(); n++) adjoint[plan.scalars[n]].v += weights[n];
  add_rows(p.backward, adjoint.data(), nodes.data(), adjoint.data());
  for (int e = p.nexpanded - 1; e >= 0; e--) {
    const Expansion &x = p.expansion[e];
    const Dual g = adjoint[p.ncore + e];
    adjoint[x.first] += g;
    adjoint[x.second] += -1.0 * g;
    adjoint[x.third] += -1.0 * g;
  }
}

}    // namespace

void Mtp::radial_gradient(const Neighbors &nb, const double *weights, double energy_weight,
                          const double *displacement, double *gradient) const {
  const int ns = nspecies(), nslots = plan_.angular.nslots, nbasis = potential_.nbasis;
  std::vector<Neighbor> neighbors;
  std::vector<Dual> nodes, adjoint, f(nslots), p(nslots);
  for (int k = 0; k < nb.ncenters; k++) {
    const int i = nb.centers[k], zi = nb.species[i];
    const double *c = coefficients_.data() + static_cast<size_t>(zi) * ns * nslots * nbasis;
    neighbors.clear();
    nodes.assign(plan_.products.nnodes, {});
    adjoint.assign(plan_.products.nnodes, {});
    for (int n = 0; n < nb.counts[i]; n++) {
      const int j = nb.neighbors[i][n] & nb.mask;
      double x[3], u[3];
      for (int a = 0; a < 3; a++) {
        x[a] = nb.x[3 * static_cast<size_t>(j) + a] - nb.x[3 * static_cast<size_t>(i) + a];
        u[a] = displacement[3 * static_cast<size_t>(j) + a] -
               displacement[3 * static_cast<size_t>(i) + a];
      }
      const double r2 = x[0] * x[0] + x[1] * x[1] + x[2] * x[2];
      if (nb.species[j] < 0 || r2 >= potential_.rmax * potential_.rmax || r2 == 0.0) continue;
      neighbors.emplace_back(plan_.radial, nb.species[j], x, u);
      const Neighbor &there = neighbors.back();
      for (int s = 0; s < nslots; s++) {
        f[s] = {};
        for (int b = 0; b < nbasis; b++)
          f[s] += c[(there.species * nslots + s) * nbasis + b] * there.basis[b];
      }
      for_monomials(plan_.angular, there.unit,
                    [&](int s, int m, Dual monomial) { nodes[m] += f[s] * monomial; });
    }
    differentiate(plan_, weights + ns, nodes, adjoint);
    for (const Neighbor &there : neighbors) {
      p.assign(nslots, {});
      for_monomials(plan_.angular, there.unit,
                    [&](int s, int m, Dual monomial) { p[s] += adjoint[m] * monomial; });
      for (int s = 0; s < nslots; s++)
        for (int b = 0; b < nbasis; b++) {
          const Dual g = there.basis[b] * p[s];
          gradient[((zi * ns + there.species) * potential_.nradial + plan_.slots[s]) * nbasis +
                   b] += potential_.scaling * (energy_weight * g.v + g.d);
        }
    }
  }
}

const Mtp &mtp::as_mtp(const FeatureMap &map) {
  const auto *found = dynamic_cast<const Mtp *>(&map);
  if (!found)
    throw Error(std::string("the model is of the family ") + map.family() + ", expected mtp");
  return *found;
}
