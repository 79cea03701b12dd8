// SPDX-License-Identifier: GPL-2.0-or-later
// Vectors of doubles as wide as the target's registers, and elementary functions on them. Only for
// kernel files, which are compiled once for each instruction set: everything here has internal
// linkage, and nothing of the C++ library is used, so that no copy made for a wide machine can be
// picked by the linker for a narrow one.

#ifndef UQ_MATH_VECTOR_H
#define UQ_MATH_VECTOR_H

#include <math.h>
#include <stdint.h>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace uq {
namespace {

#if defined(__AVX512F__)
constexpr int LANES = 8;
#elif defined(__AVX2__)
constexpr int LANES = 4;
#else
constexpr int LANES = 2;
#endif

typedef double Vec __attribute__((vector_size(8 * LANES), may_alias));
typedef int64_t IntVec __attribute__((vector_size(8 * LANES), may_alias));

inline Vec fill(double x) {
  return x - Vec{};
}

inline Vec load(const double *p) {
  return *reinterpret_cast<const Vec *>(p);
}

inline void store(double *p, Vec v) {
  *reinterpret_cast<Vec *>(p) = v;
}

inline Vec select(IntVec mask, Vec a, Vec b) {
  return mask ? a : b;
}

inline bool any(IntVec mask) {
#if defined(__AVX512F__)
  return _mm512_movepi64_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_pd((__m256d)mask) != 0;
#else
  return (mask[0] | mask[1]) != 0;
#endif
}

inline double sum(Vec v) {
#if defined(__AVX512F__)
  v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
  v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
#elif defined(__AVX2__)
  v += __builtin_shufflevector(v, v, 2, 3, 0, 1);
#endif
  return v[0] + v[1];
}

// The sums of LANES vectors side by side.
inline Vec sums(const Vec *v) {
#if defined(__AVX512F__)
  Vec pairs[4], fours[2];    // sums of two lanes of two vectors, of four lanes of four vectors
  for (int i = 0; i < 4; i++)
    pairs[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14) +
               __builtin_shufflevector(v[2 * i], v[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  for (int i = 0; i < 2; i++)
    fours[i] = __builtin_shufflevector(pairs[2 * i], pairs[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
               __builtin_shufflevector(pairs[2 * i], pairs[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
  return __builtin_shufflevector(fours[0], fours[1], 0, 1, 2, 3, 8, 9, 10, 11) +
         __builtin_shufflevector(fours[0], fours[1], 4, 5, 6, 7, 12, 13, 14, 15);
#else
  Vec out;
  for (int i = 0; i < LANES; i++) out[i] = sum(v[i]);
  return out;
#endif
}

inline Vec square_root(Vec v) {
#if defined(__AVX512F__)
  return _mm512_maskz_sqrt_pd(0xff, v);
#elif defined(__AVX2__)
  return _mm256_sqrt_pd(v);
#else
  for (int i = 0; i < LANES; i++) v[i] = sqrt(v[i]);
  return v;
#endif
}

// 1/√v of a positive, finite v, to two units in the last place.
inline Vec inverse_root(Vec v) {
#if defined(__AVX512F__)
  // Fourteen bits, then Newton's iteration: half the time of a square root and a division.
  Vec y = _mm512_maskz_rsqrt14_pd(0xff, v);
  for (int n = 0; n < 2; n++) y += 0.5 * y * (1.0 - v * y * y);
  return y;
#else
  return 1.0 / square_root(v);
#endif
}

// Adding and subtracting 1.5 * 2^52 rounds to an integer, whose bits stand at the low end of the
// sum.
constexpr double ROUND = 6755399441055744.0;

// v 2^n for integers n; near 1 <= |v| < 2, without AVX-512 infinities and zeros are 2^±1000.
inline Vec times_power_of_two(Vec v, Vec n) {
#if defined(__AVX512F__)
  return _mm512_maskz_scalef_pd(0xff, v, n);
#else
  n = select(n < -1000.0, fill(-1000.0), select(n > 1000.0, fill(1000.0), n));
  return (Vec)((IntVec)v + ((IntVec)(n + ROUND) << 52));
#endif
}

// exp(x) for -700 < x < 700, below 1.5 ulp: x = n ln 2 + r, |r| <= ln(2)/2, Taylor series of
// exp(r).
inline Vec exp(Vec x) {
  const Vec shifted = x * 1.4426950408889634 + ROUND, n = shifted - ROUND;
  const Vec r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  Vec p = fill(1.0 / 6227020800.0);
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r * r + r + 1.0;
  return (Vec)((IntVec)p + ((IntVec)shifted << 52));
}

// sin(x) and cos(x) for |x| < 1e5, below 2 ulp of 1: reduction by π/2 in three parts, Taylor
// series.
inline void sincos(Vec x, Vec &sine, Vec &cosine) {
  const Vec shifted = x * 0.63661977236758134 + ROUND, n = shifted - ROUND;
  const IntVec quadrant = (IntVec)shifted;
  const Vec r = ((x - n * 1.57079632673412561417) - n * 6.07710050630396597660e-11) -
                n * 2.02226624879595063154e-21;
  const Vec z = r * r;
  Vec s = fill(1.0 / 355687428096000.0);
  s = s * z - 1.0 / 1307674368000.0;
  s = s * z + 1.0 / 6227020800.0;
  s = s * z - 1.0 / 39916800.0;
  s = s * z + 1.0 / 362880.0;
  s = s * z - 1.0 / 5040.0;
  s = s * z + 1.0 / 120.0;
  s = s * z - 1.0 / 6.0;
  s = s * z * r + r;
  Vec c = fill(-1.0 / 6402373705728000.0);
  c = c * z + 1.0 / 20922789888000.0;
  c = c * z - 1.0 / 87178291200.0;
  c = c * z + 1.0 / 479001600.0;
  c = c * z - 1.0 / 3628800.0;
  c = c * z + 1.0 / 40320.0;
  c = c * z - 1.0 / 720.0;
  c = c * z + 1.0 / 24.0;
  c = c * z * z - 0.5 * z + 1.0;
  const IntVec swap = (quadrant & 1) != 0;
  const IntVec sine_sign = (quadrant & 2) << 62, cosine_sign = ((quadrant + 1) & 2) << 62;
  sine = (Vec)((IntVec)select(swap, c, s) ^ sine_sign);
  cosine = (Vec)((IntVec)select(swap, s, c) ^ cosine_sign);
}

}    // namespace
}    // namespace uq

#endif
