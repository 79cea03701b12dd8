// SPDX-License-Identifier: GPL-2.0-or-later

#include "uq_deviation.h"

#include "pair_uq.h"

#include <algorithm>

using namespace LAMMPS_NS;

// Energy and virial of one pass.
static constexpr int TOTALS = 10;

const std::vector<double> &UQDeviation::driver_forces() const {
  return driver_forces_.empty() ? forces_.mean() : driver_forces_;
}

const std::vector<double> &UQDeviation::driver_virial() const {
  return driver_virial_.empty() ? virials_.mean() : driver_virial_;
}

// Rows of the posteriors' factors, made once for each committee.
void UQDeviation::draw_factors() {
  const uq::Committee &committee = engine_->committee();
  for (int k = 0; k < committee.size(); k++)
    factors_.push_back(draws_ ? committee.member(k).readout.factor(draws_, seed_ + k)
                              : std::vector<double>());
}

void UQDeviation::evaluate(PairUQ &pair) {
  engine_ = &pair.engine();
  if (factors_.empty()) draw_factors();
  forces_.start(engine_->nall(), 3, engine_->committee().size());
  driver_forces_.clear();
  std::vector<std::vector<double>> totals(
      engine_->committee().size());    // of each member's passes
  for (size_t group = 0; group < engine_->groups().size(); group++) add_group(pair, group, totals);
  force_deviations_ = forces_.deviations();
  std::vector<double> all;
  for (const std::vector<double> &own : totals) all.insert(all.end(), own.begin(), own.end());
  sum_totals(pair, all);
}

// Members that share a geometry pass.
void UQDeviation::add_group(PairUQ &pair, size_t group, std::vector<std::vector<double>> &totals) {
  const std::vector<int> &members = engine_->groups()[group].members();
  const size_t n = 3 * static_cast<size_t>(engine_->nall());
  member_forces_.assign(members.size() * n, 0.0);
  std::vector<uq::Result> results(members.size());
  for (size_t i = 0; i < members.size(); i++) {
    totals[members[i]].assign(TOTALS, 0.0);
    results[i].forces = member_forces_.data() + i * n;
    results[i].virial = totals[members[i]].data() + 1;
  }
  engine_->members(group, results.data());
  for (size_t i = 0; i < members.size(); i++) {
    double *forces = member_forces_.data() + i * n;
    totals[members[i]][0] = results[i].energy;
    pair.rows().reverse(3, forces);
    forces_.add_member(forces);
    if (members[i] == pair.driver() - 1) driver_forces_.assign(forces, forces + n);
    add_posterior(pair, members[i], totals[members[i]]);
  }
}

// Two rows of the factor at a time: one geometry pass, one communication.
void UQDeviation::add_posterior(PairUQ &pair, int member, std::vector<double> &totals) {
  const size_t m = engine_->committee().member(member).readout.size(),
               n = 3 * static_cast<size_t>(engine_->nall());
  const int rows = static_cast<int>(factors_[member].size() / m);
  for (int row = 0; row < rows; row += 2) {
    const int count = std::min(2, rows - row);
    pass_forces_.assign(2 * n, 0.0);
    totals.resize(totals.size() + count * TOTALS);
    double *total = &totals[totals.size() - count * TOTALS];
    uq::Result results[2];
    for (int s = 0; s < count; s++) {
      results[s].forces = pass_forces_.data() + s * n;
      results[s].virial = total + s * TOTALS + 1;
    }
    engine_->member(member, count, &factors_[member][row * m], 0.0, results);
    for (int s = 0; s < count; s++) total[s * TOTALS] = results[s].energy;
    pair.rows().reverse(3, pass_forces_.data(), count > 1 ? pass_forces_.data() + n : nullptr);
    for (int s = 0; s < count; s++) forces_.add_posterior(pass_forces_.data() + s * n);
  }
}

// Energies and virials of all passes, member after member.
void UQDeviation::sum_totals(PairUQ &pair, std::vector<double> &totals) {
  pair.sum(totals);
  const int members = static_cast<int>(factors_.size());
  energies_.start(1, 1, members);
  virials_.start(9, 1, members);
  driver_virial_.clear();
  const double *total = totals.data();
  for (int k = 0; k < members; k++) {
    energies_.add_member(total);
    virials_.add_member(total + 1);
    if (k == pair.driver() - 1) {
      driver_energy_ = total[0];
      driver_virial_.assign(total + 1, total + TOTALS);
    }
    total += TOTALS;
    const size_t m = engine_->committee().member(k).readout.size();
    for (size_t row = 0; row < factors_[k].size() / m; row++, total += TOTALS) {
      energies_.add_posterior(total);
      virials_.add_posterior(total + 1);
    }
  }
  if (pair.driver() == 0) driver_energy_ = energies_.mean()[0];
  energy_deviation_ = energies_.deviations()[0];
  virial_deviations_ = virials_.deviations();
}
