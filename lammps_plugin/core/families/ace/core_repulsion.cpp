// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/ace/core_repulsion.h"

#include "core/math/elements.h"

#include <algorithm>
#include <cmath>

using namespace uq;
using namespace uq::ace;

static constexpr double pi = 3.14159265358979323846;
static constexpr double coulomb = 14.399645351950543;    // e²/(4πε0), eV Å
static constexpr double largest_exponent = 50.0;         // c(r) is cut to zero at exp(-50)

Value ace::quintic_step(double x, double end, double width) {
  if (x <= end - width) return {1.0, 0.0};
  if (x >= end) return {0.0, 0.0};
  const double t = 1.0 - 2.0 * (1.0 + (x - end) / width), t2 = t * t;
  return {0.5 + 3.75 * t * (0.25 - t2 / 6.0 + t2 * t2 / 20.0),
          -7.5 / width * (0.25 - 0.5 * t2 + 0.25 * t2 * t2)};
}

// Universal screening function divided by r, with two derivatives with respect to r; s = 1/a.
static void screened(double r, double s, double &e, double &de, double &d2e) {
  static constexpr double c[4] = {0.18175, 0.50986, 0.28022, 0.02817};
  static constexpr double k[4] = {-3.1998, -0.94229, -0.4029, -0.20162};
  double phi = 0.0, dphi = 0.0, d2phi = 0.0;
  for (int i = 0; i < 4; i++) {
    const double t = c[i] * std::exp(k[i] * r * s);
    phi += t;
    dphi += t * k[i] * s;
    d2phi += t * k[i] * k[i] * s * s;
  }
  e = phi / r;
  de = (dphi - e) / r;
  d2e = (d2phi - 2.0 * de) / r;
}

CoreRepulsion::CoreRepulsion(const Parameters &potential, int i, int j, double spline_step) {
  const Bond &bond = potential.bond(i, j);
  inner_ = potential.inner;
  prefactor_ = bond.prehc;
  lambda_ = std::abs(bond.lambdahc);
  rcut_ = bond.rcut;
  dcut_ = bond.dcut;
  rcut_in_ = bond.rcut_in;
  dcut_in_ = bond.dcut_in;
  if (inner_ == InnerCutoff::Zbl) {
    const int zi = atomic_number(potential.elements[i]), zj = atomic_number(potential.elements[j]);
    per_screening_ = (std::pow(zi, 0.23) + std::pow(zj, 0.23)) / 0.4685;
    prefactor_ *= 0.5 * coulomb * zi * zj;
    double e, de, d2e;
    screened(rcut_, per_screening_, e, de, d2e);
    a_ = (-3.0 * de + dcut_ * d2e) / (dcut_ * dcut_);
    b_ = (2.0 * de - dcut_ * d2e) / (dcut_ * dcut_ * dcut_);
    c_ = -e + 0.5 * dcut_ * de - dcut_ * dcut_ * d2e / 12.0;
    range_ = rcut_;
  } else {
    prefactor_ = std::abs(prefactor_);
    range_ = lambda_ > 0.0 ? std::min(rcut_, std::sqrt(largest_exponent / lambda_)) : rcut_;
    if (inner_ == InnerCutoff::Distance) range_ = std::min(range_, rcut_in_);
  }
  if (prefactor_ == 0.0) range_ = 0.0;
  if (range_ > 0.0 && spline_step > 0.0) {
    const int nbins = static_cast<int>(rcut_ / spline_step);
    for (int bin = 0; bin <= nbins; bin++) {
      const Value v = bin ? exact(bin * (rcut_ / nbins)) : Value{};
      table_.push_back({v.f, v.df * (rcut_ / nbins)});
    }
    range_ = std::min(rcut_, range_ + rcut_ / nbins);
  }
}

Value CoreRepulsion::operator()(double r) const {
  if (r >= range_) return {};
  if (table_.empty()) return exact(r);
  const int nbins = static_cast<int>(table_.size()) - 1;
  const double x = r / rcut_ * nbins;
  const int bin = std::clamp(static_cast<int>(x), 1, std::max(1, nbins - 1));
  const double w = x - bin;
  const Value &p = table_[bin], &q = table_[bin + 1];
  const double c2 = 3.0 * (q.f - p.f) - q.df - 2.0 * p.df, c3 = -2.0 * (q.f - p.f) + q.df + p.df;
  return {p.f + w * (p.df + w * (c2 + w * c3)),
          (p.df + w * (2.0 * c2 + w * 3.0 * c3)) * nbins / rcut_};
}

Value CoreRepulsion::exact(double r) const {
  if (r >= rcut_) return {};
  if (inner_ == InnerCutoff::Zbl) return zbl(r);
  const double x = lambda_ * r * r;
  if (x >= largest_exponent) return {};
  const double y = prefactor_ * std::exp(-x) / r, dy = -y * (2.0 * x + 1.0) / r;
  const double cut = 0.5 * (1.0 + std::cos(pi * r / rcut_)),
               dcut = -0.5 * pi / rcut_ * std::sin(pi * r / rcut_);
  Value v = {y * cut, y * dcut + dy * cut};
  if (inner_ == InnerCutoff::Distance) {
    const Value p = quintic_step(r, rcut_in_, dcut_in_);
    v = {v.f * p.f, v.df * p.f + v.f * p.df};
  }
  return v;
}

Value CoreRepulsion::zbl(double r) const {
  double e, de, d2e;
  screened(r, per_screening_, e, de, d2e);
  const double x = std::max(0.0, r - (rcut_ - dcut_)), x2 = x * x;
  const double f = prefactor_ * (e + a_ / 3.0 * x2 * x + b_ / 4.0 * x2 * x2 + c_);
  const double df = prefactor_ * (de + a_ * x2 + b_ * x2 * x);
  const Value p = quintic_step(r, rcut_, dcut_);
  return {f * p.f, df * p.f + f * p.df};
}
