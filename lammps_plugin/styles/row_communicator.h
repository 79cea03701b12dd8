// SPDX-License-Identifier: GPL-2.0-or-later
// Rows of numbers of atoms between owners and ghosts, by the communication of a pair style, which
// hands LAMMPS's calls for packing on. Every call of forward() and reverse() is collective.

#ifndef LMP_ROW_COMMUNICATOR_H
#define LMP_ROW_COMMUNICATOR_H

#include "core/parallel/exchange.h"

namespace LAMMPS_NS {

class LAMMPS;
class Pair;

class RowCommunicator : public uq::Exchange {
 public:
  RowCommunicator(LAMMPS *lmp, Pair *pair) : lmp_(lmp), pair_(pair) {}

  // values [nall][width]: owners to ghosts; ghosts added to owners, of two arrays in one message.
  void forward(int width, double *values) override;
  void reverse(int width, double *values) override { reverse(width, values, nullptr); }
  void reverse(int width, double *a, double *b);

  int pack_forward(int n, const int *sendlist, double *buf) const;
  void unpack_forward(int n, int first, const double *buf);
  int pack_reverse(int n, int first, double *buf) const;
  void unpack_reverse(int n, const int *sendlist, const double *buf);

 private:
  LAMMPS *lmp_;
  Pair *pair_;
  double *rows_[2] = {nullptr, nullptr};    // of the communication under way
  int width_ = 3;
};

}    // namespace LAMMPS_NS

#endif
