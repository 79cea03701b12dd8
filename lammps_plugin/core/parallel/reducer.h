// SPDX-License-Identifier: GPL-2.0-or-later
// Sums over the processes that share a structure. Code that has a communicator implements it;
// the core itself knows no MPI. Every call is collective.

#ifndef UQ_REDUCER_H
#define UQ_REDUCER_H

namespace uq {

class Reducer {
 public:
  virtual ~Reducer() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual void sum(double *values, int n) = 0;    // in place, the same on all ranks afterwards
};

// One process holds the whole structure.
class NoReducer : public Reducer {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void sum(double * /*values*/, int /*n*/) override {}
};

}    // namespace uq

#endif
