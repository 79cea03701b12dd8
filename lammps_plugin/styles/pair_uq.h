// SPDX-License-Identifier: GPL-2.0-or-later
// pair_style uq: potentials of any family of the core, their uncertainty and, when fix uq/hal is
// attached, the bias -τS. The pair owns every evaluation; the fix and the computes ask it.

#ifndef LMP_PAIR_UQ_H
#define LMP_PAIR_UQ_H

#include "pair.h"

#include "core/committee/engine.h"
#include "core/parallel/exchange.h"

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

struct UQModelFile;

// What fix uq/hal wants of the next evaluation. The fix owns it; without an owner the pair runs
// unbiased.
struct UQBias {
  enum Mode { GLOBAL, LOCAL } mode = GLOBAL;
  double tau = 0.0;        // bias energy -tau S
  double floor = 0.0;      // lowers S, see core/committee/committee.h (energy)
  bool forces = false;     // F̄ and F_σ wanted apart
  bool virials = false;    // with them theirs
};

// Unbiased force and F_σ = -∇U, U the uncertainty without its floor, on each atom; complete on
// owned atoms after the reverse communication.
struct UQForces {
  std::vector<double> mean, sigma;                              // [nall][3]
  double energy = 0.0;                                          // Ē of this rank's atoms
  double uncertainty = 0.0;                                     // U, of all ranks
  std::array<double, 6> mean_virial = {}, sigma_virial = {};    // of this rank, if wanted

  // Σ r ⊗ f of either, before the reverse communication.
  void add_virials(const double *x);

  // |F̄_i|, |F_σ,i| and |F_σ,i| / (|F̄_i| + ε) of one atom
  struct Norms {
    double mean, sigma, relative;
  };
  Norms norms(int i, double epsilon) const;
};

struct UQStatistics {
  double mean = 0.0, sigma = 0.0;    // averages over atoms of |F̄_i|, |F_σ,i|; 0: only rounding
  double max_relative = 0.0;         // max_i |F_σ,i| / (|F̄_i| + ε)
  double virial_relative = 0.0;      // max_ab |W_σ,ab| / (|W̄_ab| + N ε Å), if virials are there
  tagint max_id = 0;                 // of that atom; 0: no atoms
  double min_distance = 0.0;         // Å; infinite without neighbours
};

class PairUQ : public Pair {
 public:
  static constexpr double EPSILON = 0.2;        // eV/Å, default ε of the relative force uncertainty
  static constexpr double COINCIDENT = 1e-3;    // Å: atoms closer than this are a mistake
  // Mean forces below this part of the energy of an atom per Å are rounding.
  static constexpr double ROUNDING = 1e-10;

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
  const UQForces &bias_forces() const { return separate_; }

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

  void largest_grade(double &grade, tagint &id);                      // collective
  UQStatistics statistics(const UQForces &, double epsilon) const;    // collective

  // For the computes of global values and fix uq/deviation. With `every N`, steps between two
  // multiples of N show what the latest one gave.
  bool spread_due() const;
  uq::Engine &engine();    // at the positions of the latest compute()
  // Collective: rows of `width` numbers, [nall], owners to ghosts; ghosts added to owners.
  void communicate_forward(int width, double *values);
  void communicate_reverse(int width, double *a, double *b = nullptr);
  void sum(std::vector<double> &values) const;    // collective: over ranks
  int driver() const { return driver_; }          // 0: mean of all members
  const char *element(int type) const { return elements[map[type]]; }
  bool acts_on(int type) const { return map[type] >= 0; }
  double energy_unit() const { return energy_unit_; }        // LAMMPS energy unit per eV
  double femtoseconds() const;                               // in one LAMMPS time unit
  std::string write_frame(const std::string &name) const;    // collective; returns the name

 protected:
  std::unique_ptr<uq::Engine> engine_;
  std::unique_ptr<uq::Exchange> exchange_;
  std::weak_ptr<UQBias> bias_;
  double energy_unit_ = 1.0;

  int driver_ = 0;        // 0: mean of all members, else member number
  int every_ = 1;         // steps between two evaluations of the other members
  bool mixed_ = false;    // σ_i and grades that no force depends on in single precision
  uq::Radial radial_ = uq::Radial::Automatic;
  bool extended_ghosts_ = false;    // networks: ghosts make their messages anew
  std::string masses_warned_;       // what has been said of them
  int keep_;                        // atoms whose forward pass the bias keeps
  double epsilon_;                  // of the per-atom quantity "relative", force units

  bigint evaluation_ = 0;              // counts compute()
  bigint separate_evaluation_ = -1;    // evaluation that separate_ holds, if of the global mode
  bigint asked_evaluation_ = -1;       // evaluation that asked_ and sigma_ hold
  double uncertainty_ = 0.0, bias_energy_ = 0.0, sigma_ = 0.0;
  UQForces separate_, asked_;
  double *communicated_[2] = {nullptr, nullptr};    // of the communication under way
  int communicated_width_ = 3;

  std::vector<double> x_;       // [nall][3] of the latest evaluation
  std::vector<tagint> tags_;    // [nall]

  std::vector<double> virial9_, vatom9_;    // tallies of the core, xx yy zz xy xz yz yx zx zy
  std::vector<double> sigma_atom_;          // σ_i, [nall], of the latest pass that made them
  std::vector<double> grade_atom_;          // extrapolation grades, likewise
  bigint sigma_evaluation_ = -1, grade_evaluation_ = -1;    // evaluations that they belong to
  std::vector<double> noise_atom_;                          // of the latest noise_atom(), [nall]
  std::vector<double> grade_out_, noise_out_;
  std::vector<double> sigma_out_, force_sigma_out_, relative_out_;    // for fix pair
  int grade_flag_ = 0, noise_flag_ = 0;
  int sigma_flag_ = 0, force_sigma_flag_ = 0, relative_flag_ = 0;    // set by fix pair

  void allocate();
  void check_units();
  std::string rule_of_coeff() const;
  void refuse_repetition(const std::vector<UQModelFile> &) const;
  std::vector<int> species_of_types(const uq::Model &) const;
  void print_table(const std::vector<uq::Model> &) const;
  void warn_of_missing_neighbors() const;
  void warn_of_masses();
  void extend_ghosts();
  void set_atoms(const double *x);    // [nall][3]
  void remember_atoms();
  void recall_atoms();
  uq::Result tally(bool forces);
  void finish_tally();
  double add_unbiased();
  uq::AtomicUncertainty::PerAtom want_atoms(bool sigma, bool grades);
  double add_biased(const UQBias &);
  void sum_local(const UQBias &);
  void shift_eatom(double energy);
  void require_evaluation() const;
  void require_uncertainty() const;
  void fill_peratom();
  void check_finite();
  std::string closest_pair() const;
};

}    // namespace LAMMPS_NS

#endif
