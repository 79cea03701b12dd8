// SPDX-License-Identifier: GPL-2.0-or-later
// Spread of forces and virial over the members of a committee and their posteriors, for
// fix uq/deviation.

#ifndef LMP_UQ_DEVIATION_H
#define LMP_UQ_DEVIATION_H

#include "core/committee/engine.h"
#include "core/committee/spread.h"

#include <vector>

namespace LAMMPS_NS {

class PairUQ;

class UQDeviation {
 public:
  // draws: random rows of a posterior covariance, 0: the spread over members alone
  UQDeviation(int draws, unsigned seed) : draws_(draws), seed_(seed) {}

  // The models may be others than before.
  void reset() { factors_.clear(); }

  // Collective, at the positions of the pair's latest compute().
  void evaluate(PairUQ &pair);

  // Whether the models can differ at all: several, or one whose posterior takes part.
  bool can_spread() const { return factors_.size() > 1 || !factors_[0].empty(); }

  // Results of the latest evaluate(), in LAMMPS's units. Forces [nall] are complete on owned atoms.
  const std::vector<double> &forces() const { return force_deviations_; }
  const std::vector<double> &mean_forces() const { return forces_.mean(); }     // [nall][3]
  const std::vector<double> &virials() const { return virial_deviations_; }     // [9], energy
  const std::vector<double> &mean_virial() const { return virials_.mean(); }    // [9]
  double energy_deviation() const { return energy_deviation_; }

  // What the driver makes of the forces on it: one member or the mean.
  const std::vector<double> &driver_forces() const;
  const std::vector<double> &driver_virial() const;
  double driver_energy() const { return driver_energy_; }

 private:
  int draws_;
  unsigned seed_;
  uq::Engine *engine_ = nullptr;                // of the evaluation under way
  std::vector<std::vector<double>> factors_;    // of each member, [rows][nreadout]
  uq::Spread forces_, virials_, energies_;
  std::vector<double> force_deviations_, virial_deviations_;
  std::vector<double> driver_forces_, driver_virial_;    // empty: the mean
  double energy_deviation_ = 0.0, driver_energy_ = 0.0;

  std::vector<double> member_forces_;    // [members of a group][nall][3]
  std::vector<double> pass_forces_;      // [2][nall][3], of the passes under way

  void draw_factors();
  void add_group(PairUQ &pair, size_t group, std::vector<std::vector<double>> &totals);
  void add_posterior(PairUQ &pair, int member, std::vector<double> &totals);
  void sum_totals(PairUQ &pair, std::vector<double> &totals);
};

}    // namespace LAMMPS_NS

#endif
