// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/simd/dispatch.h"

#include "core/error.h"

#include <cstdlib>
#include <string>

using namespace uq;

static SimdLevel best_level() {
#ifdef UQ_SIMD_X86
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4) return SimdLevel::Avx512;
  if (v3) return SimdLevel::Avx2;
#endif
  return SimdLevel::Baseline;
}

const char *uq::simd_name(SimdLevel level) {
  static const char *const names[] = {"baseline", "avx2", "avx512"};
  return names[static_cast<int>(level)];
}

SimdLevel uq::simd_level() {
  const SimdLevel best = best_level();
  const char *asked = std::getenv("PYUQ_SIMD");
  if (!asked || !*asked) return best;
  for (SimdLevel level : {SimdLevel::Baseline, SimdLevel::Avx2, SimdLevel::Avx512}) {
    if (simd_name(level) != std::string(asked)) continue;
    if (level > best)
      throw Error("PYUQ_SIMD=" + std::string(asked) + ": this processor offers " + simd_name(best) +
                  " at most; unset PYUQ_SIMD or ask for less");
    return level;
  }
  throw Error("PYUQ_SIMD=" + std::string(asked) + ": expected baseline, avx2 or avx512");
}
