// SPDX-License-Identifier: GPL-2.0-or-later
// Coupling of integer angular momenta (Condon-Shortley phases).

#ifndef UQ_MATH_CLEBSCH_GORDAN_H
#define UQ_MATH_CLEBSCH_GORDAN_H

#include <utility>
#include <vector>

namespace uq {

constexpr int max_momentum = 24;    // the largest angular momentum that the two functions take

// ⟨j1 m1 j2 m2 | j m1 + m2⟩ by Racah's formula; 0 outside the triangle rule or where |m| > j.
double clebsch_gordan(int j1, int m1, int j2, int m2, int j);

// Order of the couplings of `rank` momenta: neighbours pairwise, then the results pairwise, an odd
// momentum last. Momenta are nodes 0 .. rank - 1; coupling i makes node rank + i of two earlier
// ones.
std::vector<std::pair<int, int>> coupling_tree(int rank);

// One product of a coupled function: (m_1, .., m_rank) and its generalised coefficient.
struct Coupled {
  std::vector<int> ms;
  double coefficient;
};

// Products that couple momenta `ls` through `intermediate` (those of the couplings in their order
// but for the last, which is zero) to an invariant. Σl must be even; of m and -m, which have the
// same real part, one stands for both.
std::vector<Coupled> couple_to_invariant(const std::vector<int> &ls,
                                         const std::vector<int> &intermediate);

}    // namespace uq

#endif
