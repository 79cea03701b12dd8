// SPDX-License-Identifier: GPL-2.0-or-later
// Which instruction set the kernels use. They are compiled once for each level, each in a namespace
// of its own; the processor chooses when the program runs, the environment variable PYUQ_SIMD
// (baseline, avx2, avx512) can ask for less.

#ifndef UQ_SIMD_DISPATCH_H
#define UQ_SIMD_DISPATCH_H

namespace uq {

enum class SimdLevel { Baseline, Avx2, Avx512 };

// Throws uq::Error if PYUQ_SIMD names an unknown level or one that this processor lacks.
SimdLevel simd_level();
const char *simd_name(SimdLevel level);

// The member of a set of kernels that belongs to the level in use.
template <class Kernels>
const Kernels &select_kernels(const Kernels &baseline, const Kernels &avx2, const Kernels &avx512) {
  const SimdLevel level = simd_level();
  return level == SimdLevel::Avx512 ? avx512 : level == SimdLevel::Avx2 ? avx2 : baseline;
}

}    // namespace uq

// Declares the object TABLE of type TYPE in the namespace of every level and defines FUNCTION(),
// which selects one.
#ifdef UQ_SIMD_X86
#define UQ_SELECT_KERNELS(TYPE, TABLE, FUNCTION)                                                   \
  namespace baseline {                                                                             \
  extern const TYPE TABLE;                                                                         \
  }                                                                                                \
  namespace avx2 {                                                                                 \
  extern const TYPE TABLE;                                                                         \
  }                                                                                                \
  namespace avx512 {                                                                               \
  extern const TYPE TABLE;                                                                         \
  }                                                                                                \
  const TYPE &FUNCTION() {                                                                         \
    return ::uq::select_kernels(baseline::TABLE, avx2::TABLE, avx512::TABLE);                      \
  }
#else
#define UQ_SELECT_KERNELS(TYPE, TABLE, FUNCTION)                                                   \
  namespace baseline {                                                                             \
  extern const TYPE TABLE;                                                                         \
  }                                                                                                \
  const TYPE &FUNCTION() {                                                                         \
    return baseline::TABLE;                                                                        \
  }
#endif

#endif
