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

  UQArguments arguments(lmp, "compute uq/atom", "energy force relative grade noise eps", 3, narg,
                        arg);
  while (arguments.next()) {
    if (arguments.is("energy"))
      columns_.push_back(ENERGY);
    else if (arguments.is("force"))
      columns_.push_back(FORCE);
    else if (arguments.is("relative"))
      columns_.push_back(RELATIVE);
    else if (arguments.is("grade"))
      columns_.push_back(GRADE);
    else if (arguments.is("noise"))
      columns_.push_back(NOISE);
    else
      epsilon_ = arguments.positive();
  }
  if (columns_.empty())
    error->all(FLERR,
               "compute uq/atom: name one or more of `energy`, `force`, `relative`, `grade`, "
               "`noise`");
  size_peratom_cols = columns_.size() == 1 ? 0 : static_cast<int>(columns_.size());
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

bool ComputeUQAtom::wants(Quantity q) const {
  return std::find(columns_.begin(), columns_.end(), q) != columns_.end();
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
  const double *sigma = wants(ENERGY) ? pair_->sigma_atom() : nullptr;
  const double *grades = wants(GRADE) ? pair_->grade_atom() : nullptr;
  const double *noise = wants(NOISE) ? pair_->noise_atom() : nullptr;
  const UQForces *forces = wants(FORCE) || wants(RELATIVE) ? &pair_->sigma_forces() : nullptr;
  for (int i = 0; i < atom->nlocal; i++) {
    const bool mine = atom->mask[i] & groupbit;
    const UQForces::Norms norms = forces && mine ? forces->norms(i, epsilon_) : UQForces::Norms{};
    for (size_t c = 0; c < columns_.size(); c++) {
      double value = 0.0;
      if (mine)
        value = columns_[c] == ENERGY  ? sigma[i]
                : columns_[c] == GRADE ? grades[i]
                : columns_[c] == NOISE ? noise[i]
                : columns_[c] == FORCE ? norms.sigma
                                       : norms.relative;
      (size_peratom_cols ? array_atom[i][c] : vector_atom[i]) = value;
    }
  }
}

double ComputeUQAtom::memory_usage() {
  return static_cast<double>(nmax_) * std::max(size_peratom_cols, 1) * sizeof(double);
}
