// SPDX-License-Identifier: GPL-2.0-or-later
// pair_style uq: potentials of any family of the core, their uncertainty and, when fix uq/hal is
// attached, the bias -τS. The pair owns every evaluation; the fix and the computes ask it.

#ifndef LMP_PAIR_UQ_H
#define LMP_PAIR_UQ_H

#include "pair.h"

#include "core/committee/engine.h"
#include "evaluation_cache.h"
#include "peratom_table.h"
#include "row_communicator.h"
#include "run_guard.h"
#include "type_elements.h"
#include "uq_forces.h"

#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

// What fix uq/hal wants of the next evaluation. The fix owns it; without an owner the pair runs
// unbiased.
struct UQBias {
  enum Mode { GLOBAL, LOCAL } mode = GLOBAL;
  double tau = 0.0;        // bias energy -tau S
  double floor = 0.0;      // lowers S, see core/committee/committee.h (energy)
  bool forces = false;     // F̄ and F_σ wanted apart
  bool virials = false;    // with them theirs
};

class PairUQ : public Pair {
 public:
  static constexpr double EPSILON = 0.2;    // eV/Å, default ε of the relative force uncertainty

  // The one pair style uq, alone or in a hybrid, as it is now; null: there is none, or several.
  static PairUQ *find(class LAMMPS *);

  PairUQ(class LAMMPS *);
  ~PairUQ() override;
  void compute(int, int) override;
  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  double memory_usage() override;
  void *extract(const char *, int &) override;
  void *extract_peratom(const char *, int &) override;
  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;

  // For fix uq/hal: results of the latest compute().
  void attach(const std::shared_ptr<UQBias> &bias);
  double uncertainty() const { return uncertainty_; }    // σ_E or Σ_i σ_i
  double bias_energy() const { return bias_energy_; }    // -τS
  const UQForces &bias_forces() const { return cache_.bias_forces.value; }

  // From where the atomic energies of a committee's members are counted; belongs to the state of
  // the local mode.
  std::vector<double> reference_energies() const;
  void set_reference_energies(const std::vector<double> &reference_energies);

  // For the computes, collective: quantities of σ_E at the positions of the latest compute().
  bool has_uncertainty() const;
  double sigma();
  const UQForces &sigma_forces();
  const double *sigma_atom();    // σ_i on owned atoms
  const double *grade_atom();    // extrapolation grade of owned atoms; not of σ_E
  const double *noise_atom();    // learned noise of force labels on owned atoms; not of σ_E

  void largest_grade(double &grade, tagint &id);                             // collective
  UQStatistics statistics(const UQForces &forces, double epsilon) const {    // collective
    return uq_statistics(lmp, *this, forces, epsilon, engine_->min_distance());
  }

  // For the computes of global values and fix uq/deviation. With `every N`, steps between two
  // multiples of N show what the latest one gave.
  bool spread_due() const;
  uq::Engine &engine();                           // at the positions of the latest compute()
  RowCommunicator &rows() { return rows_; }       // between owners and ghosts
  void sum(std::vector<double> &values) const;    // collective: over ranks
  int driver() const { return driver_; }          // 0: mean of all members
  const char *element(int type) const { return elements[map[type]]; }
  bool acts_on(int type) const { return map[type] >= 0; }
  double energy_unit() const { return energy_unit_; }    // LAMMPS energy unit per eV
  double femtoseconds() const;                           // in one LAMMPS time unit
  const RunGuard &guard() const { return guard_; }

 protected:
  std::unique_ptr<uq::Engine> engine_;
  RowCommunicator rows_;
  RunGuard guard_;
  TypeElements types_;
  EvaluationCache cache_;
  PerAtomTable peratom_;    // for fix pair
  std::weak_ptr<UQBias> bias_;
  double energy_unit_ = 1.0;

  int driver_ = 0;        // 0: mean of all members, else member number
  int every_ = 1;         // steps between two evaluations of the other members
  bool mixed_ = false;    // σ_i and grades that no force depends on in single precision
  uq::Radial radial_ = uq::Radial::Automatic;
  bool extended_ghosts_ = false;    // networks: ghosts make their messages anew
  int keep_;                        // atoms whose forward pass the bias keeps
  double epsilon_;                  // of the per-atom quantity "relative", force units

  double uncertainty_ = 0.0, bias_energy_ = 0.0;
  std::vector<double> virial9_, vatom9_;    // tallies of the core, xx yy zz xy xz yz yx zx zy

  void allocate();
  void check_units();
  void warn_of_missing_neighbors() const;
  void extend_ghosts();
  void set_atoms(const double *x);    // [nall][3]
  uq::Result tally(bool forces);
  void finish_tally();
  double add_unbiased();
  double over_atoms(const std::vector<uq::Pass> &passes, bool sigma, bool grades);
  double add_biased(const UQBias &);
  void sum_local(const UQBias &);
  void shift_eatom(double energy);
  void require_evaluation() const;
  void require_uncertainty() const;
};

}    // namespace LAMMPS_NS

#endif
