// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/posterior/projection.h"

#include "core/math/matrix.h"

#include <algorithm>

using namespace uq;

static constexpr int PANEL = 128;    // columns of a product that is reduced while in cache

Projection::Projection(int rows, int columns, Shape shape, const double *matrix)
    : rows_(rows), columns_(columns), shape_(shape),
      matrix_(matrix, matrix + static_cast<size_t>(rows) * columns) {}

// reduce(product [n][PANEL], its columns) for one panel of columns after the other.
template <class Reduce>
void Projection::for_panels(int n, int stride, const double *phi, const Reduce &reduce) const {
  std::vector<float> features(static_cast<size_t>(n) * rows_),
      product(static_cast<size_t>(n) * PANEL);
  for (int i = 0; i < n; i++)
    std::copy_n(phi + static_cast<size_t>(i) * stride, rows_,
                &features[static_cast<size_t>(i) * rows_]);
  for (int first = 0; first < columns_; first += PANEL) {
    const int width = std::min(PANEL, columns_ - first), skipped = shape_ == LOWER ? first : 0;
    matrix().multiply_single(n, width, rows_ - skipped, features.data() + skipped, rows_,
                             matrix_.data() + static_cast<size_t>(skipped) * columns_ + first,
                             columns_, product.data(), PANEL);
    reduce(product.data(), width);
  }
}

void Projection::squares(int n, int stride, const double *phi, double *out) const {
  std::fill(out, out + n, 0.0);
  for_panels(n, stride, phi, [&](const float *product, int width) {
    matrix().add_squares(n, width, product, PANEL, out);
  });
}

void Projection::largest(int n, int stride, const double *phi, double *out) const {
  std::fill(out, out + n, 0.0);
  for_panels(n, stride, phi, [&](const float *product, int width) {
    matrix().raise_to_largest(n, width, product, PANEL, out);
  });
}
