// SPDX-License-Identifier: GPL-2.0-or-later
// The arithmetic of ACE, compiled once for each instruction set. Around an atom the lanes are
// neighbours; in the graph of products the lanes are atoms of one species.
//
//   A[n,l,m] = Σ_j R_nl(r_j) Y_lm(r̂_j),  Y_lm = P_lm(z) (x + iy)^m,  R_nl = Σ_k c_nlk g_k
//   (accumulate) S = Σ_t w_t Re Π A (products, adjoint) U_lm = Σ_n R_nl ∂S/∂A_nlm,  V_lm = Σ_n
//   R'_nl ∂S/∂A_nlm ∂S/∂r_j = r̂ Σ_lm V_lm Y_lm + Σ_lm U_lm ∇Y_lm (forces)

#include "core/families/ace/plan.h"
#include "core/geometry/geometry.h"

namespace uq {
namespace ace {
namespace UQ_SIMD_LEVEL {
namespace {

constexpr double PI = 3.14159265358979323846;

// ---------------------------------------------------------------------- radial functions
// With D false, derivatives are not wanted: dg is not touched.

// A smooth factor and its derivative.
struct Factor {
  Vec f, df;
};

inline Factor operator*(const Factor &a, const Factor &b) {
  return {a.f * b.f, a.f * b.df + a.df * b.f};
}

// ½ (1 + cos π (r - start)/width), 1 below start.
inline Factor cosine_cutoff(Vec r, double start, double width) {
  Vec sine, cosine;
  sincos((r - start) * (PI / width), sine, cosine);
  const IntVec on = r > start;
  return {select(on, 0.5 + 0.5 * cosine, fill(1.0)),
          select(on, sine * (-0.5 * PI / width), fill(0.0))};
}

// 1 - P: rises from 0 at rcut_in - dcut_in to 1 at rcut_in.
inline Factor inner_cutoff(Vec r, double rcut_in, double dcut_in) {
  const Vec t = 1.0 - 2.0 * (1.0 + (r - rcut_in) / dcut_in), t2 = t * t;
  const Vec p = 0.5 + 3.75 * t * (0.25 - t2 * (1.0 / 6.0) + t2 * t2 * 0.05);
  const Vec dp = (-7.5 / dcut_in) * (0.25 - 0.5 * t2 + 0.25 * t2 * t2);
  const IntVec below = r <= rcut_in - dcut_in, above = r >= rcut_in, outside = below | above;
  return {select(below, fill(0.0), select(above, fill(1.0), 1.0 - p)),
          select(outside, fill(0.0), -dp)};
}

inline Vec power(Vec x, double exponent) {
  const int whole = static_cast<int>(exponent);
  if (whole == exponent && whole >= 0 && whole <= 16) {
    Vec y = fill(1.0);
    for (int i = 0; i < whole; i++) y *= x;
    return y;
  }
  for (int i = 0; i < LANES; i++) x[i] = pow(x[i], exponent);
  return x;
}

// ½ - ½ T_{k + first}(x) times the factor, k = 0 .. n - 1; T_0 itself where k + first = 0. dx =
// dx/dr.
template <bool D>
inline void chebyshev(int n, int first, Vec x, Vec dx, const Factor &factor, int stride, Vec *g,
                      Vec *dg) {
  Vec t0 = fill(1.0), t1 = x, d0 = fill(0.0), d1 = dx;
  for (int k = -first; k < n; k++) {
    if (k >= 0) {
      const bool constant = k + first == 0;
      const Vec v = constant ? t0 : 0.5 - 0.5 * t0, dv = constant ? d0 : -0.5 * d0;
      g[k * stride] = v * factor.f;
      if (D) dg[k * stride] = v * factor.df + dv * factor.f;
    }
    const Vec t2 = 2.0 * x * t1 - t0, d2 = 2.0 * (dx * t1 + x * d1) - d0;
    t0 = t1;
    t1 = t2;
    d0 = d1;
    d1 = d2;
  }
}

template <bool D>
inline void simplified_bessel(const RadialPlan &p, Vec r, const Factor &factor, int stride, Vec *g,
                              Vec *dg) {
  const Vec theta = r * (PI / p.rcut), inverse_theta = 1.0 / theta, inverse_r = 1.0 / r;
  Vec s1, c1;
  sincos(theta, s1, c1);
  Vec s = s1, c = c1;    // of (n + 1) θ
  Vec sinc = s * inverse_theta, dsinc = (c - sinc) * inverse_r;
  Vec previous = fill(0.0), dprevious = fill(0.0);
  for (int n = 0; n < p.nbase; n++) {
    const Vec s_next = s * c1 + c * s1;
    c = c * c1 - s * s1;
    s = s_next;
    const Vec sinc_next = s * inverse_theta * (1.0 / (n + 2)),
              dsinc_next = (c - sinc_next) * inverse_r;
    const double *constants = p.bessel + 3 * n;
    previous = (constants[0] * (sinc + sinc_next) + constants[1] * previous) * constants[2];
    dprevious = (constants[0] * (dsinc + dsinc_next) + constants[1] * dprevious) * constants[2];
    g[n * stride] = previous * factor.f;
    if (D) dg[n * stride] = previous * factor.df + dprevious * factor.f;
    sinc = sinc_next;
    dsinc = dsinc_next;
  }
}

// Cubic Hermite interpolation between the nodes of the table, zero from the last node on.
template <bool D> inline void splines(const RadialPlan &p, Vec r, int stride, Vec *g, Vec *dg) {
  const double per_length = p.nbins / p.rcut;
  for (int i = 0; i < LANES; i++) {
    const double x = r[i] * per_length;
    int bin = x < p.nbins ? static_cast<int>(x) : p.nbins;
    const bool inside = bin < p.nbins;
    if (bin < 1) bin = 1;
    if (!inside) bin = p.nbins - 1;
    const double w = x - bin, *node = p.table + 2 * static_cast<int64_t>(p.nbase) * bin,
                 *next = node + 2 * p.nbase;
    for (int k = 0; k < p.nbase; k++) {
      const double f0 = node[2 * k], d0 = node[2 * k + 1], f1 = next[2 * k], d1 = next[2 * k + 1];
      const double c2 = 3.0 * (f1 - f0) - d1 - 2.0 * d0, c3 = -2.0 * (f1 - f0) + d1 + d0;
      g[k * stride][i] = inside ? f0 + w * (d0 + w * (c2 + w * c3)) : 0.0;
      if (D) dg[k * stride][i] = inside ? (d0 + w * (2.0 * c2 + w * 3.0 * c3)) * per_length : 0.0;
    }
  }
}

template <bool D> void radial_base(const RadialPlan &p, Vec r, int stride, Vec *g, Vec *dg) {
  if (p.table) return splines<D>(p, r, stride, g, dg);
  const IntVec inside = r < p.rcut;
  Factor factor = {select(inside, fill(1.0), fill(0.0)), fill(0.0)};
  if (p.dcut_in > 0.0 && any(r < p.rcut_in))
    factor = factor * inner_cutoff(r, p.rcut_in, p.dcut_in);
  const double per_cutoff = 1.0 / p.rcut;
  switch (p.basis) {
  case 0: {    // ChebExpCos
    const double scale = 2.0 / (1.0 - p.end);
    const Vec y = exp(r * (-p.lambda * per_cutoff));
    factor = factor * cosine_cutoff(r, 0.0, p.rcut);
    if (p.dcut > 0.0 && any(r > p.rcut - p.dcut))
      factor = factor * cosine_cutoff(r, p.rcut - p.dcut, p.dcut);
    chebyshev<D>(p.nbase, 0, 1.0 - (y - p.end) * scale, y * (scale * p.lambda * per_cutoff), factor,
                 stride, g, dg);
    break;
  }
  case 1: {    // ChebPow
    // Rounding may take u below 0 at the cutoff, where padding stands: no power, or an infinite
    // one.
    const Vec left = 1.0 - r * per_cutoff, u = select(left > 1e-100, left, fill(1e-100)),
              low = power(u, p.lambda - 1.0);
    chebyshev<D>(p.nbase, 1, 1.0 - 2.0 * low * u, low * (2.0 * p.lambda * per_cutoff), factor,
                 stride, g, dg);
    break;
  }
  case 2:    // ChebLinear
    chebyshev<D>(p.nbase, 1, 1.0 - r * per_cutoff, fill(-per_cutoff), factor, stride, g, dg);
    break;
  default:
    simplified_bessel<D>(p, r, factor, stride, g, dg);
  }
}

// ---------------------------------------------------------------------- contractions

// out_i = Σ_k c[k * sk + i * si] f_k, i < M, for functions f and df at once.
template <int M, bool D>
inline void contract_tile(int nk, const double *c, int sk, int si, const Vec *f, const Vec *df,
                          int stride, Vec *out, Vec *dout, int ostride) {
  Vec a[M], b[M];
  for (int i = 0; i < M; i++) a[i] = b[i] = fill(0.0);
  for (int k = 0; k < nk; k++) {
    const Vec v = f[k * stride], dv = D ? df[k * stride] : v;
    for (int i = 0; i < M; i++) {
      const Vec w = fill(c[k * sk + i * si]);
      a[i] += w * v;
      if (D) b[i] += w * dv;
    }
  }
  for (int i = 0; i < M; i++) {
    out[i * ostride] = a[i];
    if (D) dout[i * ostride] = b[i];
  }
}

template <bool D>
void contract(int n, int nk, const double *c, int sk, int si, const Vec *f, const Vec *df,
              int stride, Vec *out, Vec *dout, int ostride) {
  int i = 0;
  for (; i + 5 <= n; i += 5)
    contract_tile<5, D>(nk, c + i * si, sk, si, f, df, stride, out + i * ostride,
                        D ? dout + i * ostride : dout, ostride);
  c += i * si;
  out += i * ostride;
  if (D) dout += i * ostride;
  switch (n - i) {
  case 4:
    contract_tile<4, D>(nk, c, sk, si, f, df, stride, out, dout, ostride);
    break;
  case 3:
    contract_tile<3, D>(nk, c, sk, si, f, df, stride, out, dout, ostride);
    break;
  case 2:
    contract_tile<2, D>(nk, c, sk, si, f, df, stride, out, dout, ostride);
    break;
  case 1:
    contract_tile<1, D>(nk, c, sk, si, f, df, stride, out, dout, ostride);
    break;
  }
}

// sums[n * ld + c] += Σ_v R[n][v] Y[c][v], an N x M tile kept in registers over the vectors of a
// bundle.
template <int N, int M>
inline void outer_tile(int nv, const Vec *radial, const Vec *angular, int ld, Vec *sums) {
  Vec a[N][M];
  for (int i = 0; i < N; i++)
    for (int j = 0; j < M; j++) a[i][j] = sums[i * ld + j];
  for (int v = 0; v < nv; v++) {
    Vec y[M];
    for (int j = 0; j < M; j++) y[j] = angular[j * bundle + v];
    for (int i = 0; i < N; i++)
      for (int j = 0; j < M; j++) a[i][j] += radial[i * bundle + v] * y[j];
  }
  for (int i = 0; i < N; i++)
    for (int j = 0; j < M; j++) sums[i * ld + j] = a[i][j];
}

template <int N>
inline void outer_rows(int ncomp, int nv, const Vec *radial, const Vec *angular, Vec *sums) {
  int c = 0;
  for (; c + 4 <= ncomp; c += 4)
    outer_tile<N, 4>(nv, radial, angular + c * bundle, ncomp, sums + c);
  switch (ncomp - c) {
  case 3:
    outer_tile<N, 3>(nv, radial, angular + c * bundle, ncomp, sums + c);
    break;
  case 2:
    outer_tile<N, 2>(nv, radial, angular + c * bundle, ncomp, sums + c);
    break;
  case 1:
    outer_tile<N, 1>(nv, radial, angular + c * bundle, ncomp, sums + c);
    break;
  }
}

void outer(int nradial, int ncomp, int nv, const Vec *radial, const Vec *angular, Vec *sums) {
  int n = 0;
  for (; n + 4 <= nradial; n += 4)
    outer_rows<4>(ncomp, nv, radial + n * bundle, angular, sums + n * ncomp);
  switch (nradial - n) {
  case 3:
    outer_rows<3>(ncomp, nv, radial + n * bundle, angular, sums + n * ncomp);
    break;
  case 2:
    outer_rows<2>(ncomp, nv, radial + n * bundle, angular, sums + n * ncomp);
    break;
  case 1:
    outer_rows<1>(ncomp, nv, radial + n * bundle, angular, sums + n * ncomp);
    break;
  }
}

// ---------------------------------------------------------------------- angular functions

// Real and imaginary parts of Y_lm, l <= lmax, at angular[(l² + c) * bundle].
void harmonics(const Legendre &legendre, int lmax, Vec x, Vec y, Vec z, Vec *angular) {
  Vec c = fill(1.0), s = fill(0.0), diagonal = fill(1.0);
  for (int m = 0; m <= lmax; m++) {
    if (m > 0) {
      const Vec c_next = c * x - s * y;
      s = c * y + s * x;
      c = c_next;
      diagonal *= legendre.diagonal[m];
    }
    Vec p2 = fill(0.0), p1 = diagonal;
    const double *a = legendre.a + m * (max_l + 1), *b = legendre.b + m * (max_l + 1);
    for (int l = m; l <= lmax; l++) {
      Vec p = p1;
      if (l == m + 1) p = legendre.first[m] * z * p1;
      if (l > m + 1) p = a[l] * (z * p1 + b[l] * p2);
      if (m == 0) {
        angular[l * l * bundle] = p;
      } else {
        angular[(l * l + 2 * m - 1) * bundle] = p * c;
        angular[(l * l + 2 * m) * bundle] = p * s;
      }
      p2 = p1;
      p1 = p;
    }
  }
}

// Y_lm and the part of its gradient across r̂ times r, at [(l² + c) * 4 + (0: Y, 1..3: x, y, z)].
void harmonics_gradient(const Legendre &legendre, int lmax, Vec x, Vec y, Vec z, Vec *out) {
  Vec c = fill(1.0), s = fill(0.0), diagonal = fill(1.0);
  const auto put = [&](int lm, Vec value, Vec gx, Vec gy, Vec gz) {
    const Vec along = x * gx + y * gy + z * gz;
    out[4 * lm] = value;
    out[4 * lm + 1] = gx - x * along;
    out[4 * lm + 2] = gy - y * along;
    out[4 * lm + 3] = gz - z * along;
  };
  for (int m = 0; m <= lmax; m++) {
    const Vec c_below = c * static_cast<double>(m), s_below = s * static_cast<double>(m);
    if (m > 0) {
      const Vec c_next = c * x - s * y;
      s = c * y + s * x;
      c = c_next;
      diagonal *= legendre.diagonal[m];
    }
    Vec p2 = fill(0.0), p1 = diagonal, d2 = fill(0.0), d1 = fill(0.0);
    const double *a = legendre.a + m * (max_l + 1), *b = legendre.b + m * (max_l + 1);
    for (int l = m; l <= lmax; l++) {
      Vec p = p1, d = d1;
      if (l == m + 1) {
        p = legendre.first[m] * z * p1;
        d = legendre.first[m] * p1;
      }
      if (l > m + 1) {
        p = a[l] * (z * p1 + b[l] * p2);
        d = a[l] * (p1 + z * d1 + b[l] * d2);
      }
      if (m == 0) {
        put(l * l, p, fill(0.0), fill(0.0), d);
      } else {
        put(l * l + 2 * m - 1, p * c, p * c_below, -p * s_below, d * c);
        put(l * l + 2 * m, p * s, p * s_below, p * c_below, d * s);
      }
      p2 = p1;
      p1 = p;
      d2 = d1;
      d1 = d;
    }
  }
}

// Radial derivative v = Σ V_lm Y_lm and gradient (gx, gy, gz) = Σ U_lm ∂Y_lm/∂(x, y, z) of the
// polynomials.
void angular_gradient(const Legendre &legendre, int lmax, Vec x, Vec y, Vec z, const Vec *u,
                      const Vec *du, Vec &v, Vec &gx, Vec &gy, Vec &gz) {
  Vec c = fill(1.0), s = fill(0.0), diagonal = fill(1.0);
  for (int m = 0; m <= lmax; m++) {
    const Vec c_below = c * static_cast<double>(m), s_below = s * static_cast<double>(m);
    if (m > 0) {
      const Vec c_next = c * x - s * y;
      s = c * y + s * x;
      c = c_next;
      diagonal *= legendre.diagonal[m];
    }
    Vec p2 = fill(0.0), p1 = diagonal, d2 = fill(0.0), d1 = fill(0.0);
    Vec ur = fill(0.0), ui = ur, dr = ur, di = ur, vr = ur, vi = ur;
    const double *a = legendre.a + m * (max_l + 1), *b = legendre.b + m * (max_l + 1);
    for (int l = m; l <= lmax; l++) {
      Vec p = p1, d = d1;
      if (l == m + 1) {
        p = legendre.first[m] * z * p1;
        d = legendre.first[m] * p1;
      }
      if (l > m + 1) {
        p = a[l] * (z * p1 + b[l] * p2);
        d = a[l] * (p1 + z * d1 + b[l] * d2);
      }
      const int re = m == 0 ? l * l : l * l + 2 * m - 1;
      ur += u[re] * p;
      dr += u[re] * d;
      vr += du[re] * p;
      if (m > 0) {
        ui += u[re + 1] * p;
        di += u[re + 1] * d;
        vi += du[re + 1] * p;
      }
      p2 = p1;
      p1 = p;
      d2 = d1;
      d1 = d;
    }
    v += vr * c + vi * s;
    gx += ur * c_below + ui * s_below;
    gy += ui * c_below - ur * s_below;
    gz += dr * c + di * s;
  }
}

// ---------------------------------------------------------------------- passes over neighbours

void accumulate(const BondPlan &bond, const Legendre &legendre, int n, const double *x,
                const double *y, const double *z, const double *r, double *scratch,
                double *components) {
  const int nbase = bond.radial.nbase, nvectors = n / LANES;
  Vec *g = reinterpret_cast<Vec *>(scratch), *radial = g + nbase * bundle;
  Vec *angular = radial + bond.nradial * bundle;
  Vec *partial = angular + (bond.lmax + 1) * (bond.lmax + 1) * bundle;
  for (int c = 0; c < bond.ncomp; c++) partial[c] = fill(0.0);

  for (int start = 0; start < nvectors; start += bundle) {
    const int nv = nvectors - start < bundle ? nvectors - start : bundle;
    for (int v = 0; v < nv; v++) {
      const int j = (start + v) * LANES;
      radial_base<false>(bond.radial, load(r + j), bundle, g + v, nullptr);
      for (int k = 0; k < bond.nrank1; k++)
        partial[bond.comp1 - bond.comp0 + k] += g[k * bundle + v];
      if (bond.lmax >= 0)
        harmonics(legendre, bond.lmax, load(x + j), load(y + j), load(z + j), angular + v);
      for (int l = 0, row = 0; l <= bond.lmax && !bond.identity; row += bond.nchannels[l++])
        contract<false>(bond.nchannels[l], nbase, bond.crad[l], 1, nbase, g + v, nullptr, bundle,
                        radial + row * bundle + v, nullptr, bundle);
    }
    for (int l = 0, row = 0; l <= bond.lmax; row += bond.nchannels[l++])
      outer(bond.nchannels[l], 2 * l + 1, nv, bond.identity ? g : radial + row * bundle,
            angular + l * l * bundle, partial + bond.comp[l] - bond.comp0);
  }
  double *out = components + bond.comp0 * LANES;
  int c = 0;
  for (; c + LANES <= bond.ncomp; c += LANES) {
    const Vec totals = sums(partial + c);
    for (int i = 0; i < LANES; i++) out[(c + i) * LANES] = totals[i];
  }
  for (; c < bond.ncomp; c++) out[c * LANES] = sum(partial[c]);
}

void forces(const BondPlan &bond, const Legendre &legendre, int n, const double *x, const double *y,
            const double *z, const double *r, int ncotangents, int ncomp, const double *derivative,
            double *scratch, double *force) {
  const int nbase = bond.radial.nbase;
  Vec *g = reinterpret_cast<Vec *>(scratch), *dg = g + nbase;
  Vec *radial = dg + nbase, *dradial = radial + bond.nradial;
  Vec *u = dradial + bond.nradial, *du = u + (bond.lmax + 1) * (bond.lmax + 1);

  for (int j = 0; j < n; j += LANES) {
    const Vec rx = load(x + j), ry = load(y + j), rz = load(z + j), distance = load(r + j);
    radial_base<true>(bond.radial, distance, 1, g, dg);
    for (int l = 0, row = 0; l <= bond.lmax && !bond.identity; row += bond.nchannels[l++])
      contract<true>(bond.nchannels[l], nbase, bond.crad[l], 1, nbase, g, dg, 1, radial + row,
                     dradial + row, 1);
    for (int s = 0; s < ncotangents; s++) {
      const double *w = derivative + s * ncomp;
      Vec v = fill(0.0), gx = v, gy = v, gz = v;
      for (int k = 0; k < bond.nrank1; k++) v += w[bond.comp1 + k] * dg[k];
      for (int l = 0, row = 0; l <= bond.lmax; row += bond.nchannels[l++])
        contract<true>(2 * l + 1, bond.nchannels[l], w + bond.comp[l], 2 * l + 1, 1,
                       bond.identity ? g : radial + row, bond.identity ? dg : dradial + row, 1,
                       u + l * l, du + l * l, 1);
      if (bond.lmax >= 0) angular_gradient(legendre, bond.lmax, rx, ry, rz, u, du, v, gx, gy, gz);
      const Vec inverse = 1.0 / distance, along = v - (rx * gx + ry * gy + rz * gz) * inverse;
      double *f = force + 3 * s * n + j;
      store(f, rx * along + gx * inverse);
      store(f + n, ry * along + gy * inverse);
      store(f + 2 * n, rz * along + gz * inverse);
    }
  }
}

void component_gradients(const BondPlan &bond, const Legendre &legendre, int n, const double *x,
                         const double *y, const double *z, const double *r, double *scratch,
                         double *out) {
  const int nbase = bond.radial.nbase;
  Vec *g = reinterpret_cast<Vec *>(scratch), *dg = g + nbase;
  Vec *radial = dg + nbase, *dradial = radial + bond.nradial;
  Vec *angular = dradial + bond.nradial;
  const auto put = [&](int component, int j, Vec fx, Vec fy, Vec fz) {
    double *target = out + 3 * static_cast<int64_t>(component - bond.comp0) * n + j;
    store(target, fx);
    store(target + n, fy);
    store(target + 2 * n, fz);
  };
  for (int j = 0; j < n; j += LANES) {
    const Vec rx = load(x + j), ry = load(y + j), rz = load(z + j), distance = load(r + j);
    const Vec inverse = 1.0 / distance;
    radial_base<true>(bond.radial, distance, 1, g, dg);
    for (int l = 0, row = 0; l <= bond.lmax && !bond.identity; row += bond.nchannels[l++])
      contract<true>(bond.nchannels[l], nbase, bond.crad[l], 1, nbase, g, dg, 1, radial + row,
                     dradial + row, 1);
    for (int k = 0; k < bond.nrank1; k++)
      put(bond.comp1 + k, j, dg[k] * rx, dg[k] * ry, dg[k] * rz);
    if (bond.lmax >= 0) harmonics_gradient(legendre, bond.lmax, rx, ry, rz, angular);
    for (int l = 0, row = 0; l <= bond.lmax; row += bond.nchannels[l++])
      for (int i = 0; i < bond.nchannels[l]; i++) {
        const Vec across = (bond.identity ? g[i] : radial[row + i]) * inverse;
        const Vec along = bond.identity ? dg[i] : dradial[row + i];
        for (int c = 0; c < 2 * l + 1; c++) {
          const Vec *y = angular + 4 * (l * l + c), value = along * y[0];
          put(bond.comp[l] + i * (2 * l + 1) + c, j, value * rx + across * y[1],
              value * ry + across * y[2], value * rz + across * y[3]);
        }
      }
  }
}

// ---------------------------------------------------------------------- graph of products

struct Complex {
  Vec re, im;
};

// The real or the imaginary part of a node.
struct Half {
  Vec v;
};

template <class Number> Number load_number(const double *nodes, int i);
template <> inline Complex load_number(const double *nodes, int i) {
  return {load(nodes + 2 * i * LANES), load(nodes + (2 * i + 1) * LANES)};
}
template <> inline Half load_number(const double *nodes, int i) {
  return {load(nodes + i * LANES)};
}

inline Complex load_node(const double *nodes, int i) {
  return load_number<Complex>(nodes, i);
}

inline void store_node(double *nodes, int i, const Complex &c) {
  store(nodes + 2 * i * LANES, c.re);
  store(nodes + (2 * i + 1) * LANES, c.im);
}

inline Complex operator*(const Complex &a, const Complex &b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

inline Complex conjugate(const Complex &c) {
  return {c.re, -c.im};
}

// Re(a b*), and the same of halves.
inline Vec dot(const Complex &a, const Complex &b) {
  return a.re * b.re + a.im * b.im;
}

inline Vec dot(Half a, Half b) {
  return a.v * b.v;
}

inline Complex operator*(Vec f, const Complex &c) {
  return {f * c.re, f * c.im};
}

inline Half operator*(Vec f, Half h) {
  return {f * h.v};
}

inline void operator+=(Complex &a, const Complex &b) {
  a.re += b.re;
  a.im += b.im;
}

inline void operator+=(Half &a, Half b) {
  a.v += b.v;
}

inline void add_number(double *nodes, int i, const Complex &c) {
  const Complex old = load_node(nodes, i);
  store_node(nodes, i, {old.re + c.re, old.im + c.im});
}

inline void add_number(double *nodes, int i, Half h) {
  store(nodes + i * LANES, load(nodes + i * LANES) + h.v);
}

void make_leaves(const ProductPlan &plan, const double *components, double *nodes) {
  for (int i = 0; i < plan.nleaf; i++) {
    Complex leaf = {load(components + plan.leaf_re[i] * LANES), fill(0.0)};
    if (plan.leaf_im[i] >= 0) leaf.im = load(components + plan.leaf_im[i] * LANES);
    store_node(nodes, i, leaf);
  }
}

// A factor of a node, conjugate where the sign is -1.
inline Complex load_factor(const double *nodes, int i, double sign) {
  const Complex c = load_node(nodes, i);
  return {c.re, sign * c.im};
}

// Where the inner nodes of a segment stand.
inline int first_inner(const ProductPlan &plan, int segment) {
  return segment ? plan.nshared : plan.nleaf;
}

void make_nodes(const ProductPlan &plan, int segment, double *nodes) {
  int node = first_inner(plan, segment);
  for (int group = plan.segment_node[segment]; group < plan.segment_node[segment + 1]; group++) {
    const Complex a = load_factor(nodes, plan.node_a[group], plan.sign_a[group]);
    for (int i = plan.node_first[group]; i < plan.node_first[group + 1]; i++)
      store_node(nodes, node++, a * load_factor(nodes, plan.node_b[i], plan.sign_b[i]));
  }
}

template <int W> struct Width {
  static constexpr int value = W;
};

// visit(Number, Width, begin, end) for each kind of tiles of a segment.
template <class Visit>
inline void for_tiles(const ProductPlan &plan, int segment, const Visit &visit) {
  const int *tile = plan.segment_tile + 6 * segment;
  visit(Complex(), Width<4>(), tile[0], tile[1]);
  visit(Complex(), Width<2>(), tile[1], tile[2]);
  visit(Complex(), Width<1>(), tile[2], tile[3]);
  visit(Half(), Width<4>(), tile[3], tile[4]);
  visit(Half(), Width<2>(), tile[4], tile[5]);
  visit(Half(), Width<1>(), tile[5], tile[6]);
}

template <class Number, int W>
void products_of_tiles(const ProductPlan &plan, int begin, int end, const double *nodes,
                       double *products) {
  for (int tile = begin; tile < end; tile++) {
    const int *leader = plan.leader + plan.tile_leader[tile];
    Number a[W];
    for (int i = 0; i < W; i++) a[i] = load_number<Number>(nodes, leader[i]);
    double *out = products + plan.tile_product[tile] * LANES;
    for (int j = plan.tile_partner[tile]; j < plan.tile_partner[tile + 1]; j++) {
      const auto b = load_number<Number>(nodes, plan.partner[j]);
      for (int i = 0; i < W; i++, out += LANES) store(out, dot(a[i], b));
    }
  }
}

void make_products(const ProductPlan &plan, const double *components, double *nodes,
                   double *products) {
  for (int t = 0; t < plan.nlinear; t++)
    store(products + t * LANES, load(components + plan.linear[t] * LANES));
  make_leaves(plan, components, nodes);
  for (int segment = 0; segment < plan.nsegment; segment++) {
    make_nodes(plan, segment, nodes);
    for_tiles(plan, segment, [&](auto number, auto width, int begin, int end) {
      products_of_tiles<decltype(number), width.value>(plan, begin, end, nodes, products);
    });
  }
}

// Adds the lanes of vectors that come one by one up, each to the next of a row of numbers.
class LaneSums {
 public:
  explicit LaneSums(double *out) : out_(out) {}
  void add(Vec v) {
    waiting_[n_++] = v;
    if (n_ < LANES) return;
    const Vec totals = sums(waiting_);
    for (int i = 0; i < LANES; i++) out_[i] += totals[i];
    out_ += LANES;
    n_ = 0;
  }
  void finish() {
    for (int i = 0; i < n_; i++) out_[i] += sum(waiting_[i]);
  }

 private:
  double *out_;
  Vec waiting_[LANES];
  int n_ = 0;
};

void add_products(int nproduct, const double *products, const double *scale, double *sums) {
  const Vec f = load(scale);
  LaneSums out(sums);
  for (int t = 0; t < nproduct * LANES; t += LANES) out.add(f * load(products + t));
  out.finish();
}

template <class Number, int W, int N>
void sum_of_tiles(const ProductPlan &plan, int begin, int end, const double *nodes,
                  const double *scale, LaneSums &out) {
  const int64_t stride = 2 * static_cast<int64_t>(plan.nnode) * LANES;
  for (int tile = begin; tile < end; tile++) {
    const int *leader = plan.leader + plan.tile_leader[tile];
    Number a[N][W];
    for (int n = 0; n < N; n++)
      for (int i = 0; i < W; i++)
        a[n][i] = load(scale + n * LANES) * load_number<Number>(nodes + n * stride, leader[i]);
    for (int j = plan.tile_partner[tile]; j < plan.tile_partner[tile + 1]; j++) {
      Vec s[W];
      for (int i = 0; i < W; i++) s[i] = fill(0.0);
      for (int n = 0; n < N; n++) {
        const auto b = load_number<Number>(nodes + n * stride, plan.partner[j]);
        for (int i = 0; i < W; i++) s[i] += dot(a[n][i], b);
      }
      for (int i = 0; i < W; i++) out.add(s[i]);
    }
  }
}

template <int N>
void sum_of_blocks(const ProductPlan &plan, const double *components, double *nodes,
                   const double *scale, double *sums) {
  const int64_t component_stride = static_cast<int64_t>(plan.ncomp) * LANES;
  const int64_t node_stride = 2 * static_cast<int64_t>(plan.nnode) * LANES;
  LaneSums out(sums);
  for (int t = 0; t < plan.nlinear; t++) {
    Vec s = fill(0.0);
    for (int b = 0; b < N; b++)
      s += load(scale + b * LANES) *
           load(components + b * component_stride + plan.linear[t] * LANES);
    out.add(s);
  }
  for (int b = 0; b < N; b++)
    make_leaves(plan, components + b * component_stride, nodes + b * node_stride);
  for (int segment = 0; segment < plan.nsegment; segment++) {
    for (int b = 0; b < N; b++) make_nodes(plan, segment, nodes + b * node_stride);
    for_tiles(plan, segment, [&](auto number, auto width, int begin, int end) {
      sum_of_tiles<decltype(number), width.value, N>(plan, begin, end, nodes, scale, out);
    });
  }
  out.finish();
}

void sum_products(const ProductPlan &plan, int nblocks, const double *components, double *nodes,
                  const double *scale, double *sums) {
  static_assert(sum_blocks == 4, "one case for each number of blocks");
  if (nblocks == 1) sum_of_blocks<1>(plan, components, nodes, scale, sums);
  if (nblocks == 2) sum_of_blocks<2>(plan, components, nodes, scale, sums);
  if (nblocks == 3) sum_of_blocks<3>(plan, components, nodes, scale, sums);
  if (nblocks == 4) sum_of_blocks<4>(plan, components, nodes, scale, sums);
}

void combine(int nproduct, const double *weights, const double *products, double *out) {
  Vec s0 = fill(0.0), s1 = fill(0.0);
  int t = 0;
  for (; t + 2 <= nproduct; t += 2) {
    s0 += weights[t] * load(products + t * LANES);
    s1 += weights[t + 1] * load(products + (t + 1) * LANES);
  }
  if (t < nproduct) s0 += weights[t] * load(products + t * LANES);
  store(out, s0 + s1);
}

void couple(int nrow, const int *first, const int *column, const double *value, const double *in,
            double *out) {
  for (int row = 0; row < nrow; row++) {
    Vec s = fill(0.0);
    for (int t = first[row]; t < first[row + 1]; t++) s += value[t] * load(in + column[t] * LANES);
    store(out + row * LANES, s);
  }
}

void spread(int nrow, const int *first, const int *column, const double *value, const double *in,
            double *out) {
  for (int row = 0; row < nrow; row++) {
    const Vec w = load(in + row * LANES);
    for (int t = first[row]; t < first[row + 1]; t++) {
      double *target = out + column[t] * LANES;
      store(target, load(target) + value[t] * w);
    }
  }
}

void product_gradients(const FactorPlan &factors, const double *nodes, double *gradients) {
  const auto factor = [&](int i) {
    const Complex leaf = load_node(nodes, factors.factor[i] / 2);
    return factors.factor[i] % 2 ? conjugate(leaf) : leaf;
  };
  for (int t = 0; t < factors.nproduct; t++) {
    const int begin = factors.first[t], n = factors.first[t + 1] - begin;
    Complex others[max_rank];    // the product of all factors before, then of all but one
    Complex before = {fill(1.0), fill(0.0)}, after = before;
    for (int i = 0; i < n; i++) {
      others[i] = before;
      before = before * factor(begin + i);
    }
    for (int i = n - 1; i >= 0; i--) {
      const Complex q = others[i] * after;
      store(gradients + 2 * (begin + i) * LANES, q.re);
      store(gradients + (2 * (begin + i) + 1) * LANES,
            factors.factor[begin + i] % 2 ? q.im : -q.im);
      after = after * factor(begin + i);
    }
  }
}

// A tile of M vectors of one row.
template <int M>
inline void sparse_tile(int begin, int end, const int *column, const double *value,
                        const double *matrix, int width, double *out) {
  Vec s[M];
  for (int i = 0; i < M; i++) s[i] = fill(0.0);
  for (int e = begin; e < end; e++) {
    const double *row = matrix + static_cast<int64_t>(column[e]) * width;
    const Vec w = fill(value[static_cast<int64_t>(e) * LANES]);
    for (int i = 0; i < M; i++) s[i] += w * load(row + i * LANES);
  }
  for (int i = 0; i < M; i++) store(out + i * LANES, s[i]);
}

void sparse_rows(int nrow, const int *first, const int *column, const double *value,
                 const double *matrix, int width, double *out) {
  for (int row = 0; row < nrow; row++) {
    const int begin = first[row], end = first[row + 1];
    int i = 0;
    for (; i + 8 * LANES <= width; i += 8 * LANES)
      sparse_tile<8>(begin, end, column, value, matrix + i, width, out + row * width + i);
    for (; i + 2 * LANES <= width; i += 2 * LANES)
      sparse_tile<2>(begin, end, column, value, matrix + i, width, out + row * width + i);
    if (i < width)
      sparse_tile<1>(begin, end, column, value, matrix + i, width, out + row * width + i);
  }
}

enum class WeightKind { Shared, SharedAndExtra, PerLane };

template <WeightKind kind> inline Vec weight(const ProductWeights &w, int t) {
  if (kind == WeightKind::PerLane) return load(w.base + t * LANES);
  if (kind == WeightKind::SharedAndExtra) return w.base[t] + w.extra[t] * load(w.extra_lane);
  return fill(w.base[t]);
}

// The adjoint of a node or half is ∂S/∂Re + i ∂S/∂Im. A product w Re(a b*) gives a the adjoint
// w b and b the adjoint w a; a node ab with the adjoint q gives a the adjoint q b* and b q a*.
template <class Number, int W, int S, WeightKind kind>
void adjoint_tiles(const ProductPlan &plan, int begin, int end, const double *nodes,
                   const ProductWeights *weights, double *adjoint, Vec *value) {
  const int size = 2 * plan.nnode * LANES;
  ProductWeights w[S];
  for (int s = 0; s < S; s++) w[s] = weights[s];
  for (int tile = begin; tile < end; tile++) {
    const int *leader = plan.leader + plan.tile_leader[tile];
    Number a[W], total[S][W] = {};
    for (int i = 0; i < W; i++) a[i] = load_number<Number>(nodes, leader[i]);
    int t = plan.tile_product[tile];
    for (int j = plan.tile_partner[tile]; j < plan.tile_partner[tile + 1]; j++, t += W) {
      const int ib = plan.partner[j];
      const auto b = load_number<Number>(nodes, ib);
      for (int s = 0; s < S; s++) {
        Number own = {};
        for (int i = 0; i < W; i++) {
          const Vec f = weight<kind>(w[s], t + i);
          total[s][i] += f * b;
          own += f * a[i];
        }
        add_number(adjoint + s * size, ib, own);
      }
    }
    for (int s = 0; s < S; s++)
      for (int i = 0; i < W; i++) {
        value[s] += dot(a[i], total[s][i]);
        add_number(adjoint + s * size, leader[i], total[s][i]);
      }
  }
}

// Takes the adjoint of a node and leaves zero.
inline Complex take_node(double *adjoint, int i) {
  const Complex q = load_node(adjoint, i);
  store_node(adjoint, i, {fill(0.0), fill(0.0)});
  return q;
}

template <int S>
void adjoint_nodes(const ProductPlan &plan, int segment, const double *nodes, double *adjoint) {
  const int size = 2 * plan.nnode * LANES, begin = plan.segment_node[segment],
            end = plan.segment_node[segment + 1];
  int node = first_inner(plan, segment) + plan.node_first[end] - plan.node_first[begin];
  for (int group = end - 1; group >= begin; group--) {
    const int ia = plan.node_a[group];
    const double sign_a = plan.sign_a[group];
    const Complex a = load_factor(nodes, ia, sign_a);
    Complex total[S] = {};
    for (int i = plan.node_first[group + 1] - 1; i >= plan.node_first[group]; i--) {
      const int ib = plan.node_b[i];
      const double sign_b = plan.sign_b[i];
      const Complex b = load_factor(nodes, ib, sign_b);
      node--;
      for (int s = 0; s < S; s++) {
        const Complex q = take_node(adjoint + s * size, node), qa = q * conjugate(a);
        total[s] += q * conjugate(b);
        add_number(adjoint + s * size, ib, Complex{qa.re, sign_b * qa.im});
      }
    }
    for (int s = 0; s < S; s++)
      add_number(adjoint + s * size, ia, Complex{total[s].re, sign_a * total[s].im});
  }
}

void adjoint_leaves(const ProductPlan &plan, double *adjoint, double *derivative) {
  for (int i = 0; i < plan.nleaf; i++) {
    const Complex q = take_node(adjoint, i);
    store(derivative + plan.leaf_re[i] * LANES, q.re);
    if (plan.leaf_im[i] >= 0) store(derivative + plan.leaf_im[i] * LANES, q.im);
  }
}

template <int S, WeightKind kind>
void adjoint_pass(const ProductPlan &plan, const double *components, double *nodes,
                  const ProductWeights *weights, double *adjoint, double *value,
                  double *derivative) {
  for (int i = 0; i < S * plan.ncomp; i++) store(derivative + i * LANES, fill(0.0));
  Vec total[S];
  for (int s = 0; s < S; s++) {
    total[s] = fill(0.0);
    double *d = derivative + s * plan.ncomp * LANES;
    for (int t = 0; t < plan.nlinear; t++) {
      const Vec w = weight<kind>(weights[s], t);
      total[s] += w * load(components + plan.linear[t] * LANES);
      store(d + plan.linear[t] * LANES, w);
    }
  }
  make_leaves(plan, components, nodes);
  for (int segment = 0; segment < plan.nsegment; segment++) {
    make_nodes(plan, segment, nodes);
    for_tiles(plan, segment, [&](auto number, auto width, int begin, int end) {
      adjoint_tiles<decltype(number), width.value, S, kind>(plan, begin, end, nodes, weights,
                                                            adjoint, total);
    });
    if (segment > 0) adjoint_nodes<S>(plan, segment, nodes, adjoint);
  }
  adjoint_nodes<S>(plan, 0, nodes, adjoint);
  for (int s = 0; s < S; s++) {
    adjoint_leaves(plan, adjoint + 2 * s * plan.nnode * LANES, derivative + s * plan.ncomp * LANES);
    store(value + s * LANES, total[s]);
  }
}

template <int S>
void adjoints(const ProductPlan &plan, const double *components, double *nodes,
              const ProductWeights *weights, double *adjoint, double *value, double *derivative) {
  if (weights[0].per_lane)
    adjoint_pass<S, WeightKind::PerLane>(plan, components, nodes, weights, adjoint, value,
                                         derivative);
  else if (weights[0].extra)
    adjoint_pass<S, WeightKind::SharedAndExtra>(plan, components, nodes, weights, adjoint, value,
                                                derivative);
  else
    adjoint_pass<S, WeightKind::Shared>(plan, components, nodes, weights, adjoint, value,
                                        derivative);
}

void adjoint_any(const ProductPlan &plan, const double *components, double *nodes, int ncotangents,
                 const ProductWeights *weights, double *adjoint, double *value,
                 double *derivative) {
  if (ncotangents == 1)
    adjoints<1>(plan, components, nodes, weights, adjoint, value, derivative);
  else
    adjoints<2>(plan, components, nodes, weights, adjoint, value, derivative);
}

}    // namespace

extern const Kernels kernel_table;
const Kernels kernel_table = {
    LANES,  locate, accumulate,  make_products,     add_products,        sum_products, combine,
    couple, spread, adjoint_any, product_gradients, component_gradients, sparse_rows,  forces};

}    // namespace UQ_SIMD_LEVEL
}    // namespace ace
}    // namespace uq
