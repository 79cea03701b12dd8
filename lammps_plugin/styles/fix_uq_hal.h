// SPDX-License-Identifier: GPL-2.0-or-later
// fix uq/hal: uncertainty-biased dynamics on E - τσ with adaptive τ. The pair style uq evaluates;
// this fix controls τ, keeps its averages and shows them.

#ifndef LMP_FIX_UQ_HAL_H
#define LMP_FIX_UQ_HAL_H

#include "fix.h"
#include "pair_uq.h"

#include <memory>
#include <vector>

namespace LAMMPS_NS {

class FixUQHAL : public Fix {
 public:
  FixUQHAL(class LAMMPS *, int, char **);
  int setmask() override;
  void init() override;
  void setup_pre_force(int) override;
  void setup_pre_reverse(int, int) override;
  void min_pre_force(int) override;
  void min_pre_reverse(int, int) override;
  void initial_integrate(int) override;
  void post_integrate() override;
  void pre_force(int) override;
  void pre_reverse(int, int) override;
  void end_of_step() override;
  double compute_scalar() override;
  double compute_vector(int) override;
  void write_restart(FILE *) override;
  void restart(char *) override;

 private:
  PairUQ *pair_ = nullptr;
  std::shared_ptr<UQBias>
      bias_;    // shared with the pair, which outlives or is outlived by this fix

  double tau_fixed_ = -1.0;    // negative: adaptive
  double tau_rel_ = 0.0;
  double window_ = 100.0;    // steps
  int every_ = 10;           // steps from one statistics step to the next
  double epsilon_;           // force units
  double cap_, bound_;       // largest τ; largest relative bias
  double volume_ = 2.0;      // largest factor between the volume and that of the start

  // State, in restart files; bias_->tau belongs to it.
  double steps_ = 0.0;           // real steps since the start
  double mean_force_ = 0.0;      // running average of the mean |F̄_i|, force units
  double mean_sigma_ = 0.0;      // the same of |F_σ,i|
  double samples_ = 0.0;         // statistics steps in the averages
  double max_relative_ = 0.0;    // largest relative uncertainty of force or virial, for `bound`
  double start_volume_ = 0.0;    // Å³, see volume(); 0: no run so far
  std::vector<double> reference_energies_;    // of a restart file, until the pair has them
                                              // (PairUQ::reference_energies())
  UQStatistics
      latest_;    // of the latest real evaluation that had F̄ and F_σ apart; shown, not used

  double next_tau() const;
  void want_forces();
  double largest_relative() const;
  void bound_first_tau();
  double volume() const;
  void check_volume() const;
};

}    // namespace LAMMPS_NS

#endif
