// SPDX-License-Identifier: GPL-2.0-or-later
// What the kernels need to know of a potential, as plain arrays.
//
// Vocabulary. Base: the Chebyshev functions f_k(r). Channel: a radial function g_n = Σ_k c_nk f_k.
// Component: one real spherical harmonic Y_c, c = l² - 1 + {0: m = 0; 2m - 1: cos mφ; 2m: sin mφ},
// 1 <= l <= lmax. Width: a count rounded up to whole vectors of every instruction set.

#ifndef UQ_NEP_PLAN_H
#define UQ_NEP_PLAN_H

#include "core/math/width.h"

namespace uq {
namespace nep {

// Normalised real harmonics, Σ_m Y_lm² = (2l + 1)/4π, by recursion:
// P_mm = diagonal[m], P_lm = a[l][m] (z P_{l-1,m} + b[l][m] P_{l-2,m}), Y_lm = P_lm Re, Im(x +
// iy)^m.
struct Harmonics {
  static constexpr int max_l = 8;
  int lmax = 0, ncomp = 0, width = 0;    // components l >= 1: lmax (lmax + 2)
  double diagonal[max_l + 1] = {};
  double a[max_l + 1][max_l + 1] = {}, b[max_l + 1][max_l + 1] = {};
};

// factor · s_i s_j s_k
struct Cubic {
  double factor;
  int i, j, k;    // components
};

// factor · s_i s_j s_k s_l
struct Quartic {
  double factor;
  int i, j, k, l;
};

// Invariants of one channel: q_l = Σ_c s_c², then sums of cubic terms, q_1111 = 7/15 q_1², and the
// quartic terms of q_1122.
struct Invariants {
  int lmax = 0, count = 0;
  int ncubic = 0;
  const int *place = nullptr;    // [ncubic], which invariant
  const int *first = nullptr;    // [ncubic + 1], its terms
  const Cubic *terms = nullptr;
  int q1111 = -1;    // its place; -1: none
  int q1122 = -1;
  int nquartic = 0;
  const Quartic *quartic = nullptr;    // [nquartic]
};

// A matrix read element by element: element (i, j) at data[i * row + j * column].
struct Strided {
  const double *data;
  int row, column;
};

struct Kernels {
  int lanes;

  // Unit vectors and distances of the neighbours index [n] of the atom at `center`; -1: padding,
  // which stands at the distance `outside`.
  void (*locate)(int n, const int *index, const double *positions, const double *center,
                 double outside, double *x, double *y, double *z, double *r);

  // c [m][ldc] (+)= a [m][k] b [k][ldb], n columns; n a multiple of `widest`, b and c aligned.
  void (*multiply)(int m, int n, int k, Strided a, const double *b, int ldb, double *c, int ldc,
                   bool add);
  // [rows][ld] → [columns][out_ld]; both a multiple of `widest`.
  void (*transpose)(int rows, int columns, const double *in, int ld, double *out, int out_ld);

  // sums[k] += Σ_j f_k(r_j), k < base.
  void (*radial_sums)(int base, double cutoff, int n, const double *r, double *sums);
  // slopes[j] = Σ_k w_k f_k'(r_j).
  void (*radial_slopes)(int base, double cutoff, int n, const double *r, const double *w,
                        double *slopes);

  // Functions of n neighbours: f, df [base][n] (df may be null), harmonics y [n][width].
  void (*angular)(const Harmonics &harmonics, int base, int n, const double *x, const double *y,
                  const double *z, const double *r, const double *cutoff, double *f, double *df,
                  double *rows);

  // s [ncomp][width] of channels side by side → q [count][width].
  void (*invariants)(const Invariants &plan, int width, const double *s, double *q);
  // d = ∂(dq · q)/∂s.
  void (*invariant_slopes)(const Invariants &plan, int width, const double *s, const double *dq,
                           double *d);

  // h = tanh(z - b).
  void (*activate)(int n, const double *z, const double *b, double *h);
  // y = w (1 - h²); returns w · h. n a multiple of `widest`.
  double (*weigh)(int n, const double *w, const double *h, double *y);

  // ∂/∂r_j of Σ_jc u_jc Y_c(r̂_j), where du is the derivative of u along r: force [3][n].
  void (*forces)(const Harmonics &harmonics, int n, const double *x, const double *y,
                 const double *z, const double *r, const double *rows, const double *u,
                 const double *du, double *force);

  // Harmonics and the part of their gradient across r̂, out [component][Y, x, y, z][n].
  void (*harmonic_gradients)(const Harmonics &harmonics, int n, const double *x, const double *y,
                             const double *z, const double *r, double *out);
};

}    // namespace nep
}    // namespace uq

#endif
