// SPDX-License-Identifier: GPL-2.0-or-later
// The arithmetic of the network, compiled once for each instruction set. In functions of the
// geometry the lanes are edges, elsewhere channels.

#include "core/families/network/plan.h"
#include "core/math/product.h"

namespace uq {
namespace network {
namespace UQ_SIMD_LEVEL {
namespace {

void multiply(int m, int n, int k, const double *a, ptrdiff_t row, ptrdiff_t column,
              const double *b, ptrdiff_t ldb, double *c, ptrdiff_t ldc, bool add) {
  product(m, n, k, {a, row, column}, b, ldb, c, ldc, add);
}

// ---------------------------------------------------------------------- geometry

void normalise(int n, double *x, double *y, double *z, double *r) {
  for (int e = 0; e < n; e += LANES) {
    Vec r2 = load(r + e);
    r2 = select(r2 < 1e-24, fill(1e-24), r2);
    const Vec distance = square_root(r2), inverse = 1.0 / distance;
    store(r + e, distance);
    store(x + e, load(x + e) * inverse);
    store(y + e, load(y + e) * inverse);
    store(z + e, load(z + e) * inverse);
  }
}

constexpr double ROOT3 = 1.7320508075688772935, ROOT5 = 2.2360679774997896964,
                 ROOT15 = 3.8729833462074168852;

void harmonics(int lmax, const Edges &edges) {
  const int n = edges.stride;
  double *out = edges.harmonics;
  for (int e = 0; e < n; e += LANES) {
    const Vec x = load(edges.x + e), y = load(edges.y + e), z = load(edges.z + e);
    store(out + e, fill(1.0));
    store(out + n + e, ROOT3 * x);
    store(out + 2 * n + e, ROOT3 * y);
    store(out + 3 * n + e, ROOT3 * z);
    if (lmax < 2) continue;
    store(out + 4 * n + e, ROOT15 * x * z);
    store(out + 5 * n + e, ROOT15 * x * y);
    store(out + 6 * n + e, ROOT5 * (y * y - 0.5 * (x * x + z * z)));
    store(out + 7 * n + e, ROOT15 * y * z);
    store(out + 8 * n + e, 0.5 * ROOT15 * (z * z - x * x));
  }
}

// b_n = (2/rc) sin(ω_n t) f(t)/r, t = r/rc, f = 1 - (p+1)(p+2)/2 tᵖ + p(p+2) tᵖ⁺¹ - p(p+1)/2 tᵖ⁺²,
// f' = -p(p+1)(p+2)/2 tᵖ⁻¹ (1 - t)²/rc
void functions(const Radial &radial, int lmax, const Edges &edges) {
  harmonics(lmax, edges);
  const double p = radial.envelope, per_cutoff = 1.0 / radial.cutoff;
  for (int e = 0; e < edges.stride; e += LANES) {
    const Vec r = load(edges.r + e), t = r * per_cutoff, inverse = 1.0 / r;
    Vec power = fill(1.0);    // tᵖ⁻¹
    for (int k = 1; k < radial.envelope; k++) power *= t;
    Vec f =
        1.0 - power * t * (0.5 * (p + 1) * (p + 2) - t * (p * (p + 2) - t * (0.5 * p * (p + 1))));
    Vec df = -0.5 * p * (p + 1) * (p + 2) * per_cutoff * power * (1.0 - t) * (1.0 - t);
    f = select(t < 1.0, f, select(t >= 1.0, fill(0.0), t));    // NaN stays
    df = select(t < 1.0, df, fill(0.0));
    const Vec value = 2.0 * per_cutoff * f * inverse,
              slope = 2.0 * per_cutoff * (df - f * inverse) * inverse;
    for (int b = 0; b < radial.bessels; b++) {
      Vec sine, cosine;
      sincos(radial.frequencies[b] * t, sine, cosine);
      store(edges.basis + b * edges.stride + e, sine * value);
      store(edges.slopes + b * edges.stride + e,
            sine * slope + radial.frequencies[b] * per_cutoff * cosine * value);
    }
  }
}

void couple(int nterms, const Term *terms, int entries, const Edges &edges) {
  const int n = edges.stride;
  for (int i = 0; i < entries * n; i += LANES) store(edges.coupling + i, fill(0.0));
  for (int k = 0; k < nterms; k++) {
    double *m = edges.coupling + terms[k].entry * n;
    const double *y = edges.harmonics + terms[k].component * n;
    for (int e = 0; e < n; e += LANES) store(m + e, load(m + e) + terms[k].factor * load(y + e));
  }
}

// ∂Y/∂r̂ᵀ Ȳ, the part across r̂ of it divided by r, and r̂ dE/dr.
void gradients(int nterms, const Term *terms, int lmax, const Edges &edges, const double *slope,
               double *out) {
  const int n = edges.stride, ncomp = (lmax + 1) * (lmax + 1);
  for (int e = 0; e < n; e += LANES) {
    Vec d[max_components] = {};
    for (int k = 0; k < nterms; k++)
      d[terms[k].component] +=
          terms[k].factor * load(edges.coupling_adjoint + terms[k].entry * n + e);
    const Vec x = load(edges.x + e), y = load(edges.y + e), z = load(edges.z + e);
    Vec gx = ROOT3 * d[1], gy = ROOT3 * d[2], gz = ROOT3 * d[3];
    if (ncomp > 4) {
      gx += ROOT15 * (z * d[4] + y * d[5] - x * d[8]) - ROOT5 * x * d[6];
      gy += ROOT15 * (x * d[5] + z * d[7]) + 2.0 * ROOT5 * y * d[6];
      gz += ROOT15 * (x * d[4] + y * d[7] + z * d[8]) - ROOT5 * z * d[6];
    }
    const Vec inverse = 1.0 / load(edges.r + e),
              along = load(slope + e) - (x * gx + y * gy + z * gz) * inverse;
    store(out + e, gx * inverse + x * along);
    store(out + n + e, gy * inverse + y * along);
    store(out + 2 * n + e, gz * inverse + z * along);
  }
}

// ---------------------------------------------------------------------- activation

// 1/(1 + exp(-z)): exp(-z) = 2^n (e - o)/(e + o), the Padé approximant of five over five powers
// of r = z + n ln 2, |r| <= ln(2)/2, below 1e-15, so that one division is all it takes. NaN stays.
inline Vec sigmoid(Vec z) {
  const Vec n = (z * -1.4426950408889634 + ROUND) - ROUND;
  const Vec r = z + n * 0.69314718055994530942, r2 = r * r;
  const Vec e = (r2 * (1.0 / 1008.0) + 1.0 / 9.0) * r2 + 1.0,
            o = ((r2 * (1.0 / 30240.0) + 1.0 / 72.0) * r2 + 0.5) * r;
  return (e + o) / ((e + o) + times_power_of_two(e - o, n));
}

// SiLU(z) = z p(z) and its derivative p + z p (1 - p).
inline Vec silu_of(Vec z) {
  return z * sigmoid(z);
}

inline Vec slope_of(Vec s, Vec p) {
  return p + (s - s * p);
}

inline Vec silu_slope(Vec z) {
  const Vec p = sigmoid(z);
  return slope_of(z * p, p);
}

// SiLU of a row and, over z, its derivative.
template <bool SLOPES, class Z> inline void activate(size_t n, Z *z, double *s) {
  for (size_t i = 0; i < n; i += LANES) {
    const Vec x = load(z + i), p = sigmoid(x), value = x * p;
    store(s + i, value);
    if constexpr (SLOPES) store(z + i, slope_of(value, p));
  }
}

void silu(size_t n, const double *z, double *s) {
  activate<false>(n, z, s);
}

void silu_slopes(size_t n, double *z, double *s) {
  activate<true>(n, z, s);
}

void scale(size_t n, const double *by, double *values) {
  for (size_t i = 0; i < n; i += LANES) store(values + i, load(values + i) * load(by + i));
}

void gate(int width, int lmax, const double *q, double *h) {
  for (int u = 0; u < width; u += LANES) {
    store(h + u, silu_of(load(q + u)));
    for (int l = 1; l <= lmax; l++) {
      const Vec s = silu_of(load(q + l * width + u));
      for (int m = l * l; m < (l + 1) * (l + 1); m++)
        store(h + m * width + u, s * load(q + (lmax + m) * width + u));
    }
  }
}

void gate_backward(int width, int lmax, const double *q, const double *h_adjoint,
                   double *q_adjoint) {
  for (int u = 0; u < width; u += LANES) {
    store(q_adjoint + u, load(h_adjoint + u) * silu_slope(load(q + u)));
    for (int l = 1; l <= lmax; l++) {
      const Vec z = load(q + l * width + u), s = silu_of(z);
      Vec total = fill(0.0);
      for (int m = l * l; m < (l + 1) * (l + 1); m++) {
        const Vec d = load(h_adjoint + m * width + u);
        total += d * load(q + (lmax + m) * width + u);
        store(q_adjoint + (lmax + m) * width + u, d * s);
      }
      store(q_adjoint + l * width + u, total * silu_slope(z));
    }
  }
}

// ---------------------------------------------------------------------- messages

// N1, N3: 2l + 1 of the neighbour's state and of the message; UNIT: M is the unit matrix. V vectors
// of channels from u.
template <int N1, int N3, bool UNIT, int V>
inline void add_messages(const Edges &edges, const Message &message, int u) {
  const Path &path = message.path;
  const double *coupling = UNIT ? nullptr : edges.coupling + path.entry * edges.stride;
  Vec sum[N3][V];
  double *slots = message.slots + path.slot * message.width + u;
  const ptrdiff_t step = static_cast<ptrdiff_t>(path.slot_stride) * message.width;
  for (int m = 0; m < N3; m++)
    for (int v = 0; v < V; v++) sum[m][v] = fill(0.0);
  for (int e = 0; e < edges.n; e++) {
    const double *g = message.g + edges.index[e] * message.g_row + u;
    const double *radial = message.radial + e * message.radial_edge + u;
    for (int v = 0; v < V; v++) {
      const Vec r = load(radial + v * LANES);
      Vec rg[N1];
      for (int a = 0; a < N1; a++) rg[a] = r * load(g + a * message.width + v * LANES);
      for (int m = 0; m < N3; m++) {
        if (UNIT) {
          sum[m][v] += rg[m < N1 ? m : 0];
          continue;
        }
        for (int a = 0; a < N1; a++) sum[m][v] += coupling[(m * N1 + a) * edges.stride + e] * rg[a];
      }
    }
  }
  for (int m = 0; m < N3; m++)
    for (int v = 0; v < V; v++) store(slots + m * step + v * LANES, sum[m][v]);
}

// Arguments by value: stores of vectors may alias everything else.
template <int N1, int N3, bool UNIT> void messages_of(Edges edges, Message message) {
  constexpr int V = LANES == 8 ? 2 : 1;
  int u = 0;
  for (; u + V * LANES <= message.width; u += V * LANES)
    add_messages<N1, N3, UNIT, V>(edges, message, u);
  for (; u < message.width; u += LANES) add_messages<N1, N3, UNIT, 1>(edges, message, u);
}

// Adds the sums of the lanes of `count` vectors to as many numbers that follow each other.
inline void add_sums(int count, const Vec *v, double *out) {
  const Vec total = sums(v);
  Vec old;
  if (count == LANES) {
    __builtin_memcpy(&old, out, sizeof(Vec));    // not aligned
    old += total;
    __builtin_memcpy(out, &old, sizeof(Vec));
    return;
  }
  for (int i = 0; i < count; i++) out[i] += total[i];
}

// One edge; M̄ as one vector for each entry, lanes to be summed.
template <int N1, int N3, bool UNIT>
inline void edge_backward(const Edges &edges, const Message &message,
                          const MessageAdjoints &adjoints, int e, Vec (*adjoint)[LANES]) {
  const Path &path = message.path;
  const int width = message.width;
  const ptrdiff_t step = static_cast<ptrdiff_t>(path.slot_stride) * width;
  const double *coupling =
      UNIT ? nullptr : edges.coupling + static_cast<ptrdiff_t>(path.entry) * edges.stride + e;
  const double *slots = message.slots + path.slot * width;
  const double *g = message.g + edges.index[e] * message.g_row;
  const double *radial = message.radial + e * message.radial_edge;
  double *radial_adjoint = adjoints.radial + e * message.radial_edge;
  double *g_adjoint = adjoints.g ? adjoints.g + edges.index[e] * adjoints.g_row : nullptr;
  Vec entries[N3 * N1] = {};
  for (int u = 0; u < width; u += LANES) {
    const Vec r = load(radial + u);
    Vec back[N1] = {}, total = adjoints.add ? load(radial_adjoint + u) : fill(0.0);
    for (int m = 0; m < N3; m++) {
      const Vec a = load(slots + m * step + u), ra = r * a;
      for (int k = 0; k < N1; k++) {
        if (UNIT) {
          if (k == m) back[k] += a;
          continue;
        }
        back[k] += coupling[(m * N1 + k) * edges.stride] * a;
        entries[m * N1 + k] += ra * load(g + k * width + u);
      }
    }
    for (int k = 0; k < N1; k++) {
      total += back[k] * load(g + k * width + u);
      if (!g_adjoint) continue;
      double *out = g_adjoint + k * width + u;
      store(out, load(out) + r * back[k]);
    }
    store(radial_adjoint + u, total);
  }
  for (int i = 0; i < N3 * N1 && !UNIT; i++) adjoint[i][e % LANES] = entries[i];
}

// The lanes of M̄, channels, are summed for as many edges at once.
template <int N1, int N3, bool UNIT>
void backward_of(Edges edges, Message message, MessageAdjoints adjoints) {
  Vec adjoint[N3 * N1][LANES] = {};
  double *out = edges.coupling_adjoint + static_cast<ptrdiff_t>(message.path.entry) * edges.stride;
  for (int first = 0; first < edges.n; first += LANES) {
    const int count = edges.n - first < LANES ? edges.n - first : LANES;
    for (int e = first; e < first + count; e++)
      edge_backward<N1, N3, UNIT>(edges, message, adjoints, e, adjoint);
    for (int i = 0; i < N3 * N1 && !UNIT; i++)
      add_sums(count, adjoint[i], out + i * edges.stride + first);
  }
}

template <int N1, int N3, bool UNIT> struct Forward {
  static void run(const Edges &edges, const Message &message, const MessageAdjoints *) {
    messages_of<N1, N3, UNIT>(edges, message);
  }
};

template <int N1, int N3, bool UNIT> struct Backward {
  static void run(const Edges &edges, const Message &message, const MessageAdjoints *adjoints) {
    backward_of<N1, N3, UNIT>(edges, message, *adjoints);
  }
};

template <template <int, int, bool> class Pass>
void dispatch(const Edges &edges, const Message &message, const MessageAdjoints *adjoints) {
  const Path &p = message.path;
  const int which = p.entry < 0 ? p.l1 : 3 + 3 * p.l1 + p.l3;
  switch (which) {
  case 0:
    return Pass<1, 1, true>::run(edges, message, adjoints);
  case 1:
    return Pass<3, 3, true>::run(edges, message, adjoints);
  case 2:
    return Pass<5, 5, true>::run(edges, message, adjoints);
  case 4:
    return Pass<1, 3, false>::run(edges, message, adjoints);
  case 5:
    return Pass<1, 5, false>::run(edges, message, adjoints);
  case 6:
    return Pass<3, 1, false>::run(edges, message, adjoints);
  case 7:
    return Pass<3, 3, false>::run(edges, message, adjoints);
  case 8:
    return Pass<3, 5, false>::run(edges, message, adjoints);
  case 9:
    return Pass<5, 1, false>::run(edges, message, adjoints);
  case 10:
    return Pass<5, 3, false>::run(edges, message, adjoints);
  case 11:
    return Pass<5, 5, false>::run(edges, message, adjoints);
  }
}

void messages(const Edges &edges, const Message &message) {
  dispatch<Forward>(edges, message, nullptr);
}

void messages_backward(const Edges &edges, const Message &message,
                       const MessageAdjoints &adjoints) {
  dispatch<Backward>(edges, message, &adjoints);
}

}    // namespace

extern const Kernels kernel_table;
const Kernels kernel_table = {LANES, multiply,      normalise, functions, couple,
                              silu,  silu_slopes,   scale,     messages,  messages_backward,
                              gate,  gate_backward, gradients};

}    // namespace UQ_SIMD_LEVEL
}    // namespace network
}    // namespace uq
