// SPDX-License-Identifier: GPL-2.0-or-later
// compute uq: uncertainty of the whole system, on demand.

#ifndef LMP_COMPUTE_UQ_H
#define LMP_COMPUTE_UQ_H

#include "compute.h"

namespace LAMMPS_NS {

class ComputeUQ : public Compute {
 public:
  ComputeUQ(class LAMMPS *, int, char **);
  ~ComputeUQ() override;
  void init() override;
  void compute_vector() override;

 private:
  class PairUQ *pair_ = nullptr;
  double epsilon_;    // force units
  bool grade_ = false;
};

}    // namespace LAMMPS_NS

#endif
