// SPDX-License-Identifier: GPL-2.0-or-later
// Embedding functions F(ρ; m) ~ sign(ρ) |ρ|^m, made smooth at ρ = 0.
// Y. Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021); A. Bochkarev et al., Phys. Rev. Mater. 6,
// 013804 (2022).

#include "core/families/ace/compile.h"

#include <cmath>

using namespace uq;
using namespace uq::ace;

// With a = |ρ|, e = exp(-a), ν = 1/m: (ν^{ν/(1-ν)} e + a)^m - ν^{1/(1-ν)} e.
static Value shifted_scaled(double a, double m) {
  const double nu = 1.0 / m, e = std::exp(-a);
  const double inner = std::pow(nu, nu / (1.0 - nu)), outer = std::pow(nu, 1.0 / (1.0 - nu));
  const double base = inner * e + a;
  return {std::pow(base, m) - outer * e,
          m * std::pow(base, m - 1.0) * (1.0 - inner * e) + outer * e};
}

// (1 - g) a^m + λ g a with g = exp(-(a/w)³), w = 1e-6 and the slope λ = w^{m-1}.
static Value smoothed_power(double a, double m) {
  static constexpr double width = 1e-6, largest_exponent = 30.0;
  const double slope = std::pow(width, m - 1.0);
  if (a < 1e-10) return {slope * a, slope};
  const double cube = std::pow(a / width, 3), g = cube > largest_exponent ? 0.0 : std::exp(-cube);
  const double dg = -3.0 * cube / a * g, power = std::pow(a, m);
  return {(1.0 - g) * power + slope * g * a,
          (1.0 - g) * m * power / a - dg * power + slope * (g + dg * a)};
}

Value ace::embed(Embedding embedding, double rho, double exponent) {
  if (exponent == 1.0) return {rho, 1.0};
  const double a = std::abs(rho);
  Value v = embedding == Embedding::FinnisSinclair ? smoothed_power(a, exponent)
                                                   : shifted_scaled(a, exponent);
  if (rho < 0.0) v.f = -v.f;
  return v;
}
