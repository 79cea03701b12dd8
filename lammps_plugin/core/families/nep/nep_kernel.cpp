// SPDX-License-Identifier: GPL-2.0-or-later
// The arithmetic of NEP, compiled once for each instruction set. In functions of the geometry the
// lanes are neighbours; in sums and contractions they are components (l, m) or channels, so that
// neighbours of different species need no padding between them.
//
//   S_kc = Σ_j f_k(r_j) Y_c(r̂_j),  s_nc = Σ_k c_nk S_kc,  q = polynomials of s      (forward)
//   W_kc = Σ_n c_nk ∂E/∂s_nc,  U_jc = Σ_k f_k(r_j) W_kc,  U'_jc = Σ_k f_k'(r_j) W_kc
//   ∂E/∂r_j = r̂ Σ_c U'_jc Y_c + Σ_c U_jc ∇Y_c                                       (forces)
//
// All sums of products are multiply(): S = f Y, s = c S, W = cᵀ ∂E/∂s, U = fᵀ W, and the network.

#include "core/families/nep/plan.h"
#include "core/geometry/geometry.h"
#include "core/math/product.h"

namespace uq {
namespace nep {
namespace UQ_SIMD_LEVEL {
namespace {

constexpr double PI = 3.14159265358979323846;

// Square blocks of vectors, in place.
inline void transpose_block(Vec *v) {
#if defined(__AVX512F__)
  Vec a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    a[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < 8; i += 4)
    for (int k = 0; k < 2; k++) {
      b[i + k] = __builtin_shufflevector(a[i + k], a[i + k + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      b[i + k + 2] = __builtin_shufflevector(a[i + k], a[i + k + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  for (int k = 0; k < 4; k++) {
    v[k] = __builtin_shufflevector(b[k], b[k + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    v[k + 4] = __builtin_shufflevector(b[k], b[k + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
#elif defined(__AVX2__)
  Vec a[4];
  for (int i = 0; i < 4; i += 2) {
    a[i] = __builtin_shufflevector(v[i], v[i + 1], 0, 4, 2, 6);
    a[i + 1] = __builtin_shufflevector(v[i], v[i + 1], 1, 5, 3, 7);
  }
  for (int k = 0; k < 2; k++) {
    v[k] = __builtin_shufflevector(a[k], a[k + 2], 0, 1, 4, 5);
    v[k + 2] = __builtin_shufflevector(a[k], a[k + 2], 2, 3, 6, 7);
  }
#else
  const Vec a = {v[0][0], v[1][0]}, b = {v[0][1], v[1][1]};
  v[0] = a;
  v[1] = b;
#endif
}

void transpose(int rows, int columns, const double *in, int ld, double *out, int out_ld) {
  for (int i = 0; i < rows; i += LANES)
    for (int j = 0; j < columns; j += LANES) {
      Vec v[LANES];
      for (int k = 0; k < LANES; k++) v[k] = load(in + (i + k) * ld + j);
      transpose_block(v);
      for (int k = 0; k < LANES; k++) store(out + (j + k) * out_ld + i, v[k]);
    }
}

// ---------------------------------------------------------------------- products of matrices

constexpr int ROWS = LANES == 8 ? 8 : 4;    // of a tile kept in registers, three vectors wide

template <int M>
void tiles(int n, int k, Elements a, const double *b, int ldb, double *c, int ldc, bool add) {
  int j = 0;
  for (; j + 3 * LANES <= n; j += 3 * LANES) product_tile<M, 3>(k, a, b + j, ldb, c + j, ldc, add);
  if (j + 2 * LANES <= n) {
    product_tile<M, 2>(k, a, b + j, ldb, c + j, ldc, add);
    j += 2 * LANES;
  }
  if (j < n) product_tile<M, 1>(k, a, b + j, ldb, c + j, ldc, add);
}

void multiply(int m, int n, int k, Strided a, const double *b, int ldb, double *c, int ldc,
              bool add) {
  const int ntiles = (m + ROWS - 1) / ROWS;
  for (int t = 0, i = 0; t < ntiles; t++) {
    const int rows = (m - i + ntiles - t - 1) / (ntiles - t);    // tiles of about equal height
    const Elements block = {a.data + i * a.row, a.row, a.column};
    double *out = c + i * ldc;
    switch (rows) {
    case 1:
      tiles<1>(n, k, block, b, ldb, out, ldc, add);
      break;
    case 2:
      tiles<2>(n, k, block, b, ldb, out, ldc, add);
      break;
    case 3:
      tiles<3>(n, k, block, b, ldb, out, ldc, add);
      break;
    case 4:
      tiles<4>(n, k, block, b, ldb, out, ldc, add);
      break;
#if defined(__AVX512F__)
    case 5:
      tiles<5>(n, k, block, b, ldb, out, ldc, add);
      break;
    case 6:
      tiles<6>(n, k, block, b, ldb, out, ldc, add);
      break;
    case 7:
      tiles<7>(n, k, block, b, ldb, out, ldc, add);
      break;
    default:
      tiles<8>(n, k, block, b, ldb, out, ldc, add);
#endif
    }
    i += rows;
  }
}

// ---------------------------------------------------------------------- radial functions

// ½ (1 + cos π u), u = r/rc, as ½ - sin t cos t with t = ½π (u - ½); zero from the cutoff on.
inline void cutoff_function(Vec r, Vec per_cutoff, Vec &f, Vec &df) {
  const Vec u = r * per_cutoff, t = (u - 0.5) * (0.5 * PI), z = t * t;    // |t| <= π/4
  Vec s = fill(1.0 / 355687428096000.0);
  s = s * z - 1.0 / 1307674368000.0;
  s = s * z + 1.0 / 6227020800.0;
  s = s * z - 1.0 / 39916800.0;
  s = s * z + 1.0 / 362880.0;
  s = s * z - 1.0 / 5040.0;
  s = s * z + 1.0 / 120.0;
  s = s * z - 1.0 / 6.0;
  s = s * z * t + t;
  Vec c = fill(1.0 / 20922789888000.0);
  c = c * z - 1.0 / 87178291200.0;
  c = c * z + 1.0 / 479001600.0;
  c = c * z - 1.0 / 3628800.0;
  c = c * z + 1.0 / 40320.0;
  c = c * z - 1.0 / 720.0;
  c = c * z + 1.0 / 24.0;
  c = c * z * z - 0.5 * z + 1.0;
  const IntVec outside = u >= 1.0;
  f = select(outside, fill(0.0), 0.5 - s * c);
  df = select(outside, fill(0.0), (s * s - 0.5) * (PI * per_cutoff));
}

// Visits k, T_k(x), U_{k-1}(x) for k < base, with x = 2 (r/rc - 1)² - 1; T' = k U_{k-1}.
template <class Visit> inline void chebyshev(int base, Vec x, const Visit &visit) {
  const Vec twice = 2.0 * x;
  Vec t0 = fill(1.0), t1 = x, u0 = fill(0.0), u1 = fill(1.0);
  for (int k = 0; k < base; k++) {
    visit(k, t0, u0);
    const Vec t2 = twice * t1 - t0, u2 = twice * u1 - u0;
    t0 = t1;
    t1 = t2;
    u0 = u1;
    u1 = u2;
  }
}

// Vectors V of neighbours at a time.
template <int V> inline void radial_sums_of(int base, Vec per_cutoff, const double *r, Vec *sums) {
  Vec t0[V], t1[V], twice[V], half[V];
  for (int v = 0; v < V; v++) {
    const Vec distance = load(r + v * LANES), shifted = distance * per_cutoff - 1.0;
    Vec slope;
    cutoff_function(distance, per_cutoff, half[v], slope);
    half[v] *= 0.5;
    t0[v] = fill(1.0);
    t1[v] = 2.0 * shifted * shifted - 1.0;
    twice[v] = 2.0 * t1[v];
  }
  for (int k = 0; k < base; k++) {
    Vec total = sums[k];
    for (int v = 0; v < V; v++) {
      total += t0[v] * half[v] + half[v];
      const Vec t2 = twice[v] * t1[v] - t0[v];
      t0[v] = t1[v];
      t1[v] = t2;
    }
    sums[k] = total;
  }
}

constexpr int MAX_BASE = 64;

void radial_sums(int base, double cutoff, int n, const double *r, double *sums) {
  Vec partial[MAX_BASE];
  for (int k = 0; k < base; k++) partial[k] = fill(0.0);
  const Vec per_cutoff = fill(1.0 / cutoff);
  int j = 0;
  for (; j + 4 * LANES <= n; j += 4 * LANES) radial_sums_of<4>(base, per_cutoff, r + j, partial);
  for (; j + 2 * LANES <= n; j += 2 * LANES) radial_sums_of<2>(base, per_cutoff, r + j, partial);
  for (; j < n; j += LANES) radial_sums_of<1>(base, per_cutoff, r + j, partial);
  for (int k = 0; k < base; k++) sums[k] += sum(partial[k]);
}

void radial_slopes(int base, double cutoff, int n, const double *r, const double *w,
                   double *slopes) {
  const Vec per_cutoff = fill(1.0 / cutoff);
  for (int j = 0; j < n; j += LANES) {
    const Vec distance = load(r + j), shifted = distance * per_cutoff - 1.0;
    Vec f, df, p = fill(0.0), dp = fill(0.0);
    cutoff_function(distance, per_cutoff, f, df);
    chebyshev(base, 2.0 * shifted * shifted - 1.0, [&](int k, Vec t, Vec u) {
      p += w[k] * t + w[k];
      dp += (w[k] * k) * u;
    });
    store(slopes + j, 0.5 * (p * df + dp * f * (4.0 * shifted * per_cutoff)));
  }
}

// ---------------------------------------------------------------------- angular functions

// Calls visit(component of the cosine, P, ∂P/∂z, m, (x+iy)^m, (x+iy)^(m-1)) for all components.
struct Power {
  Vec re, im;
};

template <class Visit>
inline void harmonics_of(const Harmonics &h, int lmax, Vec x, Vec y, Vec z, const Visit &visit) {
  Power power = {fill(1.0), fill(0.0)}, below = {fill(0.0), fill(0.0)};
  for (int m = 0; m <= lmax; m++) {
    if (m > 0) {
      below = power;
      power = {below.re * x - below.im * y, below.re * y + below.im * x};
    }
    Vec p2 = fill(0.0), p1 = fill(0.0), d2 = fill(0.0), d1 = fill(0.0);
    for (int l = m; l <= lmax; l++) {
      Vec p, d;
      if (l == m) {
        p = fill(h.diagonal[m]);
        d = fill(0.0);
      } else {
        p = h.a[l][m] * (z * p1 + h.b[l][m] * p2);
        d = h.a[l][m] * (p1 + z * d1 + h.b[l][m] * d2);
      }
      if (l > 0) visit(l * l - 1 + (m ? 2 * m - 1 : 0), p, d, m, power, below);
      p2 = p1;
      p1 = p;
      d2 = d1;
      d1 = d;
    }
  }
}

// y[component] of LANES neighbours, into rows.
inline void harmonics_rows(const Harmonics &h, int lmax, int width, Vec x, Vec y, Vec z,
                           double *rows) {
  Vec value[(Harmonics::max_l + 1) * (Harmonics::max_l + 1) + widest];
  for (int c = h.ncomp; c < width; c++) value[c] = fill(0.0);
  harmonics_of(h, lmax, x, y, z, [&](int c, Vec p, Vec, int m, const Power &power, const Power &) {
    value[c] = p * power.re;
    if (m > 0) value[c + 1] = p * power.im;
  });
  for (int c = 0; c < width; c += LANES) {
    transpose_block(value + c);
    for (int i = 0; i < LANES; i++) store(rows + i * width + c, value[c + i]);
  }
}

template <bool D>
inline void angular_of(const Harmonics &h, int base, int n, const double *x, const double *y,
                       const double *z, const double *r, const double *cutoff, double *f,
                       double *df, double *rows) {
  for (int j = 0; j < n; j += LANES) {
    const Vec per_cutoff = 1.0 / load(cutoff + j), distance = load(r + j);
    const Vec shifted = distance * per_cutoff - 1.0;
    Vec half, slope;
    cutoff_function(distance, per_cutoff, half, slope);
    half *= 0.5;
    slope *= 0.5;
    const Vec dx = half * (4.0 * shifted * per_cutoff);
    chebyshev(base, 2.0 * shifted * shifted - 1.0, [&](int k, Vec t, Vec u) {
      store(f + k * n + j, t * half + half);
      if (D) store(df + k * n + j, t * slope + slope + u * (dx * static_cast<double>(k)));
    });
    const Vec rx = load(x + j), ry = load(y + j), rz = load(z + j);
    if (h.lmax == 4)
      harmonics_rows(h, 4, 24, rx, ry, rz, rows + j * 24);
    else
      harmonics_rows(h, h.lmax, h.width, rx, ry, rz, rows + j * h.width);
  }
}

void angular(const Harmonics &h, int base, int n, const double *x, const double *y, const double *z,
             const double *r, const double *cutoff, double *f, double *df, double *rows) {
  if (df)
    angular_of<true>(h, base, n, x, y, z, r, cutoff, f, df, rows);
  else
    angular_of<false>(h, base, n, x, y, z, r, cutoff, f, df, rows);
}

// ---------------------------------------------------------------------- invariants

void invariants(const Invariants &plan, int width, const double *s, double *q) {
  for (int n = 0; n < width; n += LANES) {
    const auto component = [&](int c) { return load(s + c * width + n); };
    for (int l = 1; l <= plan.lmax; l++) {
      Vec total = fill(0.0);
      for (int c = l * l - 1; c < (l + 1) * (l + 1) - 1; c++) total += component(c) * component(c);
      store(q + (l - 1) * width + n, total);
    }
    for (int h = 0; h < plan.ncubic; h++) {
      Vec total = fill(0.0);
      for (int t = plan.first[h]; t < plan.first[h + 1]; t++) {
        const Cubic &term = plan.terms[t];
        total += term.factor * component(term.i) * component(term.j) * component(term.k);
      }
      store(q + plan.place[h] * width + n, total);
    }
    if (plan.q1111 >= 0) {
      const Vec q1 = load(q + n);
      store(q + plan.q1111 * width + n, (7.0 / 15.0) * q1 * q1);
    }
    if (plan.q1122 >= 0) {
      Vec total = fill(0.0);
      for (int t = 0; t < plan.nquartic; t++) {
        const Quartic &term = plan.quartic[t];
        total += term.factor * component(term.i) * component(term.j) * component(term.k) *
                 component(term.l);
      }
      store(q + plan.q1122 * width + n, total);
    }
  }
}

void invariant_slopes(const Invariants &plan, int width, const double *s, const double *dq,
                      double *d) {
  for (int n = 0; n < width; n += LANES) {
    const auto component = [&](int c) { return load(s + c * width + n); };
    const auto add = [&](int c, Vec v) { store(d + c * width + n, load(d + c * width + n) + v); };
    for (int l = 1; l <= plan.lmax; l++) {
      Vec slope = load(dq + (l - 1) * width + n);
      if (l == 1 && plan.q1111 >= 0) {
        Vec q1 = fill(0.0);
        for (int c = 0; c < 3; c++) q1 += component(c) * component(c);
        slope += (14.0 / 15.0) * q1 * load(dq + plan.q1111 * width + n);
      }
      slope *= 2.0;
      for (int c = l * l - 1; c < (l + 1) * (l + 1) - 1; c++)
        store(d + c * width + n, slope * component(c));
    }
    for (int h = 0; h < plan.ncubic; h++) {
      const Vec slope = load(dq + plan.place[h] * width + n);
      for (int t = plan.first[h]; t < plan.first[h + 1]; t++) {
        const Cubic &term = plan.terms[t];
        const Vec w = term.factor * slope, a = component(term.i), b = component(term.j),
                  c = component(term.k);
        add(term.i, w * b * c);
        add(term.j, w * a * c);
        add(term.k, w * a * b);
      }
    }
    for (int t = 0; t < plan.nquartic; t++) {
      const Quartic &term = plan.quartic[t];
      const Vec w = term.factor * load(dq + plan.q1122 * width + n), a = component(term.i),
                b = component(term.j), c = component(term.k), e = component(term.l);
      add(term.i, w * b * c * e);
      add(term.j, w * a * c * e);
      add(term.k, w * a * b * e);
      add(term.l, w * a * b * c);
    }
  }
}

// ---------------------------------------------------------------------- network

// tanh x = 1 - 2/(1 + e^2x); ±1 to rounding beyond 20.
void activate(int n, const double *z, const double *b, double *h) {
  for (int i = 0; i < n; i += LANES) {
    Vec x = load(z + i) - load(b + i);
    x = select(x > 20.0, fill(20.0), x);
    x = select(x < -20.0, fill(-20.0), x);
    store(h + i, 1.0 - 2.0 / (1.0 + exp(2.0 * x)));
  }
}

double weigh(int n, const double *w, const double *h, double *y) {
  Vec total = fill(0.0);
  for (int i = 0; i < n; i += LANES) {
    const Vec activation = load(h + i), weight = load(w + i);
    total += weight * activation;
    store(y + i, weight * (1.0 - activation * activation));
  }
  return sum(total);
}

// ---------------------------------------------------------------------- forces

inline void forces_of(const Harmonics &h, int lmax, int width, Vec x, Vec y, Vec z, Vec r,
                      const double *rows, const double *u, const double *du, Vec *force) {
  Vec radial[LANES], value[(Harmonics::max_l + 1) * (Harmonics::max_l + 1) + widest];
  for (int i = 0; i < LANES; i++) {
    radial[i] = fill(0.0);
    for (int c = 0; c < width; c += LANES)
      radial[i] += load(du + i * width + c) * load(rows + i * width + c);
  }
  for (int c = 0; c < width; c += LANES) {
    for (int i = 0; i < LANES; i++) value[c + i] = load(u + i * width + c);
    transpose_block(value + c);
  }
  // Σ_c u_c ∇Y_c of the polynomials: u P' along z, u P ∇(x + iy)^m across.
  Vec gx = fill(0.0), gy = fill(0.0), gz = fill(0.0);
  harmonics_of(h, lmax, x, y, z,
               [&](int c, Vec p, Vec d, int m, const Power &power, const Power &below) {
                 if (m == 0) {
                   gz += value[c] * d;
                   return;
                 }
                 const Vec wp = p * static_cast<double>(m), re = value[c], im = value[c + 1];
                 gx += wp * (re * below.re + im * below.im);
                 gy += wp * (im * below.re - re * below.im);
                 gz += d * (re * power.re + im * power.im);
               });
  const Vec inverse = 1.0 / r;
  const Vec along = sums(radial) - (x * gx + y * gy + z * gz) * inverse;
  force[0] = x * along + gx * inverse;
  force[1] = y * along + gy * inverse;
  force[2] = z * along + gz * inverse;
}

void forces(const Harmonics &h, int n, const double *x, const double *y, const double *z,
            const double *r, const double *rows, const double *u, const double *du, double *force) {
  for (int j = 0; j < n; j += LANES) {
    Vec f[3];
    const int at = j * h.width;
    if (h.lmax == 4)
      forces_of(h, 4, 24, load(x + j), load(y + j), load(z + j), load(r + j), rows + at, u + at,
                du + at, f);
    else
      forces_of(h, h.lmax, h.width, load(x + j), load(y + j), load(z + j), load(r + j), rows + at,
                u + at, du + at, f);
    for (int c = 0; c < 3; c++) store(force + c * n + j, f[c]);
  }
}

void harmonic_gradients(const Harmonics &h, int n, const double *x, const double *y,
                        const double *z, const double *r, double *out) {
  for (int j = 0; j < n; j += LANES) {
    const Vec rx = load(x + j), ry = load(y + j), rz = load(z + j), inverse = 1.0 / load(r + j);
    const auto put = [&](int c, Vec value, Vec gx, Vec gy, Vec gz) {
      const Vec along = rx * gx + ry * gy + rz * gz;
      double *there = out + 4 * c * n + j;
      store(there, value);
      store(there + n, (gx - rx * along) * inverse);
      store(there + 2 * n, (gy - ry * along) * inverse);
      store(there + 3 * n, (gz - rz * along) * inverse);
    };
    harmonics_of(h, h.lmax, rx, ry, rz,
                 [&](int c, Vec p, Vec d, int m, const Power &power, const Power &below) {
                   const Vec pm = p * static_cast<double>(m);
                   put(c, p * power.re, pm * below.re, -pm * below.im, d * power.re);
                   if (m > 0) put(c + 1, p * power.im, pm * below.im, pm * below.re, d * power.im);
                 });
  }
}

}    // namespace

extern const Kernels kernel_table;
const Kernels kernel_table = {
    LANES,      locate,           multiply, transpose, radial_sums, radial_slopes,     angular,
    invariants, invariant_slopes, activate, weigh,     forces,      harmonic_gradients};

}    // namespace UQ_SIMD_LEVEL
}    // namespace nep
}    // namespace uq
