// SPDX-License-Identifier: GPL-2.0-or-later
// compute uq/atom: uncertainty of each atom's energy and force, on demand.

#ifndef LMP_COMPUTE_UQ_ATOM_H
#define LMP_COMPUTE_UQ_ATOM_H

#include "compute.h"

#include <vector>

namespace LAMMPS_NS {

class ComputeUQAtom : public Compute {
 public:
  ComputeUQAtom(class LAMMPS *, int, char **);
  ~ComputeUQAtom() override;
  void init() override;
  void compute_peratom() override;
  double memory_usage() override;

 private:
  class PairUQ *pair_ = nullptr;
  std::vector<const struct PerAtomQuantity *> quantities_;    // in the order of the columns
  std::vector<double> values_;                                // of one of them
  double epsilon_;                                            // force units
  int nmax_ = 0;

  void grow();
};

}    // namespace LAMMPS_NS

#endif
