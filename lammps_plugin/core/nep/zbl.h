// SPDX-License-Identifier: GPL-2.0-or-later
// The repulsion of nuclei at short distance, which carries no readout weight.

#ifndef UQ_NEP_ZBL_H
#define UQ_NEP_ZBL_H

#include "potential.h"

namespace uq {
namespace nep {

class PairRepulsion {
 public:
  PairRepulsion() = default;
  PairRepulsion(const Screening &screening, int zi, int zj);    // atomic numbers

  double range() const { return screening_.r_out; }    // Å; zero beyond
  // Energy of the pair (eV) and its slope (eV/Å) at 0 < r < range().
  void evaluate(double r, double &energy, double &slope) const;

 private:
  Screening screening_;
  double charge_ = 0.0, per_length_ = 0.0;    // K Z_i Z_j, eV Å; 1/a, 1/Å
};

}    // namespace nep
}    // namespace uq

#endif
