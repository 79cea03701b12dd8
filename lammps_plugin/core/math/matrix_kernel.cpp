// SPDX-License-Identifier: GPL-2.0-or-later
// Rows of C are made in tiles of ROWS x 2 vectors that stay in registers; B is taken in panels of
// `depth` rows and two vectors of columns, copied side by side, so that a panel stays in the
// first-level cache while all rows of A pass. Columns and rows that do not fill a tile are padded
// with zeros in the copies.

#include "core/math/matrix.h"
#include "core/math/vector.h"

#include <string.h>

namespace uq {
namespace UQ_SIMD_LEVEL {
namespace {

// Vectors of a register of the element type; Loose: anywhere in memory.
template <class Real> struct Simd {
  static constexpr int lanes = LANES * sizeof(double) / sizeof(Real);
  typedef Real Vector __attribute__((vector_size(8 * LANES), may_alias));
  typedef Real Loose __attribute__((vector_size(8 * LANES), aligned(sizeof(Real)), may_alias));
};

constexpr int ROWS = LANES == 8 ? 12 : LANES == 4 ? 6 : 4;
constexpr int DEPTH = 128;

inline Vec load_loose(const double *p) {
  return *reinterpret_cast<const Simd<double>::Loose *>(p);
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

// Four rows at a time: their dots with x, then their multiples added to y while they are in cache.
void gram_times_vector(int n, const double *u, const double *x, double *y, int part, int parts) {
  constexpr int R = 4;
  memset(y, 0, n * sizeof(double));
  for (int i = R * part; i < n; i += R * parts) {
    const int rows = n - i < R ? n - i : R, behind = i + rows;
    const double *row[R];    // column j of row i + q at row[q][j]
    double p[R] = {};
    for (int q = 0; q < rows; q++) {
      const int64_t k = i + q;
      row[q] = u + k * n - k * (k + 1) / 2;
      for (int j = i + q; j < behind; j++) p[q] += row[q][j] * x[j];
    }
    Vec s[R];
    for (int q = 0; q < R; q++) s[q] = fill(0.0);
    int j = behind;
    for (; j + LANES <= n; j += LANES) {    // none is left of the last rows
      const Vec xj = load_loose(x + j);
      for (int q = 0; q < R; q++) s[q] += load_loose(row[q] + j) * xj;
    }
    for (int q = 0; q < rows; q++) {
      p[q] += sum(s[q]);
      for (int l = j; l < n; l++) p[q] += row[q][l] * x[l];
      for (int l = i + q; l < behind; l++) y[l] += p[q] * row[q][l];
      for (int l = j; l < n; l++) y[l] += p[q] * row[q][l];
    }
    for (j = behind; j + LANES <= n; j += LANES) {
      Vec yj = load_loose(y + j);
      for (int q = 0; q < R; q++) yj += fill(p[q]) * load_loose(row[q] + j);
      *reinterpret_cast<Simd<double>::Loose *>(y + j) = yj;
    }
  }
}

// C tile [rows][2 vectors] += A [rows][depth] panel [depth][2 vectors]
template <class Real, int R>
void tile(int depth, const Real *a, int lda, const Real *panel, Real *c, int ldc, int width) {
  using V = typename Simd<Real>::Vector;
  constexpr int lanes = Simd<Real>::lanes;
  V sums[R][2] = {};
  for (int k = 0; k < depth; k++) {
    const V b0 = *reinterpret_cast<const V *>(panel + 2 * k * lanes),
            b1 = *reinterpret_cast<const V *>(panel + (2 * k + 1) * lanes);
    for (int i = 0; i < R; i++) {
      const V w = a[static_cast<int64_t>(i) * lda + k] - V{};
      sums[i][0] += w * b0;
      sums[i][1] += w * b1;
    }
  }
  for (int i = 0; i < R; i++) {
    Real *row = c + static_cast<int64_t>(i) * ldc;
    if (width == 2 * lanes) {
      auto *out = reinterpret_cast<typename Simd<Real>::Loose *>(row);
      out[0] += sums[i][0];
      out[1] += sums[i][1];
    } else {
      for (int j = 0; j < width; j++) row[j] += sums[i][j / lanes][j % lanes];
    }
  }
}

// The rows of A in tiles of R, what is left in lower ones.
template <class Real, int R>
void tiles(int n, int depth, const Real *a, int lda, const Real *panel, Real *c, int ldc,
           int width) {
  int i = 0;
  for (; i + R <= n; i += R)
    tile<Real, R>(depth, a + static_cast<int64_t>(i) * lda, lda, panel,
                  c + static_cast<int64_t>(i) * ldc, ldc, width);
  if constexpr (R > 1)
    tiles<Real, (R + 1) / 2>(n - i, depth, a + static_cast<int64_t>(i) * lda, lda, panel,
                             c + static_cast<int64_t>(i) * ldc, ldc, width);
}

template <class Real>
void multiply(int n, int m, int k, const Real *a, int lda, const Real *b, int ldb, Real *c,
              int ldc) {
  using Loose = typename Simd<Real>::Loose;
  constexpr int WIDTH = 2 * Simd<Real>::lanes;
  alignas(64) Real panel[DEPTH * WIDTH];
  for (int i = 0; i < n; i++) memset(c + static_cast<int64_t>(i) * ldc, 0, m * sizeof(Real));
  for (int k0 = 0; k0 < k; k0 += DEPTH) {
    const int depth = k - k0 < DEPTH ? k - k0 : DEPTH;
    for (int j0 = 0; j0 < m; j0 += WIDTH) {
      const int width = m - j0 < WIDTH ? m - j0 : WIDTH;
      for (int kk = 0; kk < depth; kk++) {
        const Real *row = b + static_cast<int64_t>(k0 + kk) * ldb + j0;
        if (width == WIDTH) {
          auto *out = reinterpret_cast<Loose *>(panel + kk * WIDTH);
          out[0] = reinterpret_cast<const Loose *>(row)[0];
          out[1] = reinterpret_cast<const Loose *>(row)[1];
          continue;
        }
        for (int j = 0; j < WIDTH; j++) panel[kk * WIDTH + j] = j < width ? row[j] : Real(0);
      }
      tiles<Real, ROWS>(n, depth, a + k0, lda, panel, c + j0, ldc, width);
    }
  }
}

void add_squares(int n, int m, const float *c, int ldc, double *out) {
  using S = Simd<float>;
  for (int i = 0; i < n; i++, c += ldc) {
    S::Vector squares = {};
    int j = 0;
    for (; j + S::lanes <= m; j += S::lanes) {
      const S::Vector v = *reinterpret_cast<const S::Loose *>(c + j);
      squares += v * v;
    }
    double total = 0.0;
    for (; j < m; j++) total += c[j] * c[j];
    for (int l = 0; l < S::lanes; l++) total += squares[l];
    out[i] += total;
  }
}

void raise_to_largest(int n, int m, const float *c, int ldc, double *out) {
  using S = Simd<float>;
  for (int i = 0; i < n; i++, c += ldc) {
    S::Vector largest = {};
    int j = 0;
    for (; j + S::lanes <= m; j += S::lanes) {
      const S::Vector v = *reinterpret_cast<const S::Loose *>(c + j), size = v < 0.0f ? -v : v;
      largest = size <= largest ? largest : size;
    }
    const auto raise = [&](double value) {
      if (!(value <= out[i])) out[i] = value;
    };
    for (; j < m; j++) raise(c[j] < 0.0f ? -c[j] : c[j]);
    for (int l = 0; l < S::lanes; l++) raise(largest[l]);
  }
}

}    // namespace

extern const MatrixKernels matrix_kernels;
const MatrixKernels matrix_kernels = {gram_times_vector, times_vector, multiply<double>,
                                      multiply<float>,   add_squares,  raise_to_largest};

}    // namespace UQ_SIMD_LEVEL
}    // namespace uq
