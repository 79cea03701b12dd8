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

// V vectors of columns: tall tiles where they are narrow, so that the sums hide each other's
// latency.
template <int V>
inline void product_columns(int m, int k, Elements a, const double *b, ptrdiff_t ldb, double *c,
                            ptrdiff_t ldc, bool add) {
  constexpr int M = V == 1 || (V == 2 && LANES == 8) ? 8 : 4;
  int i = 0;
  const auto rows = [&](int first) { return Elements{a.data + first * a.row, a.row, a.column}; };
  for (; i + M <= m; i += M) product_tile<M, V>(k, rows(i), b, ldb, c + i * ldc, ldc, add);
  if (i + 4 <= m) {
    product_tile<4, V>(k, rows(i), b, ldb, c + i * ldc, ldc, add);
    i += 4;
  }
  if (m - i == 3) product_tile<3, V>(k, rows(i), b, ldb, c + i * ldc, ldc, add);
  if (m - i == 2) product_tile<2, V>(k, rows(i), b, ldb, c + i * ldc, ldc, add);
  if (m - i == 1) product_tile<1, V>(k, rows(i), b, ldb, c + i * ldc, ldc, add);
}

// c [m][n] (+)= a [m][k] b [k][n]; n a multiple of 8, b and c aligned.
inline void product(int m, int n, int k, Elements a, const double *b, ptrdiff_t ldb, double *c,
                    ptrdiff_t ldc, bool add) {
  constexpr int V = LANES == 8 ? 4 : 2;
  int j = 0;
  for (; j + V * LANES <= n; j += V * LANES)
    product_columns<V>(m, k, a, b + j, ldb, c + j, ldc, add);
  if (V == 4 && j + 2 * LANES <= n) {
    product_columns<2>(m, k, a, b + j, ldb, c + j, ldc, add);
    j += 2 * LANES;
  }
  for (; j < n; j += LANES) product_columns<1>(m, k, a, b + j, ldb, c + j, ldc, add);
}

}    // namespace
}    // namespace uq

#endif
