// SPDX-License-Identifier: GPL-2.0-or-later

#include "compute_uq.h"

#include "pair_uq.h"
#include "uq_arguments.h"

#include "error.h"
#include "update.h"

using namespace LAMMPS_NS;

ComputeUQ::ComputeUQ(LAMMPS *lmp, int narg, char **arg) : Compute(lmp, narg, arg) {
  vector_flag = 1;
  extvector = 0;
  if (igroup != 0)
    error->all(FLERR, "compute uq acts on the whole system: its group must be `all`");
  init();
  epsilon_ = PairUQ::EPSILON * pair_->energy_unit();
  UQArguments arguments(lmp, "compute uq", "grade eps", 3, narg, arg);
  while (arguments.next()) {
    if (arguments.is("grade"))
      grade_ = true;
    else
      epsilon_ = arguments.positive();
  }
  size_vector = grade_ ? 8 : 6;
  vector = new double[size_vector]();
}

ComputeUQ::~ComputeUQ() {
  delete[] vector;
}

void ComputeUQ::init() {
  pair_ = PairUQ::find(lmp);
  if (!pair_)
    error->all(FLERR,
               "compute uq needs one `pair_style uq` (alone or in a hybrid), defined before it");
}

void ComputeUQ::compute_vector() {
  init();    // the pair style may be another since the latest run
  const bool first = invoked_vector < 0;
  invoked_vector = update->ntimestep;
  if (!first && !pair_->spread_due()) return;
  if (pair_->has_uncertainty() || !grade_) {
    const UQStatistics s = pair_->statistics(pair_->sigma_forces(), epsilon_);
    vector[0] = pair_->sigma();
    vector[1] = s.max_relative;
    vector[2] = static_cast<double>(s.max_id);
    vector[3] = s.mean;
    vector[4] = s.sigma;
    vector[5] = s.min_distance;
  }
  if (!grade_) return;
  tagint id;
  pair_->largest_grade(vector[6], id);
  vector[7] = static_cast<double>(id);
}
