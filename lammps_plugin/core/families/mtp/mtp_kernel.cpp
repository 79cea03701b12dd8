// SPDX-License-Identifier: GPL-2.0-or-later
// The arithmetic of moment tensor potentials, compiled once for each instruction set. Around an
// atom the lanes are neighbours; in the products of moments they are atoms of a block.
//
//   M[μ,abc] = Σ_j f_μ(r_j) x^a y^b z^c                                   (accumulate)
//   M_t = Σ w M_p M_q, and backwards ∂S/∂M_p = Σ w ∂S/∂M_t M_q            (products, adjoint)
//   P_μ = Σ_abc ∂S/∂M[μ,abc] x^a y^b z^c,
//   ∂S/∂r_j = Σ_μ [ f'_μ P_μ r̂ + f_μ/r (1 - r̂ r̂) ∇P_μ ]                  (forces)

#include "core/families/mtp/plan.h"
#include "core/geometry/geometry.h"

namespace uq {
namespace mtp {
namespace UQ_SIMD_LEVEL {
namespace {

constexpr int BUNDLE = 4;    // vectors of neighbours that go together through accumulate()
constexpr int CHUNK = 4;     // radial functions that go together through radial()
constexpr int ATOMS = block_atoms, WIDTH = ATOMS / LANES;    // a node has so many vectors

inline const Vec *vectors(const double *p) {
  return reinterpret_cast<const Vec *>(p);
}

inline Vec *vectors(double *p) {
  return reinterpret_cast<Vec *>(p);
}

// ---------------------------------------------------------------------- radial functions

// What all radial functions share at a vector of distances: T_k(ξ) by recursion and (r - rmax)².
struct Radial {
  Vec xi, dxi, weight, dweight;

  Radial(const RadialPlan &plan, Vec r) {
    const double slope = 2.0 / (plan.rmax - plan.rmin);
    dxi = fill(slope);
    const Vec gap = r - plan.rmax;
    weight = gap * gap;
    dweight = 2.0 * gap;
    xi = (r - plan.rmin) * slope - 1.0;
    if (plan.clamp) {
      const IntVec below = r < plan.rmin;
      const double range = plan.rmin - plan.rmax;
      xi = select(below, fill(-1.0), xi);
      dxi = select(below, fill(0.0), dxi);
      weight = select(below, fill(range * range), weight);
      dweight = select(below, fill(0.0), dweight);
    }
  }
};

// N of the functions; `mask`: the lanes that belong to the species of these coefficients. Without D
// no slopes.
template <int N, bool D>
inline void radial_chunk(const Radial &radial, int nbasis, const double *c, IntVec mask, Vec *f,
                         Vec *df) {
  Vec sum[N], slope[N];
  for (int s = 0; s < N; s++) sum[s] = slope[s] = fill(0.0);
  Vec t0 = fill(1.0), t1 = radial.xi, d0 = fill(0.0), d1 = radial.dxi;
  for (int k = 0; k < nbasis; k++) {
    for (int s = 0; s < N; s++) {
      const Vec w = fill(c[s * nbasis + k]);
      sum[s] += w * t0;
      if (D) slope[s] += w * d0;
    }
    const Vec t2 = 2.0 * radial.xi * t1 - t0, d2 = 2.0 * (radial.dxi * t1 + radial.xi * d1) - d0;
    t0 = t1;
    t1 = t2;
    d0 = d1;
    d1 = d2;
  }
  for (int s = 0; s < N; s++) {
    f[s] = select(mask, sum[s] * radial.weight, f[s]);
    if (D) df[s] = select(mask, sum[s] * radial.dweight + slope[s] * radial.weight, df[s]);
  }
}

template <bool D>
void radial_of(const RadialPlan &plan, int nspecies, const int *first, const double *coefficients,
               int n, const double *r, double *f, double *df) {
  IntVec lane;
  for (int i = 0; i < LANES; i++) lane[i] = i;
  const int nslots = plan.nslots, nbasis = plan.nbasis;
  int species = 0;
  for (int j = 0; j < n; j += LANES) {
    const Radial radial(plan, load(r + j));
    Vec *fj = vectors(f) + j / LANES * nslots,
        *dfj = D ? vectors(df) + j / LANES * nslots : nullptr;
    for (int s = 0; s < nslots; s++) {
      fj[s] = fill(0.0);
      if (D) dfj[s] = fill(0.0);
    }
    while (species + 1 < nspecies && first[species + 1] <= j) species++;
    for (int z = species; z < nspecies && first[z] < j + LANES; z++) {
      const IntVec mask = (lane >= first[z] - j) & (lane < first[z + 1] - j);
      const double *c = coefficients + static_cast<int64_t>(z) * nslots * nbasis;
      int s = 0;
      for (; s + CHUNK <= nslots; s += CHUNK)
        radial_chunk<CHUNK, D>(radial, nbasis, c + s * nbasis, mask, fj + s, dfj + s);
      switch (nslots - s) {
      case 3:
        radial_chunk<3, D>(radial, nbasis, c + s * nbasis, mask, fj + s, dfj + s);
        break;
      case 2:
        radial_chunk<2, D>(radial, nbasis, c + s * nbasis, mask, fj + s, dfj + s);
        break;
      case 1:
        radial_chunk<1, D>(radial, nbasis, c + s * nbasis, mask, fj + s, dfj + s);
        break;
      }
    }
  }
}

void radial_functions(const RadialPlan &plan, int nspecies, const int *first,
                      const double *coefficients, int n, const double *r, double *f, double *df) {
  if (df)
    radial_of<true>(plan, nspecies, first, coefficients, n, r, f, df);
  else
    radial_of<false>(plan, nspecies, first, coefficients, n, r, f, df);
}

// ---------------------------------------------------------------------- moments

// sums[s] += Σ_v f[v][s] m[v] for the first `active` slots.
template <int NV>
inline void add_moment(int active, const Vec *m, const Vec *f, int nslots, Vec *sums) {
  for (int s = 0; s < active; s++) {
    Vec total = sums[s];
    for (int v = 0; v < NV; v++) total += f[v * nslots + s] * m[v];
    sums[s] = total;
  }
}

// Degree after degree; of each the monomials x^a y^b and x^a y^b z in the order
// (b, c) = 00 01 10 11 .. d0, for each the active slots.
template <int NV>
void accumulate_bundle(const AngularPlan &plan, const Vec *x, const Vec *y, const Vec *z,
                       const Vec *f, Vec *sums) {
  const int nslots = plan.nslots;
  Vec row[max_degree + 1][NV], last[NV], m[NV];    // x^a y^b of the degree before
  for (int v = 0; v < NV; v++) row[0][v] = fill(1.0);
  add_moment<NV>(plan.active[0], row[0], f, nslots, sums);
  sums += plan.active[0];
  for (int d = 1; d <= max_degree && plan.active[d]; d++) {
    const int active = plan.active[d];
    for (int v = 0; v < NV; v++) last[v] = row[d - 1][v];
    for (int b = 0; b < d; b++) {
      for (int v = 0; v < NV; v++) {
        m[v] = row[b][v] * z[v];
        row[b][v] *= x[v];
      }
      add_moment<NV>(active, row[b], f, nslots, sums);
      add_moment<NV>(active, m, f, nslots, sums + active);
      sums += 2 * active;
    }
    for (int v = 0; v < NV; v++) row[d][v] = last[v] * y[v];
    add_moment<NV>(active, row[d], f, nslots, sums);
    sums += active;
  }
}

void accumulate(const AngularPlan &plan, int n, const double *x, const double *y, const double *z,
                const double *f, double *scratch, double *nodes) {
  const int ncore = plan.ncore, nvectors = n / LANES;
  Vec *partial = vectors(scratch);
  for (int k = 0; k < ncore; k++) partial[k] = fill(0.0);
  const Vec *vx = vectors(x), *vy = vectors(y), *vz = vectors(z), *vf = vectors(f);
  int v = 0;
  for (; v + BUNDLE <= nvectors; v += BUNDLE)
    accumulate_bundle<BUNDLE>(plan, vx + v, vy + v, vz + v, vf + v * plan.nslots, partial);
  switch (nvectors - v) {
  case 3:
    accumulate_bundle<3>(plan, vx + v, vy + v, vz + v, vf + v * plan.nslots, partial);
    break;
  case 2:
    accumulate_bundle<2>(plan, vx + v, vy + v, vz + v, vf + v * plan.nslots, partial);
    break;
  case 1:
    accumulate_bundle<1>(plan, vx + v, vy + v, vz + v, vf + v * plan.nslots, partial);
    break;
  }
  int k = 0;
  for (; k + LANES <= ncore; k += LANES) {
    const Vec total = sums(partial + k);
    for (int i = 0; i < LANES; i++) nodes[plan.place[k + i] * ATOMS] = total[i];
  }
  for (; k < ncore; k++) nodes[plan.place[k] * ATOMS] = sum(partial[k]);
}

// ---------------------------------------------------------------------- products

// A number for each atom of a block.
struct Values {
  Vec v[WIDTH];

  explicit Values(double x) {
    for (Vec &part : v) part = fill(x);
  }
  explicit Values(const double *p) {
    for (int i = 0; i < WIDTH; i++) v[i] = load(p + i * LANES);
  }
  void put(double *p) const {
    for (int i = 0; i < WIDTH; i++) store(p + i * LANES, v[i]);
  }
  void add(double w, const Values &a) {
    for (int i = 0; i < WIDTH; i++) v[i] += w * a.v[i];
  }
  void add(const Values &a, const Values &b) {
    for (int i = 0; i < WIDTH; i++) v[i] += a.v[i] * b.v[i];
  }
  void add(double w, const double *a, const double *b) {
    for (int i = 0; i < WIDTH; i++) v[i] += w * load(a + i * LANES) * load(b + i * LANES);
  }
};

// out[row] = Σ_t w left[l] right[r], or +=
inline void rows(const RowPlan &plan, const double *left, const double *right, double *out) {
  const Term *t = plan.terms;
  for (int i = 0; i < plan.nrows; i++) {
    double *target = out + plan.row[i];
    const Term *end = t + plan.size[i];
    Values a(0.0), b(0.0);
    if (plan.adds[i]) a = Values(target);
    for (; t + 2 <= end; t += 2) {
      a.add(t[0].weight, left + t[0].left, right + t[0].right);
      b.add(t[1].weight, left + t[1].left, right + t[1].right);
    }
    if (t < end) {
      a.add(t->weight, left + t->left, right + t->right);
      t++;
    }
    a.add(1.0, b);
    a.put(target);
  }
}

void products(const ProductPlan &plan, double *nodes) {
  double *node = nodes + plan.ncore * ATOMS;
  for (int e = 0; e < plan.nexpanded; e++, node += ATOMS) {
    const Expansion &x = plan.expansion[e];
    Values v(nodes + x.first * ATOMS);
    v.add(-1.0, Values(nodes + x.second * ATOMS));
    v.add(-1.0, Values(nodes + x.third * ATOMS));
    v.put(node);
  }
  rows(plan.forward, nodes, nodes, nodes);
}

void sum_atoms(int n, const int *which, const double *nodes, double *out) {
  const auto total = [&](int k) {
    const Values v(nodes + which[k] * ATOMS);
    Vec s = v.v[0];
    for (int i = 1; i < WIDTH; i++) s += v.v[i];
    return s;
  };
  int k = 0;
  for (; k + LANES <= n; k += LANES) {
    Vec v[LANES];
    for (int i = 0; i < LANES; i++) v[i] = total(k + i);
    const Vec s = sums(v);
    for (int i = 0; i < LANES; i++) out[k + i] += s[i];
  }
  for (; k < n; k++) out[k] += sum(total(k));
}

void adjoint_pass(const ProductPlan &plan, const double *nodes, int nscalars, const int *scalars,
                  const double *weights, bool per_atom, double *adjoint, double *value) {
  const auto increase = [&](int node, double w, const Values &v) {
    Values total(adjoint + node * ATOMS);
    total.add(w, v);
    total.put(adjoint + node * ATOMS);
  };
  for (int n = 0; n < plan.nscalars; n++) Values(0.0).put(adjoint + plan.scalars[n] * ATOMS);
  Values total(0.0);
  for (int n = 0; n < nscalars; n++) {
    const Values w = per_atom ? Values(weights + n * ATOMS) : Values(weights[n]);
    increase(scalars[n], 1.0, w);
    total.add(w, Values(nodes + scalars[n] * ATOMS));
  }
  total.put(value);
  rows(plan.backward, adjoint, nodes, adjoint);
  for (int e = plan.nexpanded - 1; e >= 0; e--) {
    const Values g(adjoint + (plan.ncore + e) * ATOMS);
    const Expansion &x = plan.expansion[e];
    increase(x.first, 1.0, g);
    increase(x.second, -1.0, g);
    increase(x.third, -1.0, g);
  }
}

// ---------------------------------------------------------------------- forces

// P(x, y, z) = Σ t_abc x^a y^b z^c and its gradient by Horner's scheme, coefficients in the order
// of the core moments, at NV vectors of points.
template <int NV> struct Polynomial {
  Vec p[NV], gx[NV], gy[NV], gz[NV];

  void evaluate(int degree, const double *t, const Vec *x, const Vec *y, const Vec *z) {
    Vec q[NV], qx[NV], qy[NV];
    plane(degree, t, x, y, p, gx, gy);
    for (int v = 0; v < NV; v++) gz[v] = fill(0.0);
    if (degree == 0) return;
    plane(degree - 1, t + (degree + 1) * (degree + 2) / 2, x, y, q, qx, qy);
    for (int v = 0; v < NV; v++) {
      p[v] += z[v] * q[v];
      gx[v] += z[v] * qx[v];
      gy[v] += z[v] * qy[v];
      gz[v] = q[v];
    }
  }

 private:
  // The coefficients of one power of z.
  static void plane(int degree, const double *t, const Vec *x, const Vec *y, Vec *p, Vec *px,
                    Vec *py) {
    for (int v = 0; v < NV; v++) p[v] = px[v] = py[v] = fill(0.0);
    for (int b = degree; b >= 0; b--) {
      Vec a[NV], ax[NV];
      for (int v = 0; v < NV; v++) {
        a[v] = fill(t[0]);
        ax[v] = fill(0.0);
      }
      for (int k = 1; k <= degree - b; k++)
        for (int v = 0; v < NV; v++) {
          ax[v] = ax[v] * x[v] + a[v];
          a[v] = a[v] * x[v] + t[k];
        }
      t += degree - b + 1;
      for (int v = 0; v < NV; v++) {
        py[v] = py[v] * y[v] + p[v];
        p[v] = p[v] * y[v] + a[v];
        px[v] = px[v] * y[v] + ax[v];
      }
    }
  }
};

template <int NV>
void force_vectors(const AngularPlan &plan, const Vec *x, const Vec *y, const Vec *z, const Vec *r,
                   const Vec *f, const Vec *df, const double *derivative, Vec *fx, Vec *fy,
                   Vec *fz) {
  Vec along[NV], gx[NV], gy[NV], gz[NV];
  for (int v = 0; v < NV; v++) along[v] = gx[v] = gy[v] = gz[v] = fill(0.0);
  Polynomial<NV> poly;
  for (int s = 0; s < plan.nslots; s++) {
    const int degree = plan.degree[s];
    poly.evaluate(degree, derivative, x, y, z);
    derivative += (degree + 1) * (degree + 1);
    for (int v = 0; v < NV; v++) {
      const Vec fs = f[v * plan.nslots + s];
      along[v] += df[v * plan.nslots + s] * poly.p[v];
      gx[v] += fs * poly.gx[v];
      gy[v] += fs * poly.gy[v];
      gz[v] += fs * poly.gz[v];
    }
  }
  for (int v = 0; v < NV; v++) {
    const Vec inverse = 1.0 / r[v];
    const Vec radial = along[v] - (x[v] * gx[v] + y[v] * gy[v] + z[v] * gz[v]) * inverse;
    fx[v] = x[v] * radial + gx[v] * inverse;
    fy[v] = y[v] * radial + gy[v] * inverse;
    fz[v] = z[v] * radial + gz[v] * inverse;
  }
}

void forces(const AngularPlan &plan, int n, const double *x, const double *y, const double *z,
            const double *r, const double *f, const double *df, const double *derivative,
            double *force) {
  constexpr int NV = 2;
  const int nvectors = n / LANES, ns = plan.nslots;
  const Vec *vx = vectors(x), *vy = vectors(y), *vz = vectors(z), *vr = vectors(r);
  const Vec *vf = vectors(f), *vdf = vectors(df);
  Vec *fx = vectors(force), *fy = fx + nvectors, *fz = fy + nvectors;
  int v = 0;
  for (; v + NV <= nvectors; v += NV)
    force_vectors<NV>(plan, vx + v, vy + v, vz + v, vr + v, vf + v * ns, vdf + v * ns, derivative,
                      fx + v, fy + v, fz + v);
  if (v < nvectors)
    force_vectors<1>(plan, vx + v, vy + v, vz + v, vr + v, vf + v * ns, vdf + v * ns, derivative,
                     fx + v, fy + v, fz + v);
}

void virial(int n, const double *x, const double *y, const double *z, const double *r,
            const double *force, double *sums) {
  const double *const axes[3] = {x, y, z};
  static constexpr int first[9] = {0, 1, 2, 0, 0, 1, 1, 2, 2};
  static constexpr int second[9] = {0, 1, 2, 1, 2, 2, 0, 0, 1};
  Vec total[9];
  for (int c = 0; c < 9; c++) total[c] = fill(0.0);
  for (int j = 0; j < n; j += LANES) {
    Vec d[3], f[3];
    for (int c = 0; c < 3; c++) {
      d[c] = load(axes[c] + j) * load(r + j);
      f[c] = load(force + c * n + j);
    }
    for (int c = 0; c < 9; c++) total[c] += d[first[c]] * f[second[c]];
  }
  for (int c = 0; c < 9; c++) sums[c] += sum(total[c]);
}

// ---------------------------------------------------------------------- design rows, coefficients

void core_gradients(const AngularPlan &plan, int n, const double *x, const double *y,
                    const double *z, const double *r, const double *f, const double *df,
                    double *out) {
  const int nvectors = n / LANES, ns = plan.nslots;
  Vec powers[3][max_degree + 2];
  for (int v = 0; v < nvectors; v++) {
    const Vec u[3] = {vectors(x)[v], vectors(y)[v], vectors(z)[v]};
    const Vec inverse = 1.0 / vectors(r)[v];
    for (int axis = 0; axis < 3; axis++) {
      powers[axis][0] = fill(1.0);
      for (int d = 1; d <= plan.degree[0]; d++) powers[axis][d] = powers[axis][d - 1] * u[axis];
    }
    Vec *target = vectors(out) + v;
    for (int s = 0; s < ns; s++) {
      const Vec fs = vectors(f)[v * ns + s] * inverse, slope = vectors(df)[v * ns + s];
      for (int c = 0; c < 2; c++)
        for (int b = plan.degree[s] - c; b >= 0; b--)
          for (int a = plan.degree[s] - c - b; a >= 0; a--) {
            const Vec px = powers[0][a], py = powers[1][b], pz = powers[2][c], m = px * py * pz;
            const Vec gx = a ? powers[0][a - 1] * py * pz * static_cast<double>(a) : fill(0.0);
            const Vec gy = b ? powers[1][b - 1] * px * pz * static_cast<double>(b) : fill(0.0);
            const Vec gz = c ? px * py : fill(0.0);
            // Σ u ∂m/∂u = (a + b + c) m
            const Vec along = (slope - fs * static_cast<double>(a + b + c)) * m;
            target[0] = u[0] * along + fs * gx;
            target[nvectors] = u[1] * along + fs * gy;
            target[2 * nvectors] = u[2] * along + fs * gz;
            target += 3 * nvectors;
          }
    }
  }
}

void radial_gradient(const RadialPlan &plan, const AngularPlan &angular, int nspecies,
                     const int *first, int n, const double *x, const double *y, const double *z,
                     const double *r, const double *derivative, double *out) {
  Polynomial<1> poly;
  for (int j = 0; j < n; j += LANES) {
    const Radial radial(plan, load(r + j));
    const Vec vx = load(x + j), vy = load(y + j), vz = load(z + j);
    const double *t = derivative;
    for (int s = 0; s < plan.nslots; s++) {
      const int degree = angular.degree[s];
      poly.evaluate(degree, t, &vx, &vy, &vz);
      t += (degree + 1) * (degree + 1);
      Vec t0 = poly.p[0] * radial.weight, t1 = t0 * radial.xi;
      for (int k = 0; k < plan.nbasis; k++) {
        for (int z0 = 0; z0 < nspecies; z0++) {
          double *target = out + (static_cast<int64_t>(z0) * plan.nslots + s) * plan.nbasis + k;
          const int end = first[z0 + 1] < j + LANES ? first[z0 + 1] : j + LANES;
          for (int i = first[z0] > j ? first[z0] : j; i < end; i++) *target += t0[i - j];
        }
        const Vec t2 = 2.0 * radial.xi * t1 - t0;
        t0 = t1;
        t1 = t2;
      }
    }
  }
}

}    // namespace

extern const Kernels kernel_table;
const Kernels kernel_table = {LANES,    locate,         radial_functions, accumulate,
                              products, sum_atoms,      adjoint_pass,     forces,
                              virial,   core_gradients, radial_gradient};

}    // namespace UQ_SIMD_LEVEL
}    // namespace mtp
}    // namespace uq
