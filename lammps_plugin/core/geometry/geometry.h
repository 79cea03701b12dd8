// SPDX-License-Identifier: GPL-2.0-or-later
// Distances and directions from an atom to its neighbours. Only for kernel files; see vector.h.

#ifndef UQ_MATH_GEOMETRY_H
#define UQ_MATH_GEOMETRY_H

#include "core/math/vector.h"

namespace uq {
namespace {

// LANES numbers.
inline IntVec load_indices(const int *p) {
#if defined(__AVX512F__)
  return (IntVec)_mm512_cvtepi32_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)));
#else
  IntVec v;
  for (int i = 0; i < LANES; i++) v[i] = p[i];
  return v;
#endif
}

// p[at] where `wanted`, else 0.
inline Vec gather(IntVec wanted, const double *p, IntVec at) {
#if defined(__AVX512F__)
  return _mm512_mask_i64gather_pd(_mm512_setzero_pd(), _mm512_movepi64_mask((__m512i)wanted),
                                  (__m512i)at, p, 8);
#else
  Vec v;
  for (int i = 0; i < LANES; i++) v[i] = wanted[i] ? p[at[i]] : 0.0;
  return v;
#endif
}

// Unit vectors and distances of the neighbours index [n] of the atom at `center`; -1: padding,
// which stands at the distance `outside` along z.
inline void locate(int n, const int *index, const double *positions, const double *center,
                   double outside, double *x, double *y, double *z, double *r) {
  for (int j = 0; j < n; j += LANES) {
    const IntVec atom = load_indices(index + j), real = atom >= 0;
    Vec d[3];
    for (int c = 0; c < 3; c++)
      d[c] = select(real, gather(real, positions + c, 3 * atom) - center[c],
                    fill(c == 2 ? outside : 0.0));
    Vec r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    r2 = select(r2 < 1e-24, fill(1e-24), r2);
    const Vec inverse = inverse_root(r2);
    store(r + j, r2 * inverse);
    store(x + j, d[0] * inverse);
    store(y + j, d[1] * inverse);
    store(z + j, d[2] * inverse);
  }
}

}    // namespace
}    // namespace uq

#endif
