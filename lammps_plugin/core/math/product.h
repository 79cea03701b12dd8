// SPDX-License-Identifier: GPL-2.0-or-later
// Products of small dense matrices in tiles of registers. Only for kernel files; see vector.h.

#ifndef UQ_MATH_PRODUCT_H
#define UQ_MATH_PRODUCT_H

#include "core/math/vector.h"

#include <stddef.h>

namespace uq {
namespace {

// A matrix read element by element: element (i, j) at data[i * row + j * column].
struct Elements {
  const double *data;
  ptrdiff_t row, column;
};

// M rows and V vectors of c (+)= a b stay in registers: loops over them are unrolled before the
// compiler decides what lives where.
template <int M, int V>
inline void product_tile(int k, Elements a, const double *b, ptrdiff_t ldb, double *c,
                         ptrdiff_t ldc, bool add) {
  Vec sum[M][V];
#pragma GCC unroll 8
  for (int i = 0; i < M; i++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) sum[i][v] = fill(0.0);
  for (int p = 0; p < k; p++) {
    Vec row[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) row[v] = load(b + p * ldb + v * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < M; i++) {
      const Vec w = fill(a.data[i * a.row + p * a.column]);
#pragma GCC unroll 8
      for (int v = 0; v < V; v++) sum[i][v] += w * row[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < M; i++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) {
      double *out = c + i * ldc + v * LANES;
      store(out, add ? load(out) + sum[i][v] : sum[i][v]);
    }
}

// One row: parts of its sums at once, which hide each other's latency.
template <int V>
inline void product_row(int k, Elements a, const double *b, ptrdiff_t ldb, double *c, bool add) {
  constexpr int PARTS = 4;
  Vec sum[PARTS][V];
#pragma GCC unroll 8
  for (int i = 0; i < PARTS; i++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) sum[i][v] = fill(0.0);
  int p = 0;
  for (; p + PARTS <= k; p += PARTS)
#pragma GCC unroll 8
    for (int i = 0; i < PARTS; i++)
#pragma GCC unroll 8
      for (int v = 0; v < V; v++)
        sum[i][v] += a.data[(p + i) * a.column] * load(b + (p + i) * ldb + v * LANES);
  for (; p < k; p++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) sum[0][v] += a.data[p * a.column] * load(b + p * ldb + v * LANES);
#pragma GCC unroll 8
  for (int v = 0; v < V; v++) {
    const Vec total = (sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v]);
    store(c + v * LANES, add ? load(c + v * LANES) + total : total);
  }
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
  if (m - i == 1) product_row<V>(k, rows(i), b, ldb, c + i * ldc, add);
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
