// SPDX-License-Identifier: GPL-2.0-or-later
// What the kernels need to know of a network, as plain arrays.
//
// Vocabulary. Channel width: channels rounded up to whole vectors of every instruction set.
// Component (l, m) at l² + m. Edge coupling: M_e[m3][m1] = Σ_m2 C_{m1 m2 m3} Y_{l2 m2}(r̂_e), one
// number for all channels, samples and layers; its entries of all paths follow each other. Slot: a
// message component (l3, m3, path), those of one (l3, m3) side by side. In the first layer the
// neighbour's state depends on its species alone: its channels are the hidden units of the radial
// network, its paths the species, and R V2, the sources and W2 one matrix of the mixing.

#ifndef UQ_NETWORK_PLAN_H
#define UQ_NETWORK_PLAN_H

#include "core/math/width.h"

#include <stddef.h>

namespace uq {
namespace network {

constexpr int max_components = 9;

struct Radial {
  double cutoff = 0.0;    // Å
  int bessels = 0, envelope = 0;
  const double *frequencies = nullptr;    // [bessels]
};

// entry += factor · Y_component
struct Term {
  double factor;
  int entry, component;
};

struct Path {
  int l1, l2, l3;
  int entry;                // first of M; -1: l2 = 0, where M is the unit matrix
  int slot, slot_stride;    // of m3 = 0, from one m3 to the next
};

// n edges of one centre, or of several; from one function of an edge to the next `stride` doubles.
struct Edges {
  int n, stride;
  const int *index;                       // row of g
  const double *x, *y, *z, *r;            // unit vector and distance, Å
  double *harmonics;                      // [components][stride]
  double *basis, *slopes;                 // b_n and its derivative, [bessels][stride]
  double *coupling, *coupling_adjoint;    // M and its adjoint, [entries][stride]
};

// One path of one sample at one centre; strides in doubles, from edge to edge and from row to row.
struct Message {
  Path path;
  int width;               // of channels
  const double *radial;    // R of edge 0
  ptrdiff_t radial_edge;
  const double *g;    // component (l1, 0) of row 0
  ptrdiff_t g_row;
  double *slots;    // A, [slots][width]: sums or their adjoints
};

// What the reverse pass of a message makes: R̄ laid out as R, ḡ (null: not wanted).
struct MessageAdjoints {
  double *radial;
  bool add;    // to R̄
  double *g;
  ptrdiff_t g_row;
};

struct Kernels {
  int lanes;
  // c [m][n] (+)= a [m][k] b [k][n], a element (i, j) at a[i * row + j * column].
  void (*multiply)(int m, int n, int k, const double *a, ptrdiff_t row, ptrdiff_t column,
                   const double *b, ptrdiff_t ldb, double *c, ptrdiff_t ldc, bool add);
  // Displacements and r² [n] become unit vectors and distances.
  void (*normalise)(int n, double *x, double *y, double *z, double *r);
  void (*functions)(const Radial &radial, int lmax, const Edges &edges);    // Y, b, b'
  void (*couple)(int nterms, const Term *terms, int entries, const Edges &edges);
  void (*silu)(size_t n, const double *z, double *s);
  void (*silu_slopes)(size_t n, double *z, double *s);    // z becomes SiLU'(z) too
  void (*scale)(size_t n, const double *by, double *values);
  // A = Σ_e R_e M_e g_e
  void (*messages)(const Edges &edges, const Message &message);
  // From Ā: R̄ (= or +=), ḡ (+=), M̄ (+=)
  void (*messages_backward)(const Edges &edges, const Message &message,
                            const MessageAdjoints &adjoints);
  // h⁰ = SiLU(q⁰), h^l = q^l SiLU(block l of q⁰): q [1 + lmax blocks, then (2l+1) blocks of each l
  // from 1].
  void (*gate)(int width, int lmax, const double *q, double *h);
  void (*gate_backward)(int width, int lmax, const double *q, const double *h_adjoint,
                        double *q_adjoint);
  // ∂E/∂r of the edges, [3][stride], from M̄ and dE/dr.
  void (*gradients)(int nterms, const Term *terms, int lmax, const Edges &edges,
                    const double *slope, double *gradients);
};

}    // namespace network
}    // namespace uq

#endif
