// SPDX-License-Identifier: GPL-2.0-or-later
// Hyperactive learning: C. van der Oord, M. Sachs, D. P. Kovács, C. Ortner, G. Csányi, npj Comput.
// Mater. 9, 168 (2023), arXiv:2210.04225.
//
//   E_HAL = Ē - τ S,   τ = τ_rel <mean_i |F̄_i|> / <mean_i |F_σ,i|>,   F_σ = -∇S
//
// S: see core/committee/engine.h. The averages are exponential with time constant `window`, fed by
// the unbiased force; they accumulate during the first window, in which τ = 0. τ changes only at
// the start of a real step: within a step, trial moves included, the force is the exact gradient of
// the energy.
//
// The bias pulls on the cell, too, and nothing holds a cell that a barostat has let go: `bound`
// limits the virial of the bias as it limits its forces, and the run ends when the volume has
// changed by more than a factor.

#include "fix_uq_hal.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "update.h"
#include "utils.h"

#include "uq_arguments.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

using namespace LAMMPS_NS;
using namespace FixConst;

FixUQHAL::FixUQHAL(LAMMPS *lmp, int narg, char **arg)
    : Fix(lmp, narg, arg), bias_(std::make_shared<UQBias>()) {
  scalar_flag = vector_flag = 1;
  size_vector = 8;
  global_freq = 1;
  extscalar = 1;
  extvector = 0;
  energy_global_flag = thermo_energy = 1;
  virial_global_flag = thermo_virial =
      1;    // the pair carries the bias's virial, this one stays zero
  std::fill(virial, virial + 6, 0.0);
  restart_global = 1;
  dynamic_group_allow = 1;
  nevery = 1;
  cap_ = bound_ = std::numeric_limits<double>::infinity();

  if (igroup != 0)
    error->all(FLERR, "fix uq/hal acts on the whole system: its group must be `all`");
  const PairUQ *pair = PairUQ::find(lmp);
  if (!pair)
    error->all(
        FLERR,
        "fix uq/hal needs one `pair_style uq` (alone or in a hybrid), defined before the fix");
  epsilon_ = PairUQ::EPSILON * pair->energy_unit();

  UQArguments arguments(lmp, "fix uq/hal",
                        "tau_rel tau mode window every eps cap bound floor volume", 3, narg, arg);
  while (arguments.next()) {
    if (arguments.is("tau_rel"))
      tau_rel_ = arguments.not_negative();
    else if (arguments.is("tau"))
      tau_fixed_ = arguments.not_negative();
    else if (arguments.is("mode"))
      bias_->mode = arguments.choice("global", "local") ? UQBias::LOCAL : UQBias::GLOBAL;
    else if (arguments.is("window"))
      window_ = arguments.positive();
    else if (arguments.is("every"))
      every_ = arguments.count();
    else if (arguments.is("eps"))
      epsilon_ = arguments.positive();
    else if (arguments.is("cap"))
      cap_ = arguments.positive();
    else if (arguments.is("bound"))
      bound_ = arguments.positive();
    else if (arguments.is("volume"))
      volume_ = arguments.factor();
    else
      bias_->floor = arguments.not_negative();
  }
  if ((tau_fixed_ >= 0.0) == (tau_rel_ > 0.0))
    error->all(FLERR, "fix uq/hal: give either `tau_rel` above 0 (adaptive) or `tau` (fixed)");
  bias_->tau = next_tau();
}

int FixUQHAL::setmask() {
  return INITIAL_INTEGRATE | POST_INTEGRATE | PRE_FORCE | PRE_REVERSE | END_OF_STEP |
         MIN_PRE_FORCE | MIN_PRE_REVERSE;
}

void FixUQHAL::init() {
  pair_ = PairUQ::find(lmp);
  if (!pair_) error->all(FLERR, "fix uq/hal needs one `pair_style uq` (alone or in a hybrid)");
  if (utils::strmatch(force->pair_style, "^hybrid/scaled"))
    error->all(FLERR, "fix uq/hal does not work with pair_style hybrid/scaled: use hybrid/overlay");
  if (utils::strmatch(update->integrate_style, "^respa"))
    error->all(FLERR, "fix uq/hal does not work with run_style respa: use `run_style verlet`");
  if (!thermo_energy || !thermo_virial)
    error->all(
        FLERR,
        "fix uq/hal: the bias acts as part of the pair style and cannot be left out of energy or "
        "virial: "
        "drop `fix_modify energy/virial no`; `compute ID all pe pair` is the unbiased energy");
  pair_->attach(bias_);
  if (!reference_energies_.empty()) pair_->set_reference_energies(reference_energies_);
  reference_energies_.clear();
}

// τ of the step that begins.
double FixUQHAL::next_tau() const {
  double tau = tau_fixed_;
  if (tau_fixed_ < 0.0)
    tau = steps_ < window_ || mean_sigma_ <= 0.0 ? 0.0 : tau_rel_ * mean_force_ / mean_sigma_;
  tau = std::min(tau, cap_);
  return max_relative_ > 0.0 ? std::min(tau, bound_ / max_relative_) : tau;
}

/* ---------------------------------------------------------------------- */

void FixUQHAL::initial_integrate(int /*vflag*/) {
  bias_->tau = next_tau();
}

void FixUQHAL::post_integrate() {
  check_volume();
}

void FixUQHAL::pre_force(int /*vflag*/) {
  bias_->forces = false;
  if (update->ntimestep % every_ == 0) want_forces();
}

// The virial of the bias matters where the cell follows it.
void FixUQHAL::want_forces() {
  bias_->forces = true;
  bias_->virials = domain->box_change && std::isfinite(bound_);
}

// The largest ratio of bias to force in the latest statistics: what `bound` limits.
double FixUQHAL::largest_relative() const {
  return std::max(latest_.max_relative, latest_.virial_relative);
}

// Only real force evaluations come here: trial moves of other fixes leave `latest_` alone.
void FixUQHAL::pre_reverse(int /*eflag*/, int /*vflag*/) {
  if (bias_->forces) latest_ = pair_->statistics(pair_->bias_forces(), epsilon_);
}

void FixUQHAL::setup_pre_force(int /*vflag*/) {
  if (start_volume_ == 0.0) start_volume_ = volume();
  check_volume();
  want_forces();
  if (samples_ == 0.0 && std::isfinite(bound_)) bound_first_tau();
}

// The forces of the first step are bound, too: an evaluation without bias gives the statistics.
void FixUQHAL::bound_first_tau() {
  const size_t n = 3 * static_cast<size_t>(atom->nlocal + atom->nghost);
  double *f = n ? atom->f[0] : nullptr;
  const std::vector<double> kept(f, f + n);
  bias_->tau = 0.0;
  pair_->compute(0, 0);
  std::copy(kept.begin(), kept.end(), f);
  latest_ = pair_->statistics(pair_->bias_forces(), epsilon_);
  max_relative_ = largest_relative();
  bias_->tau = next_tau();
}

void FixUQHAL::setup_pre_reverse(int eflag, int vflag) {
  pre_reverse(eflag, vflag);
  if (samples_ == 0.0) max_relative_ = largest_relative();
}

void FixUQHAL::min_pre_force(int vflag) {
  check_volume();
  pre_force(vflag);
}

void FixUQHAL::min_pre_reverse(int eflag, int vflag) {
  pre_reverse(eflag, vflag);
}

void FixUQHAL::end_of_step() {
  steps_ += 1.0;
  if (update->ntimestep % every_) return;
  const double mixing = samples_ == 0.0 ? 1.0 : std::min(1.0, every_ / window_);
  mean_force_ += mixing * (latest_.mean - mean_force_);
  mean_sigma_ += mixing * (latest_.sigma - mean_sigma_);
  max_relative_ = largest_relative();
  samples_ += 1.0;
}

// Volume of the cell, along its periodic directions only: shrink-wrapped walls follow the atoms.
double FixUQHAL::volume() const {
  double volume = 1.0;
  for (int k = 0; k < 3; k++)
    if (domain->periodicity[k]) volume *= domain->prd[k];
  return volume;
}

void FixUQHAL::check_volume() const {
  const double now = volume();
  if (now <= volume_ * start_volume_ && start_volume_ <= volume_ * now) return;
  const std::string step = std::to_string(update->ntimestep);
  const std::string frame = pair_->guard().write_frame("uq_volume." + step + ".dump");
  error->all(
      FLERR,
      "fix uq/hal: the cell has run away: its volume is {:.6g} at step {}, it was {:.6g} at "
      "the start, and a factor of {:g} is allowed; the frame is in {}. Bias less (`tau_rel`, "
      "`bound`), or allow more (`volume`)",
      now, step, start_volume_, volume_, frame);
}

/* ---------------------------------------------------------------------- */

// Asked between runs, too, when the pair style may be another.
double FixUQHAL::compute_scalar() {
  const PairUQ *pair = PairUQ::find(lmp);
  return pair ? pair->bias_energy() : 0.0;
}

double FixUQHAL::compute_vector(int n) {
  const PairUQ *pair = PairUQ::find(lmp);
  switch (n) {
  case 0:
    return bias_->tau;
  case 1:
    return pair ? pair->uncertainty() : 0.0;
  case 2:
    return mean_force_;
  case 3:
    return mean_sigma_;
  case 4:
    return latest_.max_relative;
  case 5:
    return static_cast<double>(latest_.max_id);
  case 6:
    return latest_.min_distance;
  default:
    return latest_.virial_relative;
  }
}

void FixUQHAL::write_restart(FILE *fp) {
  if (comm->me) return;
  std::vector<double> state = {bias_->tau, steps_,        mean_force_,  mean_sigma_,
                               samples_,   max_relative_, start_volume_};
  const PairUQ *pair = PairUQ::find(lmp);
  const std::vector<double> reference_energies =
      reference_energies_.empty() && pair ? pair->reference_energies() : reference_energies_;
  state.push_back(static_cast<double>(reference_energies.size()));
  state.insert(state.end(), reference_energies.begin(), reference_energies.end());
  const int size = static_cast<int>(state.size() * sizeof(double));
  fwrite(&size, sizeof(int), 1, fp);
  fwrite(state.data(), sizeof(double), state.size(), fp);
}

void FixUQHAL::restart(char *buf) {
  const auto *state = reinterpret_cast<const double *>(buf);
  steps_ = state[1];
  mean_force_ = state[2];
  mean_sigma_ = state[3];
  samples_ = state[4];
  max_relative_ = state[5];
  start_volume_ = state[6];
  reference_energies_.assign(state + 8, state + 8 + static_cast<int>(state[7]));
  const bool varies = tau_fixed_ < 0.0 || std::isfinite(bound_);
  bias_->tau = varies ? std::min(state[0], cap_) : next_tau();
}
