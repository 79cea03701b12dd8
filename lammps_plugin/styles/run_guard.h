// SPDX-License-Identifier: GPL-2.0-or-later
// Ends a run whose numbers mean nothing any more, with the frame on disk and the atom to look at.

#ifndef LMP_RUN_GUARD_H
#define LMP_RUN_GUARD_H

#include "pointers.h"

#include <string>

namespace LAMMPS_NS {

class NeighList;
class PairUQ;

class RunGuard : protected Pointers {
 public:
  static constexpr double COINCIDENT = 1e-3;    // Å: atoms closer than this are a mistake

  RunGuard(LAMMPS *lmp, const PairUQ &pair) : Pointers(lmp), pair_(pair) {}

  // Stops on NaN or infinity and on atoms on top of each other, whose finite energy means nothing.
  // Collective. uncertainty: that of a biased run; null: unbiased.
  void check(double energy, double min_distance, const NeighList &list,
             const double *uncertainty) const;

  std::string write_frame(const std::string &name) const;    // collective; returns the name

 private:
  const PairUQ &pair_;

  [[noreturn]] void report_coincident(const NeighList &list, const std::string &step) const;
  [[noreturn]] void report_nonfinite(const double *uncertainty, const std::string &step) const;
  std::string closest_pair(const NeighList &list) const;
};

}    // namespace LAMMPS_NS

#endif
