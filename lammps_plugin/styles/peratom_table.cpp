// SPDX-License-Identifier: GPL-2.0-or-later

#include "peratom_table.h"

#include "pair_uq.h"

#include <algorithm>

using namespace LAMMPS_NS;

namespace {

using PerAtom = uq::Engine::PerAtom;

void energy(PairUQ &pair, double, int n, double *values) {
  std::copy_n(pair.sigma_atom(), n, values);
}

void force(PairUQ &pair, double epsilon, int n, double *values) {
  const UQForces &forces = pair.sigma_forces();
  for (int i = 0; i < n; i++) values[i] = forces.norms(i, epsilon).sigma;
}

void relative(PairUQ &pair, double epsilon, int n, double *values) {
  const UQForces &forces = pair.sigma_forces();
  for (int i = 0; i < n; i++) values[i] = forces.norms(i, epsilon).relative;
}

void grade(PairUQ &pair, double, int n, double *values) {
  std::copy_n(pair.grade_atom(), n, values);
}

void noise(PairUQ &pair, double, int n, double *values) {
  std::copy_n(pair.noise_atom(), n, values);
}

}    // namespace

const std::array<PerAtomQuantity, UQ_PERATOM_QUANTITIES> LAMMPS_NS::uq_peratom_quantities = {{
    {"sigma", "energy", "energy", 1, &PerAtom::sigma, energy},
    {"force_sigma", "force", "force", 1, nullptr, force},
    {"relative", "relative", "", 1, nullptr, relative},
    {"grade", "grade", "", 1, &PerAtom::grades, grade},
    {"noise", "noise", "force", 1, nullptr, noise},
}};

std::string LAMMPS_NS::uq_peratom_keywords(const std::string &before, const std::string &after,
                                           const std::string &between) {
  std::string text;
  for (const PerAtomQuantity &q : uq_peratom_quantities)
    text += (text.empty() ? "" : between) + before + q.keyword + after;
  return text;
}

// The row whose name, with `suffix`, this is; -1: none.
static int find(const std::string &name, const char *suffix = "") {
  for (int q = 0; q < UQ_PERATOM_QUANTITIES; q++)
    if (name == std::string(uq_peratom_quantities[q].name) + suffix) return q;
  return -1;
}

void *PerAtomTable::flag(const char *name) {
  const int q = find(name, "_flag");
  return q < 0 ? nullptr : &outputs_[q].flag;
}

double *PerAtomTable::values(const char *name) {
  const int q = find(name);
  return q < 0 || outputs_[q].values.empty() ? nullptr : outputs_[q].values.data();
}

int PerAtomTable::columns(const char *name) {
  const int q = find(name);
  return q < 0 || uq_peratom_quantities[q].width == 1 ? 0 : uq_peratom_quantities[q].width;
}

bool PerAtomTable::wanted() const {
  return std::any_of(outputs_.begin(), outputs_.end(), [](const Output &o) { return o.flag; });
}

bool PerAtomTable::wanted(double *PerAtom::*by_pass) const {
  for (int q = 0; q < UQ_PERATOM_QUANTITIES; q++)
    if (outputs_[q].flag && uq_peratom_quantities[q].by_pass == by_pass) return true;
  return false;
}

void PerAtomTable::fill(PairUQ &pair, double epsilon, int nlocal) {
  for (int q = 0; q < UQ_PERATOM_QUANTITIES; q++) {
    if (!outputs_[q].flag) continue;
    const PerAtomQuantity &quantity = uq_peratom_quantities[q];
    outputs_[q].values.assign(static_cast<size_t>(quantity.width) * std::max(nlocal, 1), 0.0);
    quantity.compute(pair, epsilon, nlocal, outputs_[q].values.data());
  }
}

double PerAtomTable::memory_usage() const {
  double bytes = 0.0;
  for (const Output &output : outputs_)
    bytes += static_cast<double>(output.values.capacity() * sizeof(double));
  return bytes;
}
