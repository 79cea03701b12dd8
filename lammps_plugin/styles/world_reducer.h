// SPDX-License-Identifier: GPL-2.0-or-later
// Sums over the ranks of a LAMMPS, for the core.

#ifndef LMP_WORLD_REDUCER_H
#define LMP_WORLD_REDUCER_H

#include "core/parallel/reducer.h"

#include <mpi.h>

namespace LAMMPS_NS {

class WorldReducer : public uq::Reducer {
 public:
  explicit WorldReducer(MPI_Comm world) : world_(world) {
    MPI_Comm_rank(world, &rank_);
    MPI_Comm_size(world, &size_);
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void sum(double *values, int n) override {
    if (size_ > 1) MPI_Allreduce(MPI_IN_PLACE, values, n, MPI_DOUBLE, MPI_SUM, world_);
  }

 private:
  MPI_Comm world_;
  int rank_, size_;
};

}    // namespace LAMMPS_NS

#endif
