// SPDX-License-Identifier: GPL-2.0-or-later
// Extrapolation grade by D-optimality: E. V. Podryabinkin, A. V. Shapeev, Comput. Mater. Sci. 140,
// 171 (2017); Y. Lysogorskiy et al., Phys. Rev. Materials 7, 043801 (2023). A_z holds, as rows, the
// features of the environments of species z that MaxVol selected; an environment φ = γ A_z has the
// grade max_j |γ_j|. Up to 1 it interpolates.

#ifndef UQ_ACTIVE_SET_H
#define UQ_ACTIVE_SET_H

#include "core/map/feature_map.h"

#include <vector>

namespace uq {

class ActiveSet {
 public:
  ActiveSet() = default;
  // The inverses of A_z, [count(z)][count(z)], species after species. Throws uq::Error.
  ActiveSet(const FeatureMap &map, std::vector<double> inverses);

  bool empty() const { return inverses_.empty(); }
  const double *inverse(int species) const { return inverses_.data() + first_[species]; }
  // Extrapolation grades of n atoms of one species from their features, phi [n][stride].
  void grades(int species, int n, int stride, const double *phi, double *grades) const;

 private:
  std::vector<double> inverses_;
  std::vector<size_t> first_;    // [species], where its inverse starts
  std::vector<int> count_;
};

}    // namespace uq

#endif
