// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/committee/spread.h"

#include <cmath>

using namespace uq;

void Spread::start(size_t n, int width, int members) {
  width_ = width;
  members_ = members;
  added_ = 0;
  mean_.assign(n * width, 0.0);
  squares_.assign(n, 0.0);
}

// Welford's update of mean and squares.
void Spread::add_member(const double *values) {
  added_++;
  for (size_t i = 0; i < squares_.size(); i++)
    for (int c = 0; c < width_; c++) {
      const double value = values[i * width_ + c];
      double &mean = mean_[i * width_ + c];
      const double before = value - mean;
      mean += before / added_;
      squares_[i] += before * (value - mean);
    }
}

void Spread::add_posterior(const double *values) {
  for (size_t i = 0; i < squares_.size(); i++)
    for (int c = 0; c < width_; c++) squares_[i] += values[i * width_ + c] * values[i * width_ + c];
}

std::vector<double> Spread::deviations() const {
  std::vector<double> deviations(squares_.size());
  for (size_t i = 0; i < deviations.size(); i++) deviations[i] = std::sqrt(squares_[i] / members_);
  return deviations;
}
