// SPDX-License-Identifier: GPL-2.0-or-later

#include "evaluation_cache.h"

#include "atom.h"

#include <algorithm>

using namespace LAMMPS_NS;

void EvaluationCache::start() {
  evaluation_++;
  evaluated_ = true;
}

void EvaluationCache::forget() {
  evaluation_++;
  evaluated_ = false;
}

void EvaluationCache::remember_atoms(const Atom &atom) {
  const size_t n = static_cast<size_t>(atom.nlocal) + atom.nghost;
  x_.resize(3 * n);
  if (n) std::copy_n(atom.x[0], 3 * n, x_.data());
  tags_.assign(atom.tag, atom.tag + n);
}

bool EvaluationCache::same_atoms(const Atom &atom) const {
  const size_t n = static_cast<size_t>(atom.nlocal) + atom.nghost;
  return n == tags_.size() && std::equal(tags_.begin(), tags_.end(), atom.tag);
}

uq::Engine::PerAtom EvaluationCache::room(int nall, bool want_sigma, bool want_grades) {
  const size_t n = std::max(nall, 1);
  uq::Engine::PerAtom wanted;
  if (want_sigma) {
    sigma.value.assign(n, 0.0);
    wanted.sigma = sigma.value.data();
  }
  if (want_grades) {
    grade.value.assign(n, 0.0);
    wanted.grades = grade.value.data();
  }
  return wanted;
}

void EvaluationCache::made(const uq::Engine::PerAtom &wanted) {
  if (wanted.sigma) sigma.mark();
  if (wanted.grades) grade.mark();
}

double EvaluationCache::memory_usage() const {
  double bytes = static_cast<double>(tags_.capacity() * sizeof(tagint));
  for (const std::vector<double> *v :
       {&x_, &bias_forces.value.mean, &bias_forces.value.sigma, &sigma_forces.value.mean,
        &sigma_forces.value.sigma, &sigma.value, &grade.value, &noise.value})
    bytes += static_cast<double>(v->capacity() * sizeof(double));
  return bytes;
}
