// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/posterior/active_set.h"

#include "core/error.h"
#include "core/math/matrix.h"

#include <cmath>
#include <string>

using namespace uq;

ActiveSet::ActiveSet(const FeatureMap &map, std::vector<double> inverses)
    : inverses_(std::move(inverses)) {
  size_t size = 0;
  for (size_t z = 0; z < map.elements().size(); z++) {
    first_.push_back(size);
    count_.push_back(map.count(static_cast<int>(z)));
    size += static_cast<size_t>(count_[z]) * count_[z];
  }
  if (inverses_.size() != size)
    throw Error("the inverse of the active set has " + std::to_string(inverses_.size()) +
                " numbers, expected " + std::to_string(size) +
                ", the squares of the features of each species");
}

void ActiveSet::grades(int species, int n, int stride, const double *phi, double *grades) const {
  const int count = count_[species];
  std::vector<double> gamma(static_cast<size_t>(n) * count);
  matrix().multiply(n, count, count, phi, stride, inverse(species), count, gamma.data(), count);
  for (int i = 0; i < n; i++) {
    double largest = 0.0;
    for (int j = 0; j < count; j++) {
      const double value = std::fabs(gamma[static_cast<size_t>(i) * count + j]);
      if (!(value <= largest)) largest = value;    // a NaN stays
    }
    grades[i] = largest;
  }
}
