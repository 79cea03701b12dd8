// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/committee/engine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

using namespace uq;

Engine::Engine(Committee committee, std::vector<std::vector<int>> species_of_type,
               std::unique_ptr<Reducer> reducer, double energy_unit, bool mixed, int keep)
    : committee_(std::move(committee)), species_of_type_(std::move(species_of_type)),
      reducer_(std::move(reducer)), energy_unit_(energy_unit), mixed_(mixed), keep_(keep),
      species_(committee_.size()) {
  std::vector<const FeatureMap *> maps;
  for (int k = 0; k < committee_.size(); k++) maps.push_back(committee_.member(k).map.get());
  together_ = FusedMembers::of(maps);
  set_threads(1);
}

void Engine::set_threads(int n) {
  if (team_ && team_->size() == n) return;
  const std::vector<double> reference_energies =
      local_ ? local_->reference_energies() : std::vector<double>();
  members_.clear();
  groups_.clear();
  local_.reset();
  team_ = std::make_unique<ThreadTeam>(n);
  for (int k = 0; k < committee_.size(); k++)
    members_.emplace_back(*committee_.member(k).map, *team_, keep_);
  for (const FusedMembers &group : together_) groups_.emplace_back(group.map(), *team_, keep_);
  if (!reference_energies.empty()) set_reference_energies(reference_energies);
}

AtomicUncertainty &Engine::atomic_uncertainty() {
  if (!local_) local_ = std::make_unique<AtomicUncertainty>(committee_, together_, *team_, mixed_);
  return *local_;
}

double Engine::cutoff(int itype, int jtype) const {
  double cut = 0.0;
  for (int k = 0; k < committee_.size(); k++) {
    const int si = species_of_type_[k][itype], sj = species_of_type_[k][jtype];
    const FeatureMap &map = *committee_.member(k).map;
    cut = std::max({cut, map.cutoff(si, sj), map.cutoff(sj, si)});
  }
  return cut;
}

int Engine::exchange_width() const {
  int width = 0;    // of a group: no member alone has more
  for (const FusedMembers &group : together_) width = std::max(width, group.map().exchange_width());
  return width;
}

double Engine::memory_usage() const {
  size_t bytes = sizeof(double) * phi_.capacity();
  bytes += sizeof(int) * (centers_.capacity() + species_.size() * static_cast<size_t>(nall_));
  return static_cast<double>(bytes);
}

void Engine::set_atoms(int nall, const double *x, const int *type, int inum, int gnum,
                       const int *ilist, const int *numneigh, const int *const *firstneigh,
                       int mask, Exchange *exchange) {
  nall_ = nall;
  for (int k = 0; k < committee_.size(); k++) {
    species_[k].resize(nall);
    for (int i = 0; i < nall; i++) species_[k][i] = species_of_type_[k][type[i]];
  }

  // A counting sort of the centres by species; atoms mapped to NULL have none.
  const std::vector<int> &species = species_[0];
  const int nspecies = static_cast<int>(committee_.member(0).map->elements().size());
  std::vector<int> next(nspecies + 1, 0);    // where each species goes on in centers_
  for (int n = 0; n < inum; n++)
    if (species[ilist[n]] >= 0) next[species[ilist[n]] + 1]++;
  for (int z = 0; z < nspecies; z++) next[z + 1] += next[z];
  centers_.resize(next[nspecies]);
  for (int n = 0; n < inum; n++)
    if (species[ilist[n]] >= 0) centers_[next[species[ilist[n]]]++] = ilist[n];

  ncenters_ = static_cast<int>(centers_.size());
  for (int n = inum; n < inum + gnum; n++)
    if (species[ilist[n]] >= 0) centers_.push_back(ilist[n]);

  view_.ntotal = nall;
  view_.x = x;
  view_.ncenters = ncenters_;
  view_.nrelays = static_cast<int>(centers_.size()) - ncenters_;
  view_.centers = centers_.data();
  view_.counts = numneigh;
  view_.neighbors = firstneigh;
  view_.mask = mask;
  view_.exchange = exchange;
}

Neighbors Engine::view(int member) const {
  Neighbors nb = view_;
  nb.species = species_[member].data();
  return nb;
}

std::vector<Neighbors> Engine::views() const {
  std::vector<Neighbors> views;
  for (int k = 0; k < committee_.size(); k++) views.push_back(view(k));
  return views;
}

void Engine::note_distance(double distance) {
  min_distance_ = std::min(min_distance_, distance);
}

std::vector<double> &Engine::buffer(size_t slot, size_t size) {
  if (weights_.size() <= slot) weights_.resize(slot + 1);
  weights_[slot].resize(size);
  return weights_[slot];
}

// The cotangent in the caller's energy units, copied into buffer `slot` of this member.
Cotangent Engine::scaled(const Committee::MemberCotangent &cotangent, int slot, int member) {
  const int m = committee_.member(member).map->nreadout();
  std::vector<double> &weights =
      buffer(static_cast<size_t>(slot) * committee_.size() + member, static_cast<size_t>(m));
  for (int j = 0; j < m; j++) weights[j] = energy_unit_ * cotangent.shared[j];
  Cotangent out;
  out.shared = weights.data();
  out.baseline = energy_unit_ * cotangent.baseline_weight;
  return out;
}

// The same of all members of a group, cotangent_of(member), for the map that they share.
template <class CotangentOf>
Cotangent Engine::joined(const CotangentOf &cotangent_of, size_t group, int slot) {
  const FusedMembers &members = together_[group];
  std::vector<double> &weights = buffer(static_cast<size_t>(slot) * committee_.size() + group,
                                        static_cast<size_t>(members.map().nreadout()));
  Cotangent out;
  for (size_t n = 0; n < members.members().size(); n++) {
    const Committee::MemberCotangent cotangent = cotangent_of(members.members()[n]);
    members.join(cotangent.shared, static_cast<int>(n), weights.data());
    out.baseline += energy_unit_ * cotangent.baseline_weight;
  }
  for (double &w : weights) w *= energy_unit_;
  out.shared = weights.data();
  return out;
}

// The mean of the n-th member of a group for the map that all share.
Cotangent Engine::alone(size_t group, int n) {
  const FusedMembers &members = together_[group];
  std::vector<double> &weights =
      buffer(static_cast<size_t>(n) * committee_.size() + group, members.map().nreadout());
  std::fill(weights.begin(), weights.end(), 0.0);
  members.join(committee_.member(members.members()[n]).readout.mean().data(), n, weights.data());
  for (double &w : weights) w *= energy_unit_;
  Cotangent out;
  out.shared = weights.data();
  out.baseline = energy_unit_;
  return out;
}

double Engine::evaluate(int member, Result result) {
  min_distance_ = std::numeric_limits<double>::infinity();
  result.energy = 0.0;
  if (member >= 0) {
    const Committee::MemberCotangent cotangent = {committee_.member(member).readout.mean().data(),
                                                  1.0};
    members_[member].evaluate(view(member), scaled(cotangent, 0, member), result);
    note_distance(members_[member].min_distance());
    return result.energy;
  }
  for (size_t g = 0; g < together_.size(); g++) {
    const Cotangent cotangent = joined([&](int k) { return committee_.mean_cotangent(k); }, g, 0);
    groups_[g].evaluate(view(together_[g].members()[0]), cotangent, result);
    note_distance(groups_[g].min_distance());
  }
  return result.energy;
}

void Engine::member(int k, int n, const double *weights, double baseline, Result *results) {
  const int m = committee_.member(k).map->nreadout();
  std::vector<Cotangent> cotangents;
  for (int s = 0; s < n; s++)
    cotangents.push_back(scaled({weights + static_cast<size_t>(s) * m, baseline}, s, k));
  if (n == 1) {
    members_[k].evaluate(view(k), cotangents[0], results[0]);
  } else {
    members_[k].forward(view(k), nullptr, nullptr);
    members_[k].backward(view(k), n, cotangents.data(), results);
  }
}

void Engine::members(size_t group, Result *results) {
  const Neighbors nb = view(together_[group].members()[0]);
  const int count = static_cast<int>(together_[group].members().size());
  if (count == 1) return groups_[group].evaluate(nb, alone(group, 0), results[0]);
  std::vector<Cotangent> cotangents;
  for (int n = 0; n < count; n++) cotangents.push_back(alone(group, n));
  groups_[group].forward(nb, nullptr, nullptr);
  groups_[group].backward(nb, count, cotangents.data(), results);
}

// Φ of a group on this rank, into phi_; returns the energy without readout weight.
double Engine::group_sums(size_t group) {
  Evaluator &evaluator = groups_[group];
  phi_.assign(evaluator.map().nreadout(), 0.0);
  evaluator.forward(view(together_[group].members()[0]), phi_.data(), nullptr);
  note_distance(evaluator.min_distance());
  return evaluator.baseline_energy();
}

// The products of covariances and sums. Reading a large covariance takes longer than one more
// reduction: each thread of each rank reads its part.
void Engine::multiply() {
  committee_.prepare();
  if (!committee_.worth_sharing()) return committee_.multiply(0, 1, committee_.products());
  const int rank = reducer_->rank(), ranks = reducer_->size();
  const int threads = team_->size(), n = committee_.nproducts();
  double *products = committee_.products();
  parts_.resize(static_cast<size_t>(threads - 1) * n);    // of the threads behind the first
  team_->run([&](int t) {
    double *part = t ? &parts_[static_cast<size_t>(t - 1) * n] : products;
    committee_.multiply(rank * threads + t, ranks * threads, part);
  });
  for (size_t m = 0; m < parts_.size(); m++) products[m % n] += parts_[m];
  reducer_->sum(products, n);
}

double Engine::forward() {
  min_distance_ = std::numeric_limits<double>::infinity();
  double *sums = committee_.sums();
  double energy = 0.0;
  for (size_t g = 0; g < together_.size(); g++) {
    const FusedMembers &group = together_[g];
    const double baseline_energy = group_sums(g);
    for (size_t n = 0; n < group.members().size(); n++) {
      const int k = group.members()[n], m = committee_.member(k).map->nreadout();
      double *phi = sums + committee_.sums_offset(k);
      group.split(phi_.data(), static_cast<int>(n), phi);
      phi[m] = baseline_energy;
      const Committee::MemberCotangent mean = committee_.mean_cotangent(k);
      for (int j = 0; j < m; j++) energy += mean.shared[j] * phi[j];
      energy += mean.baseline_weight * baseline_energy;
    }
  }
  reducer_->sum(sums, committee_.nsums());
  multiply();
  committee_.solve();
  return energy_unit_ * energy;
}

void Engine::backward(const std::vector<Pass> &passes) {
  for (size_t g = 0; g < together_.size(); g++) {
    std::vector<Cotangent> cotangents;
    std::vector<Result> results;
    for (const Pass &pass : passes) {
      const auto cotangent_of = [&](int k) {
        return committee_.cotangent(k, pass.mean, pass.sigma);
      };
      cotangents.push_back(joined(cotangent_of, g, static_cast<int>(cotangents.size())));
      results.push_back(pass.result);
    }
    groups_[g].backward(view(together_[g].members()[0]), static_cast<int>(cotangents.size()),
                        cotangents.data(), results.data());
  }
}

double Engine::local(std::vector<Pass> passes, const PerAtom &wanted) {
  AtomicUncertainty &local = atomic_uncertainty();
  const std::vector<Neighbors> views = this->views();
  if (committee_.size() > 1 && !local.has_reference_energies()) {
    std::vector<double> sums = local.energy_sums(views.data());
    reducer_->sum(sums.data(), static_cast<int>(sums.size()));
    local.set_reference_energies(AtomicUncertainty::means(sums));
  }
  for (Pass &pass : passes) {
    pass.mean *= energy_unit_;
    pass.sigma *= energy_unit_;
  }
  const double energy = local.run(views.data(), passes, wanted);
  min_distance_ = local.min_distance();
  for (int n = 0; wanted.sigma && n < ncenters(); n++) wanted.sigma[centers_[n]] *= energy_unit_;
  return energy_unit_ * energy;
}

void Engine::noise(double *sigma) {
  std::vector<double> total(ncenters(), 0.0), variances(ncenters());
  double members = 0.0;
  for (const FusedMembers &group : together_) {
    if (!group.map().has_noise()) continue;
    const auto n = static_cast<double>(group.members().size());
    group.map().noise(view(group.members()[0]), *group.map().new_state(), variances.data());
    for (int i = 0; i < ncenters(); i++) total[i] += n * variances[i];
    members += n;
  }
  for (int i = 0; i < ncenters(); i++)
    sigma[centers_[i]] = energy_unit_ * std::sqrt(total[i] / members);
}
