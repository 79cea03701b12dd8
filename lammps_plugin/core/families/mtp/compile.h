// SPDX-License-Identifier: GPL-2.0-or-later
// From a potential file to the plain arrays of the kernels.

#ifndef UQ_MTP_COMPILE_H
#define UQ_MTP_COMPILE_H

#include "core/families/mtp/parameters.h"
#include "core/families/mtp/plan.h"

#include <vector>

namespace uq {
namespace mtp {

// Owns what a RowPlan points to.
struct Rows {
  struct Entry {
    int left, right;    // nodes
    double weight;
  };
  // entries[i]: the terms of output i. `given` [output]: what the output holds already is added to;
  // such outputs have no row if there are no terms. `level` [output]: rows of a level need only
  // those of lower ones.
  Rows(const std::vector<std::vector<Entry>> &entries, const std::vector<int> &level,
       const std::vector<bool> &given);
  RowPlan view() const;

 private:
  std::vector<uint32_t> row_;
  std::vector<int> size_;
  std::vector<uint8_t> adds_;
  std::vector<Term> terms_;
};

// The angular part and the products, with everything that the views point to.
class Compiled {
 public:
  Compiled(const Parameters &potential);
  Compiled(const Compiled &) = delete;

  RadialPlan radial;
  AngularPlan angular;
  ProductPlan products;
  std::vector<int> slots;      // [nslots], radial function μ of the file
  std::vector<int> scalars;    // node of each scalar moment of the energy

 private:
  std::vector<int> place_;
  std::vector<Expansion> expansion_;
  std::vector<Rows> rows_;    // forward, backward

  void sort_slots(const Parameters &potential);
  void place_core();
  std::vector<int> basic_nodes(const Parameters &potential);
  int core_node(int slot, int a, int b, int c) const;
};

}    // namespace mtp
}    // namespace uq

#endif
