// SPDX-License-Identifier: GPL-2.0-or-later
// Dense products, row-major, compiled for each instruction set.

#ifndef UQ_MATH_MATRIX_H
#define UQ_MATH_MATRIX_H

namespace uq {

struct MatrixKernels {
  // y[n] = UᵀU x for an upper triangle U, its rows one after the other without what is left of the
  // diagonal; reads U once. Of several `parts`, which add up to y, the one that is asked for takes
  // every parts-th of the rows.
  void (*gram_times_vector)(int n, const double *u, const double *x, double *y, int part,
                            int parts);
  // y[n] = A x, A [n][m]; reads A once.
  void (*times_vector)(int n, int m, const double *a, const double *x, double *y);
  // C [n][m] = A [n][k] B [k][m] with row strides lda, ldb, ldc.
  void (*multiply)(int n, int m, int k, const double *a, int lda, const double *b, int ldb,
                   double *c, int ldc);
  void (*multiply_single)(int n, int m, int k, const float *a, int lda, const float *b, int ldb,
                          float *c, int ldc);
  // out[n] += Σ_j c_ij² and out[n] = max(out[n], max_j |c_ij|) of the rows of C [n][m]; a NaN in C
  // stays.
  void (*add_squares)(int n, int m, const float *c, int ldc, double *out);
  void (*raise_to_largest)(int n, int m, const float *c, int ldc, double *out);
};

const MatrixKernels &matrix();

}    // namespace uq

#endif
