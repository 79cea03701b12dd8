// SPDX-License-Identifier: GPL-2.0-or-later

#include "compute_uq.h"

#include "pair_uq.h"

#include "error.h"
#include "force.h"
#include "update.h"
#include "utils.h"

#include <string>

using namespace LAMMPS_NS;

ComputeUQ::ComputeUQ(LAMMPS *lmp, int narg, char **arg) : Compute(lmp, narg, arg) {
  vector_flag = 1;
  size_vector = 6;
  extvector = 0;
  vector = new double[size_vector]();

  if (igroup != 0)
    error->all(FLERR, "compute uq acts on the whole system: its group must be `all`");
  init();
  epsilon_ = PairUQ::EPSILON * pair_->energy_unit();
  if (narg == 3) return;
  if (narg != 5 || std::string(arg[3]) != "eps")
    error->all(FLERR, "compute uq: expected no further arguments or `eps E`, E a force above 0");
  epsilon_ = utils::numeric(FLERR, arg[4], false, lmp);
  if (!(epsilon_ > 0.0))
    error->all(FLERR, "compute uq: eps is " + std::string(arg[4]) + ", expected a force above 0");
}

ComputeUQ::~ComputeUQ() {
  delete[] vector;
}

void ComputeUQ::init() {
  pair_ = dynamic_cast<PairUQ *>(force->pair_match("uq", 1));
  if (!pair_)
    error->all(FLERR,
               "compute uq needs one `pair_style uq` (alone or in a hybrid), defined before it");
}

void ComputeUQ::compute_vector() {
  const bool first = invoked_vector < 0;
  invoked_vector = update->ntimestep;
  if (!first && !pair_->spread_due()) return;
  const UQStatistics s = pair_->statistics(pair_->sigma_forces(), epsilon_);
  vector[0] = pair_->sigma();
  vector[1] = s.max_relative;
  vector[2] = static_cast<double>(s.max_id);
  vector[3] = s.mean;
  vector[4] = s.sigma;
  vector[5] = s.min_distance;
}
