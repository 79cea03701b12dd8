// SPDX-License-Identifier: GPL-2.0-or-later
// Rows of C are made in tiles of ROWS x 2 vectors that stay in registers; B is taken in panels of
// `depth` rows and two vectors of columns, copied side by side, so that a panel stays in the
// first-level cache while all rows of A pass. Columns and rows that do not fill a tile are padded
// with zeros in the copies.

#include "math/matrix.h"
#include "math/vector.h"

#include <string.h>

namespace uq {
namespace UQ_SIMD_LEVEL {
namespace {

typedef double LooseVec __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

constexpr int ROWS = LANES == 8 ? 12 : LANES == 4 ? 6 : 4;
constexpr int DEPTH = 128;
constexpr int WIDTH = 2 * LANES;

inline Vec load_loose(const double *p) {
  return *reinterpret_cast<const LooseVec *>(p);
}

inline void store_loose(double *p, Vec v) {
  *reinterpret_cast<LooseVec *>(p) = v;
}

void times_vector(int n, int m, const double *a, const double *x, double *y) {
  for (int i = 0; i < n; i++) {
    const double *row = a + static_cast<int64_t>(i) * m;
    Vec s[4] = {fill(0.0), fill(0.0), fill(0.0), fill(0.0)};
    int j = 0;
    for (; j + 4 * LANES <= m; j += 4 * LANES)
      for (int q = 0; q < 4; q++)
        s[q] += load_loose(row + j + q * LANES) * load_loose(x + j + q * LANES);
    double total = sum((s[0] + s[1]) + (s[2] + s[3]));
    for (; j < m; j++) total += row[j] * x[j];
    y[i] = total;
  }
}

// Four rows at a time: their dots with x to the right of the diagonal, and their multiples added to
// y.
void symmetric_times_vector(int n, const double *a, const double *x, double *y) {
  constexpr int R = 4;
  memset(y, 0, n * sizeof(double));
  for (int i = 0; i < n; i += R) {
    const int rows = n - i < R ? n - i : R;
    const double *row = a + static_cast<int64_t>(i) * n;
    for (int q = 0; q < rows; q++) {    // the corner on the diagonal
      y[i + q] += row[q * static_cast<int64_t>(n) + i + q] * x[i + q];
      for (int p = q + 1; p < rows; p++) {
        const double value = row[q * static_cast<int64_t>(n) + i + p];
        y[i + q] += value * x[i + p];
        y[i + p] += value * x[i + q];
      }
    }
    if (rows < R) return;
    Vec s[R], w[R];
    for (int q = 0; q < R; q++) {
      s[q] = fill(0.0);
      w[q] = fill(x[i + q]);
    }
    int j = i + R;
    for (; j + LANES <= n; j += LANES) {
      const Vec xj = load_loose(x + j);
      Vec yj = load_loose(y + j);
      for (int q = 0; q < R; q++) {
        const Vec value = load_loose(row + q * static_cast<int64_t>(n) + j);
        s[q] += value * xj;
        yj += value * w[q];
      }
      *reinterpret_cast<LooseVec *>(y + j) = yj;
    }
    for (int q = 0; q < R; q++) y[i + q] += sum(s[q]);
    for (; j < n; j++)
      for (int q = 0; q < R; q++) {
        const double value = row[q * static_cast<int64_t>(n) + j];
        y[i + q] += value * x[j];
        y[j] += value * x[i + q];
      }
  }
}

// C tile [rows][WIDTH] += A [rows][depth] panel [depth][WIDTH]
template <int R>
void tile(int depth, const double *a, int lda, const double *panel, double *c, int ldc, int width) {
  Vec sums[R][2];
  for (int i = 0; i < R; i++) sums[i][0] = sums[i][1] = fill(0.0);
  for (int k = 0; k < depth; k++) {
    const Vec b0 = load(panel + k * WIDTH), b1 = load(panel + k * WIDTH + LANES);
    for (int i = 0; i < R; i++) {
      const Vec w = fill(a[static_cast<int64_t>(i) * lda + k]);
      sums[i][0] += w * b0;
      sums[i][1] += w * b1;
    }
  }
  for (int i = 0; i < R; i++) {
    double *row = c + static_cast<int64_t>(i) * ldc;
    if (width == WIDTH) {
      store_loose(row, load_loose(row) + sums[i][0]);
      store_loose(row + LANES, load_loose(row + LANES) + sums[i][1]);
    } else {
      for (int j = 0; j < width; j++) row[j] += sums[i][j / LANES][j % LANES];
    }
  }
}

void multiply(int n, int m, int k, const double *a, int lda, const double *b, int ldb, double *c,
              int ldc) {
  alignas(64) double panel[DEPTH * WIDTH];
  for (int i = 0; i < n; i++) memset(c + static_cast<int64_t>(i) * ldc, 0, m * sizeof(double));
  for (int k0 = 0; k0 < k; k0 += DEPTH) {
    const int depth = k - k0 < DEPTH ? k - k0 : DEPTH;
    for (int j0 = 0; j0 < m; j0 += WIDTH) {
      const int width = m - j0 < WIDTH ? m - j0 : WIDTH;
      for (int kk = 0; kk < depth; kk++) {
        const double *row = b + static_cast<int64_t>(k0 + kk) * ldb + j0;
        if (width == WIDTH) {
          store(panel + kk * WIDTH, load_loose(row));
          store(panel + kk * WIDTH + LANES, load_loose(row + LANES));
          continue;
        }
        for (int j = 0; j < WIDTH; j++) panel[kk * WIDTH + j] = j < width ? row[j] : 0.0;
      }
      int i = 0;
      for (; i + ROWS <= n; i += ROWS)
        tile<ROWS>(depth, a + static_cast<int64_t>(i) * lda + k0, lda, panel,
                   c + static_cast<int64_t>(i) * ldc + j0, ldc, width);
      for (; i < n; i++)
        tile<1>(depth, a + static_cast<int64_t>(i) * lda + k0, lda, panel,
                c + static_cast<int64_t>(i) * ldc + j0, ldc, width);
    }
  }
}

}    // namespace

extern const MatrixKernels matrix_kernels;
const MatrixKernels matrix_kernels = {symmetric_times_vector, times_vector, multiply};

}    // namespace UQ_SIMD_LEVEL
}    // namespace uq
