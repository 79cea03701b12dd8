// SPDX-License-Identifier: GPL-2.0-or-later

#include "compute_uq_atom.h"

#include "pair_uq.h"
#include "uq_arguments.h"

#include "atom.h"
#include "error.h"
#include "memory.h"
#include "update.h"

#include <algorithm>

using namespace LAMMPS_NS;

ComputeUQAtom::ComputeUQAtom(LAMMPS *lmp, int narg, char **arg) : Compute(lmp, narg, arg) {
  peratom_flag = 1;
  init();
  epsilon_ = PairUQ::EPSILON * pair_->energy_unit();

  UQArguments arguments(lmp, "compute uq/atom", (uq_peratom_keywords("", "", " ") + " eps").c_str(),
                        3, narg, arg);
  while (arguments.next()) {
    for (const PerAtomQuantity &quantity : uq_peratom_quantities)
      if (arguments.is(quantity.keyword)) quantities_.push_back(&quantity);
    if (arguments.is("eps")) epsilon_ = arguments.positive();
  }
  if (quantities_.empty())
    error->all(FLERR,
               "compute uq/atom: name one or more of " + uq_peratom_keywords("`", "`", ", "));
  int columns = 0;
  for (const PerAtomQuantity *quantity : quantities_) columns += quantity->width;
  size_peratom_cols = columns == 1 ? 0 : columns;
}

ComputeUQAtom::~ComputeUQAtom() {
  memory->destroy(vector_atom);
  memory->destroy(array_atom);
}

void ComputeUQAtom::init() {
  pair_ = PairUQ::find(lmp);
  if (!pair_)
    error->all(
        FLERR,
        "compute uq/atom needs one `pair_style uq` (alone or in a hybrid), defined before it");
}

void ComputeUQAtom::grow() {
  if (nmax_ >= atom->nmax) return;
  nmax_ = atom->nmax;
  if (size_peratom_cols == 0) {
    memory->destroy(vector_atom);
    memory->create(vector_atom, nmax_, "uq/atom:vector");
  } else {
    memory->destroy(array_atom);
    memory->create(array_atom, nmax_, size_peratom_cols, "uq/atom:array");
  }
}

void ComputeUQAtom::compute_peratom() {
  init();    // the pair style may be another since the latest run
  invoked_peratom = update->ntimestep;
  grow();
  const int nlocal = atom->nlocal;
  int column = 0;
  for (const PerAtomQuantity *quantity : quantities_) {
    const int width = quantity->width;
    values_.resize(static_cast<size_t>(width) * std::max(nlocal, 1));
    quantity->compute(*pair_, epsilon_, nlocal, values_.data());
    for (int i = 0; i < nlocal; i++)
      for (int c = 0; c < width; c++) {
        const double value = atom->mask[i] & groupbit ? values_[width * i + c] : 0.0;
        (size_peratom_cols ? array_atom[i][column + c] : vector_atom[i]) = value;
      }
    column += width;
  }
}

double ComputeUQAtom::memory_usage() {
  return (static_cast<double>(nmax_) * std::max(size_peratom_cols, 1) + values_.capacity()) *
         sizeof(double);
}
