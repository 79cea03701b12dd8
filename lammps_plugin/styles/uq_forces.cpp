// SPDX-License-Identifier: GPL-2.0-or-later

#include "uq_forces.h"

#include "pair_uq.h"

#include "atom.h"
#include "lammps.h"

#include <algorithm>
#include <cmath>
#include <mpi.h>

using namespace LAMMPS_NS;

// Mean forces below this part of the energy of an atom per Å are rounding.
static constexpr double ROUNDING = 1e-10;

void UQForces::start(int nall) {
  mean.assign(3 * static_cast<size_t>(nall), 0.0);
  sigma.assign(3 * static_cast<size_t>(nall), 0.0);
}

UQForces::Norms UQForces::norms(int i, double epsilon) const {
  const double *a = &mean[3 * static_cast<size_t>(i)], *b = &sigma[3 * static_cast<size_t>(i)];
  Norms n;
  n.mean = std::sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]);
  n.sigma = std::sqrt(b[0] * b[0] + b[1] * b[1] + b[2] * b[2]);
  n.relative = n.sigma / (n.mean + epsilon);
  return n;
}

static std::array<double, 6> virial_of(const std::vector<double> &f, const double *x) {
  std::array<double, 6> w = {};
  for (size_t i = 0; i < f.size(); i += 3) {
    w[0] += x[i] * f[i];
    w[1] += x[i + 1] * f[i + 1];
    w[2] += x[i + 2] * f[i + 2];
    w[3] += x[i + 1] * f[i];
    w[4] += x[i + 2] * f[i];
    w[5] += x[i + 2] * f[i + 1];
  }
  return w;
}

void UQForces::add_virials(const double *x) {
  mean_virial = virial_of(mean, x);
  sigma_virial = virial_of(sigma, x);
}

UQStatistics LAMMPS_NS::uq_statistics(LAMMPS *lmp, const PairUQ &pair, const UQForces &forces,
                                      double epsilon, double min_distance) {
  const Atom *atom = lmp->atom;
  std::array<double, 16> sums = {};    // Σ|F̄|, Σ|F_σ|, atoms, Ē, virials of F̄ and F_σ
  sums[3] = forces.energy;
  std::copy_n(forces.mean_virial.begin(), 6, &sums[4]);
  std::copy_n(forces.sigma_virial.begin(), 6, &sums[10]);
  double maxima[2] = {-1.0, -min_distance};    // relative uncertainty, minus the distance
  tagint id = 0;
  for (int i = 0; i < atom->nlocal; i++) {
    if (!pair.acts_on(atom->type[i])) continue;
    const UQForces::Norms norms = forces.norms(i, epsilon);
    sums[0] += norms.mean;
    sums[1] += norms.sigma;
    sums[2] += 1.0;
    if (norms.relative > maxima[0]) {
      maxima[0] = norms.relative;
      id = atom->tag[i];
    }
  }
  const double mine = maxima[0];
  MPI_Allreduce(MPI_IN_PLACE, sums.data(), static_cast<int>(sums.size()), MPI_DOUBLE, MPI_SUM,
                lmp->world);
  MPI_Allreduce(MPI_IN_PLACE, maxima, 2, MPI_DOUBLE, MPI_MAX, lmp->world);
  if (mine != maxima[0]) id = 0;
  MPI_Allreduce(MPI_IN_PLACE, &id, 1, MPI_LMP_TAGINT, MPI_MAX, lmp->world);

  UQStatistics s;
  const double n = std::max(sums[2], 1.0);
  s.mean = sums[0] > ROUNDING * std::abs(sums[3]) ? sums[0] / n : 0.0;
  s.sigma = sums[1] > ROUNDING * forces.uncertainty ? sums[1] / n : 0.0;
  for (int c = 0; c < 6; c++)
    s.virial_relative =
        std::max(s.virial_relative, std::abs(sums[10 + c]) / (std::abs(sums[4 + c]) + n * epsilon));
  s.max_relative = std::max(maxima[0], 0.0);
  s.max_id = id;
  s.min_distance = -maxima[1];
  return s;
}

void LAMMPS_NS::uq_largest(LAMMPS *lmp, const double *values, double &largest, tagint &id) {
  const Atom *atom = lmp->atom;
  double mine = -1.0;
  id = 0;
  for (int i = 0; i < atom->nlocal; i++)
    if (!(values[i] <= mine)) {
      mine = values[i];
      id = atom->tag[i];
    }
  MPI_Allreduce(&mine, &largest, 1, MPI_DOUBLE, MPI_MAX, lmp->world);
  if (mine != largest) id = 0;
  MPI_Allreduce(MPI_IN_PLACE, &id, 1, MPI_LMP_TAGINT, MPI_MAX, lmp->world);
}
