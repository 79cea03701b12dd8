// SPDX-License-Identifier: GPL-2.0-or-later
// J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter (1985).

#include "core/math/zbl.h"

#include <algorithm>
#include <cmath>
#include <iterator>

using namespace uq;

static constexpr double pi = 3.14159265358979323846;
static constexpr double coulomb = 14.399645;         // e²/(4πε0), eV Å, as in GPUMD
static constexpr double per_screening = 2.134563;    // 1/(0.46848 Å), as in GPUMD

Screening Screening::universal(double r_in, double r_out) {
  return {r_in, r_out, {0.18175, 0.50986, 0.28022, 0.02817}, {3.1998, 0.94229, 0.4029, 0.20162}};
}

bool uq::operator==(const Screening &s, const Screening &t) {
  return s.r_in == t.r_in && s.r_out == t.r_out &&
         std::equal(std::begin(s.a), std::end(s.a), std::begin(t.a)) &&
         std::equal(std::begin(s.b), std::end(s.b), std::begin(t.b));
}

PairRepulsion::PairRepulsion(const Screening &screening, int zi, int zj)
    : screening_(screening), charge_(coulomb * zi * zj),
      per_length_(per_screening * (std::pow(zi, 0.23) + std::pow(zj, 0.23))) {}

void PairRepulsion::evaluate(double r, double &energy, double &slope) const {
  double phi = 0.0, dphi = 0.0;
  for (int p = 0; p < 4; p++) {
    const double rate = screening_.b[p] * per_length_, t = screening_.a[p] * std::exp(-rate * r);
    phi += t;
    dphi -= rate * t;
  }
  double f = 1.0, df = 0.0;
  if (r > screening_.r_in) {
    const double factor = pi / (screening_.r_out - screening_.r_in),
                 angle = factor * (r - screening_.r_in);
    f = 0.5 * (1.0 + std::cos(angle));
    df = -0.5 * factor * std::sin(angle);
  }
  energy = charge_ * phi / r * f;
  slope = charge_ / r * ((dphi - phi / r) * f + phi * df);
}
