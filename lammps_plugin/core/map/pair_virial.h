// SPDX-License-Identifier: GPL-2.0-or-later
// The virial of a pair of atoms, as every family books it.

#ifndef UQ_PAIR_VIRIAL_H
#define UQ_PAIR_VIRIAL_H

#include "core/map/feature_map.h"

#include <cstddef>

namespace uq {

// Adds r ⊗ f of the neighbour j to the virial and to what j has of it: r = r_j - r_i, f the force
// on j, with the signs of both turned or of neither.
inline void add_pair_virial(const double *r, const double *f, int j, Result &result) {
  const double w[9] = {r[0] * f[0], r[1] * f[1], r[2] * f[2], r[0] * f[1], r[0] * f[2],
                       r[1] * f[2], r[1] * f[0], r[2] * f[0], r[2] * f[1]};
  if (result.virial)
    for (int c = 0; c < 9; c++) result.virial[c] += w[c];
  if (result.vatom)
    for (int c = 0; c < 9; c++) result.vatom[9 * static_cast<size_t>(j) + c] += w[c];
}

}    // namespace uq

#endif
