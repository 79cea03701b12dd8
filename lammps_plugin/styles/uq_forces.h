// SPDX-License-Identifier: GPL-2.0-or-later
// Unbiased forces and those of the uncertainty side by side, and what fixes and computes want to
// know of them.

#ifndef LMP_UQ_FORCES_H
#define LMP_UQ_FORCES_H

#include "lmptype.h"

#include <array>
#include <vector>

namespace LAMMPS_NS {

class LAMMPS;
class PairUQ;

// Unbiased force and F_σ = -∇U, U the uncertainty without its floor, on each atom; complete on
// owned atoms after the reverse communication.
struct UQForces {
  std::vector<double> mean, sigma;                              // [nall][3]
  double energy = 0.0;                                          // Ē of this rank's atoms
  double uncertainty = 0.0;                                     // U, of all ranks
  std::array<double, 6> mean_virial = {}, sigma_virial = {};    // of this rank, if wanted

  void start(int nall);    // zeros
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

// Over the atoms of all ranks that the pair style acts on; collective. min_distance: of this rank.
UQStatistics uq_statistics(LAMMPS *lmp, const PairUQ &pair, const UQForces &forces, double epsilon,
                           double min_distance);

// The largest of values of owned atoms, of all ranks, and its atom; collective. A NaN counts as
// largest on its rank.
void uq_largest(LAMMPS *lmp, const double *values, double &largest, tagint &id);

}    // namespace LAMMPS_NS

#endif
