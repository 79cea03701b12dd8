// SPDX-License-Identifier: GPL-2.0-or-later
// The neighbours of one centre: their numbers, directions and distances. Several families build
// their environments on it.

#ifndef UQ_SURROUNDINGS_H
#define UQ_SURROUNDINGS_H

#include "core/geometry/neighbors.h"
#include "core/math/aligned.h"

#include <vector>

namespace uq {

struct Surroundings {
  int center = -1, species = -1;
  std::vector<int> index;    // neighbour, -1: padding
  // Unit vector and distance, Å, in memory of the state; another centre may be there by now.
  double *x = nullptr, *y = nullptr, *z = nullptr, *r = nullptr;

  // Finds them, at the begin of `memory`. Padding stands at the distance `outside`.
  template <class Kernels>
  void locate(const Neighbors &nb, const Kernels &k, double outside, AlignedArray &memory) {
    const size_t n = index.size();
    memory.reserve(4 * n);
    x = memory.data();
    y = x + n;
    z = y + n;
    r = z + n;
    k.locate(static_cast<int>(n), index.data(), nb.x, nb.x + 3 * static_cast<size_t>(center),
             outside, x, y, z, r);
  }
};

}    // namespace uq

#endif
