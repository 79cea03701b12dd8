// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/committee/committee.h"

#include "core/error.h"

#include <algorithm>
#include <cmath>

using namespace uq;

static std::vector<std::shared_ptr<Model>> shared(std::vector<Model> models) {
  std::vector<std::shared_ptr<Model>> found;
  for (Model &model : models) found.push_back(std::make_shared<Model>(std::move(model)));
  return found;
}

Committee::Committee(std::vector<Model> members) : Committee(shared(std::move(members))) {}

Committee::Committee(std::vector<std::shared_ptr<Model>> members) : members_(std::move(members)) {
  if (members_.empty()) throw Error("a committee needs at least one model");
  for (const auto &pointer : members_) {
    const Model &member = *pointer;
    const int m = member.map->nreadout();
    if (member.readout.size() != m)
      throw Error(member.name + ": the readout has " + std::to_string(member.readout.size()) +
                  " weights, expected " + std::to_string(m));
    offsets_.push_back(nsums_);
    nsums_ += m + 1;
    mean_.push_back(member.readout.mean());
    for (double &w : mean_.back()) w /= members_.size();
    merged_.emplace_back(m, 0.0);
  }
  sums_.assign(nsums_, 0.0);
  products_.assign(nsums_ - members_.size(), 0.0);
  energies_.assign(members_.size(), 0.0);
  baseline_sigma_.assign(members_.size(), 0.0);
}

double Committee::cutoff() const {
  double cutoff = 0.0;
  for (const auto &member : members_) cutoff = std::max(cutoff, member->map->cutoff());
  return cutoff;
}

bool Committee::has_uncertainty() const {
  return size() > 1 || members_[0]->readout.has_posterior();
}

bool Committee::has_grades() const {
  return std::any_of(members_.begin(), members_.end(),
                     [](const auto &member) { return member->has_grades(); });
}

bool Committee::has_noise() const {
  return std::any_of(members_.begin(), members_.end(),
                     [](const auto &member) { return member->map->has_noise(); });
}

void Committee::prepare() {
  for (int k = 0; k < size(); k++) members_[k]->readout.prepare(sums_.data() + offsets_[k]);
}

void Committee::multiply(int part, int parts, double *products) const {
  for (int k = 0; k < size(); k++)
    members_[k]->readout.product(sums_.data() + offsets_[k], products + product_offset(k), part,
                                 parts);
}

bool Committee::worth_sharing() const {
  static constexpr size_t cached = 1 << 17;    // numbers that a core keeps at hand
  size_t numbers = 0;
  for (const auto &member : members_) {
    const size_t m = member->readout.size(), samples = member->readout.nsamples();
    if (member->readout.has_posterior()) numbers += m * (samples ? samples : m);
  }
  return numbers > cached;
}

void Committee::solve() {
  const double n = size();
  energy_ = 0.0;
  for (int k = 0; k < size(); k++) {
    const double *phi = sums_.data() + offsets_[k];
    const std::vector<double> &w = members_[k]->readout.mean();
    energies_[k] = phi[w.size()];
    for (size_t i = 0; i < w.size(); i++) energies_[k] += w[i] * phi[i];
    energy_ += energies_[k] / n;
  }
  double variance = 0.0, largest = 0.0;
  for (int k = 0; k < size(); k++) {
    largest = std::max(largest, std::abs(energies_[k]));
    const double spread = energies_[k] - energy_;
    const double *phi = sums_.data() + offsets_[k], *product = products_.data() + product_offset(k);
    variance += spread * spread / n;
    for (int i = 0; i < members_[k]->readout.size(); i++) variance += phi[i] * product[i] / n;
  }
  sigma_ = above_rounding(std::sqrt(std::max(variance, 0.0)), largest);
  // σ = 0 is a corner without gradient: no bias there.
  const double scale = sigma_ > 0.0 ? 1.0 / (n * sigma_) : 0.0;
  for (int k = 0; k < size(); k++) {
    const double spread = energies_[k] - energy_;
    const std::vector<double> &w = members_[k]->readout.mean();
    double *weights = products_.data() + product_offset(k);
    for (size_t i = 0; i < w.size(); i++) weights[i] = scale * (weights[i] + spread * w[i]);
    baseline_sigma_[k] = scale * spread;
  }
}

Committee::MemberCotangent Committee::mean_cotangent(int k) const {
  return {mean_[k].data(), 1.0 / size()};
}

Committee::MemberCotangent Committee::cotangent(int k, double mean, double sigma) {
  const double *weights = products_.data() + product_offset(k);
  if (sigma == 0.0 && mean == 1.0) return mean_cotangent(k);
  if (mean == 0.0 && sigma == 1.0) return {weights, baseline_sigma_[k]};
  for (size_t i = 0; i < merged_[k].size(); i++)
    merged_[k][i] = mean * mean_[k][i] + sigma * weights[i];
  return {merged_[k].data(), mean * (1.0 / size()) + sigma * baseline_sigma_[k]};
}
