// SPDX-License-Identifier: GPL-2.0-or-later
// What the kernels need to know of a moment tensor potential, as plain arrays.
//
// Vocabulary. Lanes: doubles in a vector, which are neighbours. Block: atoms that go through the
// products together. Slot: a radial function μ; slots are sorted by falling degree of their
// moments. Core moment: Σ_j f_μ x^a y^b z^c with c = 0 or 1; on the unit sphere z² = 1 - x² - y²
// gives all others, so that a slot of degree L has (L + 1)² of them. Node: a moment, [node][atom of
// the block]; first the core moments, then the other basic ones, then the products. Sums of the
// form out[i] = Σ_t w_t left[l_t] right[r_t] are rows.

#ifndef UQ_MTP_PLAN_H
#define UQ_MTP_PLAN_H

#include "core/families/mtp/parameters_limits.h"

#include <stdint.h>

namespace uq {
namespace mtp {

// A multiple of the lanes of every instruction set: one reading of a row serves several vectors.
constexpr int block_atoms = 16;

// f_μ(r) = (r - rmax)² Σ_k c_μk T_k(ξ), ξ from -1 at rmin to 1 at rmax
struct RadialPlan {
  double rmin = 0.0, rmax = 0.0;    // Å
  bool clamp = false;               // below rmin as at rmin
  int nbasis = 0, nslots = 0;
};

// Core moments of a slot in the order of Horner's scheme: (a, b, c) with c = 0, b = L .. 0,
// a = L - b .. 0; then c = 1, b = L - 1 .. 0, a = L - 1 - b .. 0.
struct AngularPlan {
  int nslots = 0;
  int degree[max_radial] = {};        // of each slot, falling
  int active[max_degree + 1] = {};    // slots with moments of degree d
  int ncore = 0;                      // Σ_slots (L + 1)²
  const int *place = nullptr;         // [ncore]: core moment of each sum of accumulate()
};

// weight · left · right; places in arrays [node][atom]: node times block_atoms.
struct Term {
  double weight;
  uint32_t left, right;
};

// Rows of terms, sorted so that none needs a later one and those with as many terms stand together.
struct RowPlan {
  int nrows = 0;
  const uint32_t *row = nullptr;    // [nrows], place of the output
  const int *size = nullptr;        // [nrows], terms
  const uint8_t *adds = nullptr;    // [nrows], to what the output holds already
  const Term *terms = nullptr;
};

// node = node[first] - node[second] - node[third]
struct Expansion {
  int first, second, third;
};

struct ProductPlan {
  int ncore = 0, nnodes = 0;
  int nexpanded = 0;    // nodes ncore .. ncore + nexpanded - 1
  const Expansion *expansion = nullptr;
  int nscalars = 0;
  const int *scalars = nullptr;    // nodes in the energy
  RowPlan forward;                 // nodes behind the expanded ones, from nodes
  RowPlan backward;    // their adjoints, from adjoints (left) and nodes (right), last node first
};

// One set for each instruction set. Arrays are aligned to 64 bytes; numbers of neighbours n are
// multiples of `lanes`, and neighbours beyond the last one lie at rmax.
struct Kernels {
  int lanes;

  // Unit vectors and distances of the neighbours index [n] of the atom at `center`; -1: padding,
  // which stands at the distance `outside`.
  void (*locate)(int n, const int *index, const double *positions, const double *center,
                 double outside, double *x, double *y, double *z, double *r);

  // f, df [n / lanes][slot][lane] around one centre; neighbours of species s are first[s] ..
  // first[s + 1] - 1, coefficients [s][slot][k]. df may be null.
  void (*radial)(const RadialPlan &plan, int nspecies, const int *first, const double *coefficients,
                 int n, const double *r, double *f, double *df);

  // nodes[core moment][atom 0] of one centre. scratch: [ncore][lanes]
  void (*accumulate)(const AngularPlan &plan, int n, const double *x, const double *y,
                     const double *z, const double *f, double *scratch, double *nodes);

  // All nodes behind the core moments.
  void (*products)(const ProductPlan &plan, double *nodes);
  // sums[k] += Σ_atom nodes[which[k]][atom]
  void (*sum_atoms)(int n, const int *which, const double *nodes, double *sums);
  // S = Σ_n w_n node[scalars[n]]: value[atom] = S and adjoint[node][atom] = ∂S/∂node, complete for
  // the core moments. weights [n], or [n][atom] if per_atom.
  void (*adjoint)(const ProductPlan &plan, const double *nodes, int nscalars, const int *scalars,
                  const double *weights, bool per_atom, double *adjoint, double *value);

  // From ∂S/∂(core moments) of one centre: force[3][n] = ∂S/∂r_j.
  void (*forces)(const AngularPlan &plan, int n, const double *x, const double *y, const double *z,
                 const double *r, const double *f, const double *df, const double *derivative,
                 double *force);
  // sums[9] += Σ_j r_j ⊗ force_j, xx yy zz xy xz yz yx zx zy.
  void (*virial)(int n, const double *x, const double *y, const double *z, const double *r,
                 const double *force, double *sums);

  // out[k][3][n] = ∂/∂r_j of core moment k.
  void (*core_gradients)(const AngularPlan &plan, int n, const double *x, const double *y,
                         const double *z, const double *r, const double *f, const double *df,
                         double *out);
  // ∂S/∂c_sμk of one centre: out[s][slot][k] += from ∂S/∂(core moments), scaling 1.
  void (*radial_gradient)(const RadialPlan &plan, const AngularPlan &angular, int nspecies,
                          const int *first, int n, const double *x, const double *y,
                          const double *z, const double *r, const double *derivative, double *out);
};

const Kernels &kernels();

}    // namespace mtp
}    // namespace uq

#endif
