// SPDX-License-Identifier: GPL-2.0-or-later
// What holds atoms apart at short distance: the pair function c(r), and the switch from the ACE
// energy F to it,
//
//   density, distance:  E = E0 + f F + ρ,          f = P(ρ; rho_core_cutoff, drho_core_cutoff),
//                       ρ = Σ_j c(r_j)
//   zbl:                E = E0 + f F + (1 - f) ρ,  f = P(dcut_in - d; dcut_in, dcut_in),
//                       d = min_j [r_j - (rcut_in - dcut_in)]
//
// with the quintic step P(x; end, width): 1 below end - width, 0 above end.

#ifndef UQ_ACE_CORE_REPULSION_H
#define UQ_ACE_CORE_REPULSION_H

#include "core/families/ace/parameters.h"

namespace uq {
namespace ace {

struct Value {
  double f = 0.0, df = 0.0;
};

Value quintic_step(double x, double end, double width);

class CoreRepulsion {
 public:
  CoreRepulsion() = default;
  // spline_step > 0: interpolate as the reference evaluator does.
  CoreRepulsion(const Parameters &potential, int i, int j, double spline_step);

  double range() const { return range_; }    // Å; zero beyond
  Value operator()(double r) const;          // eV, eV/Å

 private:
  InnerCutoff inner_ = InnerCutoff::Density;
  double prefactor_ = 0.0, lambda_ = 0.0;
  double rcut_ = 0.0, dcut_ = 0.0, rcut_in_ = 0.0, dcut_in_ = 0.0;
  double per_screening_ = 0.0, a_ = 0.0, b_ = 0.0, c_ = 0.0;    // zbl
  double range_ = 0.0;
  std::vector<Value> table_;

  Value exact(double r) const;
  Value zbl(double r) const;
};

}    // namespace ace
}    // namespace uq

#endif
