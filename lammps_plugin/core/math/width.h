// SPDX-License-Identifier: GPL-2.0-or-later
// Lengths of rows that kernels of every instruction set can read in whole vectors.

#ifndef UQ_WIDTH_H
#define UQ_WIDTH_H

namespace uq {

constexpr int widest = 8;    // lanes of the widest vectors

// n numbers and their padding.
constexpr int width_of(int n) {
  return (n + widest - 1) / widest * widest;
}

}    // namespace uq

#endif
