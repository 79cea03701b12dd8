// SPDX-License-Identifier: GPL-2.0-or-later
// The per-atom quantities of pair_style uq: one row for each says all that compute uq/atom, fix
// pair (extract, extract_peratom) and the pair style itself need to know of it.

#ifndef LMP_PERATOM_TABLE_H
#define LMP_PERATOM_TABLE_H

#include "core/committee/engine.h"

#include <array>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class PairUQ;

struct PerAtomQuantity {
  const char *name;       // of fix pair, whose trigger is NAME_flag
  const char *keyword;    // of compute uq/atom
  const char *units;      // LAMMPS's units of energy or force; "": a plain number
  int width;              // columns
  // What of a pass over atoms it is; null: it comes out of no such pass.
  double *uq::Engine::PerAtom::*by_pass;
  // Writes [nlocal][width], at the positions of the pair's latest compute(); collective. epsilon: ε
  // of relative uncertainties. Ends in a LAMMPS error where no model has the quantity.
  void (*compute)(PairUQ &pair, double epsilon, int nlocal, double *values);
};

inline constexpr int UQ_PERATOM_QUANTITIES = 5;
extern const std::array<PerAtomQuantity, UQ_PERATOM_QUANTITIES> uq_peratom_quantities;

// The keywords of all quantities, each behind the other.
std::string uq_peratom_keywords(const std::string &before, const std::string &after,
                                const std::string &between);

// What fix pair asks for in some steps.
class PerAtomTable {
 public:
  void *flag(const char *name);            // of a trigger, set by fix pair; null: no such one
  double *values(const char *name);        // [nlocal][width] of the latest fill(); null: none
  static int columns(const char *name);    // for extract_peratom: 0 for one column
  bool wanted() const;                     // any
  bool wanted(double *uq::Engine::PerAtom::*by_pass) const;
  void fill(PairUQ &pair, double epsilon, int nlocal);
  double memory_usage() const;    // bytes

 private:
  struct Output {
    int flag = 0;
    std::vector<double> values;
  };
  std::array<Output, UQ_PERATOM_QUANTITIES> outputs_;
};

}    // namespace LAMMPS_NS

#endif
