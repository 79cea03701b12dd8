// SPDX-License-Identifier: GPL-2.0-or-later
// Products of small dense matrices in tiles of registers. Only for kernel files; see vector.h.

#ifndef UQ_MATH_PRODUCT_H
#define UQ_MATH_PRODUCT_H

#include "math/vector.h"

#include <stddef.h>

namespace uq {
namespace {

// A matrix read element by element: element (i, j) at data[i * row + j * column].
struct Elements {
  const double *data;
  ptrdiff_t row, column;
};

// M rows and V vectors of c (+)= a b stay in registers.
template <int M, int V>
inline void product_tile(int k, Elements a, const double *b, ptrdiff_t ldb, double *c,
                         ptrdiff_t ldc, bool add) {
  Vec sum[M][V];
  for (int i = 0; i < M; i++)
    for (int v = 0; v < V; v++) sum[i][v] = add ? load(c + i * ldc + v * LANES) : fill(0.0);
  for (int p = 0; p < k; p++) {
    Vec row[V];
    for (int v = 0; v < V; v++) row[v] = load(b + p * ldb + v * LANES);
    for (int i = 0; i < M; i++) {
      const Vec w = fill(a.data[i * a.row + p * a.column]);
      for (int v = 0; v < V; v++) sum[i][v] += w * row[v];
    }
  }
  for (int i = 0; i < M; i++)
    for (int v = 0; v < V; v++) store(c + i * ldc + v * LANES, sum[i][v]);
}

template <int M>
inline void product_rows(int n, int k, Elements a, const double *b, ptrdiff_t ldb, double *c,
                         ptrdiff_t ldc, bool add) {
  constexpr int V = LANES == 8 ? 4 : 2;
  int j = 0;
  for (; j + V * LANES <= n; j += V * LANES) product_tile<M, V>(k, a, b + j, ldb, c + j, ldc, add);
  if (V == 4 && j + 2 * LANES <= n) {
    product_tile<M, 2>(k, a, b + j, ldb, c + j, ldc, add);
    j += 2 * LANES;
  }
  for (; j < n; j += LANES) product_tile<M, 1>(k, a, b + j, ldb, c + j, ldc, add);
}

// c [m][n] (+)= a [m][k] b [k][n]; n a multiple of 8, b and c aligned.
inline void product(int m, int n, int k, Elements a, const double *b, ptrdiff_t ldb, double *c,
                    ptrdiff_t ldc, bool add) {
  constexpr int ROWS = 4;
  int i = 0;
  for (; i + ROWS <= m; i += ROWS)
    product_rows<ROWS>(n, k, {a.data + i * a.row, a.row, a.column}, b, ldb, c + i * ldc, ldc, add);
  const Elements rest = {a.data + i * a.row, a.row, a.column};
  if (m - i == 3) product_rows<3>(n, k, rest, b, ldb, c + i * ldc, ldc, add);
  if (m - i == 2) product_rows<2>(n, k, rest, b, ldb, c + i * ldc, ldc, add);
  if (m - i == 1) product_rows<1>(n, k, rest, b, ldb, c + i * ldc, ldc, add);
}

}    // namespace
}    // namespace uq

#endif
