// SPDX-License-Identifier: GPL-2.0-or-later
// A full neighbour list of a periodic structure, given as pairs with the shifts of their images, as
// the view of neighbors.h: one ghost for each image of an atom that is somebody's neighbour.

#ifndef UQ_GEOMETRY_PERIODIC_LIST_H
#define UQ_GEOMETRY_PERIODIC_LIST_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace uq {

class PeriodicList {
 public:
  // natoms positions (Å); cell: rows are its vectors (Å); npairs pairs (i, j): the image of j,
  // moved by shift · cell, is a neighbour of i. Pairs may come in any order; the neighbours of an
  // atom keep theirs. Throws uq::Error where an index or the number of images is out of range.
  PeriodicList(size_t natoms, const double *positions, const double *cell, size_t npairs,
               const uint64_t *i, const uint64_t *j, const int32_t *shifts);

  int ntotal() const { return static_cast<int>(owner_.size()); }
  const std::vector<double> &x() const { return x_; }             // [ntotal][3], atoms, then ghosts
  const std::vector<int> &owner() const { return owner_; }        // [ntotal], the atom imaged
  const std::vector<int> &first() const { return first_; }        // [natoms + 1], rows of indices()
  const std::vector<int> &indices() const { return indices_; }    // [npairs]

 private:
  std::vector<double> x_;
  std::vector<int> owner_, first_, indices_;
};

}    // namespace uq

#endif
