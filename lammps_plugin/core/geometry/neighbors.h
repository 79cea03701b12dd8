// SPDX-License-Identifier: GPL-2.0-or-later
// A view of atoms and neighbour lists. Nothing here is owned: the caller (a LAMMPS pair style, the
// Python binding) keeps the arrays alive while the view is in use.

#ifndef UQ_NEIGHBORS_H
#define UQ_NEIGHBORS_H

namespace uq {

class Exchange;

struct Neighbors {
  int ntotal = 0;               // atoms with coordinates: owned and ghost
  const double *x = nullptr;    // [ntotal][3], Å
  const int *species =
      nullptr;    // [ntotal], species index of the model; -1: not of this model, skipped

  int ncenters = 0;                // atoms whose energy is evaluated
  const int *centers = nullptr;    // [ncenters + nrelays], index into x; a centre has species >= 0
  int nrelays = 0;    // ghosts behind the centres that only pass messages on, instead of `exchange`
  const int *counts =
      nullptr;    // [ntotal], neighbours of atom i (full list, may exceed the cutoff)
  const int *const *neighbors = nullptr;    // [ntotal], list of atom i; entries are index & mask
  int mask = ~0;                            // bits of a list entry that hold the index

  Exchange *exchange = nullptr;    // null: no ghosts, relays, or a map that passes no messages
};

}    // namespace uq

#endif
