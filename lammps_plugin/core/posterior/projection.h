// SPDX-License-Identifier: GPL-2.0-or-later
// Features of atoms times a fixed matrix in single precision, reduced to one number for each atom:
// what σ_i = |φ_i R| with Σ = R Rᵀ and γ_i = max_j |φ_i A⁻¹|_j have in common. Half the memory to
// stream, twice the lanes; neither number enters a force here.

#ifndef UQ_PROJECTION_H
#define UQ_PROJECTION_H

#include <vector>

namespace uq {

class Projection {
 public:
  enum Shape { FULL, LOWER };    // LOWER: zero above the diagonal

  // matrix [rows][columns]
  Projection(int rows, int columns, Shape shape, const double *matrix);

  // For each of n rows of features, phi [n][stride]: Σ_j (φB)_j² and max_j |φB|_j.
  void squares(int n, int stride, const double *phi, double *out) const;
  void largest(int n, int stride, const double *phi, double *out) const;

 private:
  int rows_, columns_;
  Shape shape_;
  std::vector<float> matrix_;

  template <class Reduce>
  void for_panels(int n, int stride, const double *phi, const Reduce &reduce) const;
};

}    // namespace uq

#endif
