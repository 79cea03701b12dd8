// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/committee/atomic_uncertainty.h"

#include "core/error.h"
#include "core/math/matrix.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace uq;

// Atoms of one batch: large enough that a covariance matrix streamed from memory is shared by many
// atoms, small enough that their features stay in cache; whole tiles of matrix().multiply().
static constexpr int BATCH = 120;

AtomicUncertainty::AtomicUncertainty(const Committee &committee,
                                     const std::vector<FusedMembers> &groups, ThreadTeam &team,
                                     bool mixed)
    : committee_(committee), team_(team), mixed_(mixed), single_(committee.size()),
      means_(committee.size()), scratch_(team.size()), places_(committee.size(), Place{-1, 0}),
      first_(1, 0) {
  for (const FusedMembers &group : groups) {
    if (group.map().exchange_width() == 0) continue;
    for (size_t n = 0; n < group.members().size(); n++)
      places_[group.members()[n]] = {static_cast<int>(wholes_.size()), static_cast<int>(n)};
    wholes_.push_back({&group, Evaluator(group.map(), team), {}, {}, {}, {}});
  }
  for (int k = 0; k < committee.size(); k++)
    first_.push_back(first_.back() + static_cast<int>(committee.member(k).map->elements().size()));
  for (Scratch &scratch : scratch_) {
    scratch.sigma.resize(BATCH);
    scratch.mean.resize(BATCH);
    scratch.members.resize(committee.size());
    for (int k = 0; k < committee.size(); k++) {
      Member &member = scratch.members[k];
      const FeatureMap &map = whole(k) ? whole(k)->group->map() : *committee.member(k).map;
      if (!whole(k)) member.state = map.new_state();
      member.phi.resize(static_cast<size_t>(BATCH) * map.max_features());
      member.v.resize(member.phi.size());
      member.energies.resize(BATCH);
      member.variances.resize(BATCH);
    }
  }
}

// The matrices of what is wanted for the first time.
void AtomicUncertainty::add_projections(int k, bool roots, bool inverses) {
  const Model &model = committee_.member(k);
  const Readout &readout = model.readout;
  SinglePrecision &single = single_[k];
  roots = roots && readout.has_posterior() && single.roots.empty();
  inverses = inverses && !model.active.empty() && single.inverses.empty();
  for (size_t z = 0; z < model.map->elements().size(); z++) {
    const int species = static_cast<int>(z), count = model.map->count(species),
              samples = readout.nsamples();
    if (roots)
      single.roots.emplace_back(count, samples ? samples : count,
                                samples ? Projection::FULL : Projection::LOWER,
                                readout.root(model.map->offset(species), count).data());
    if (inverses)
      single.inverses.emplace_back(count, count, Projection::FULL, model.active.inverse(species));
  }
}

void AtomicUncertainty::set_reference_energies(std::vector<double> reference_energies) {
  if (reference_energies.size() != static_cast<size_t>(first_.back()))
    throw Error("zeros of " + std::to_string(reference_energies.size()) + " energies, expected " +
                std::to_string(first_.back()) + ", one for each species of each model");
  reference_energies_ = std::move(reference_energies);
}

std::vector<double> AtomicUncertainty::means(const std::vector<double> &energy_sums) {
  std::vector<double> means(energy_sums.size() / 2);
  for (size_t i = 0; i < means.size(); i++)
    means[i] = energy_sums[2 * i] / std::max(energy_sums[2 * i + 1], 1.0);
  return means;
}

// Runs of centres of one species, at most BATCH long, laid out for every member.
template <class Visit>
void AtomicUncertainty::for_batches(const Neighbors *views, int first, const Neighbors &share,
                                    Scratch &scratch, const Visit &visit) {
  const int *species = views[0].species;
  for (int start = 0, end; start < share.ncenters; start = end) {
    end = start + 1;
    while (end < share.ncenters && end - start < BATCH &&
           species[share.centers[end]] == species[share.centers[start]])
      end++;
    for (int k = 0; k < committee_.size(); k++) {
      Neighbors &batch = scratch.members[k].batch;
      batch = views[k];
      batch.centers = views[k].centers + first + start;
      batch.ncenters = end - start;
    }
    scratch.first = first + start;
    visit();
  }
}

// ---------------------------------------------------------------------- maps that pass messages

void AtomicUncertainty::forward_wholes(const Neighbors *views) {
  ncenters_ = views[0].ncenters;
  for (Whole &whole : wholes_) {
    const FeatureMap &map = whole.group->map();
    whole.phi.resize(static_cast<size_t>(ncenters_) * map.max_features());
    whole.evaluator.forward(views[whole.group->members()[0]], nullptr, whole.phi.data());
    whole.baseline_energies = whole.evaluator.baseline_energies();
  }
}

void AtomicUncertainty::start_cotangents(int npasses) {
  for (Whole &whole : wholes_) {
    whole.cotangents.assign(npasses * whole.phi.size(), 0.0);
    whole.baseline.assign(npasses * static_cast<size_t>(ncenters_), 0.0);
  }
}

void AtomicUncertainty::backward_wholes(const Neighbors *views, int npasses, Result *results) {
  for (Whole &whole : wholes_) {
    std::vector<Cotangent> cotangents(npasses);
    for (int p = 0; p < npasses; p++) {
      cotangents[p].per_atom = whole.cotangents.data() + p * whole.phi.size();
      cotangents[p].baseline_per_atom = whole.baseline.data() + p * static_cast<size_t>(ncenters_);
    }
    if (npasses)
      whole.evaluator.backward(views[whole.group->members()[0]], npasses, cotangents.data(),
                               results);
  }
}

// ---------------------------------------------------------------------- batches

AtomicUncertainty::Rows AtomicUncertainty::features(int k, Scratch &scratch) {
  Member &member = scratch.members[k];
  if (Whole *w = whole(k)) {
    const int stride = w->group->map().max_features(),
              z = member.batch.species[member.batch.centers[0]];
    const size_t row = static_cast<size_t>(scratch.first) * stride;
    return {w->phi.data() + row + w->group->start(places_[k].n, z), stride};
  }
  return {member.phi.data(), committee_.member(k).map->max_features()};
}

// Laid out as the features.
AtomicUncertainty::Rows AtomicUncertainty::cotangents(int k, int pass, Scratch &scratch) {
  const Rows phi = features(k, scratch);
  Member &member = scratch.members[k];
  if (Whole *w = whole(k))
    return {w->cotangents.data() + pass * w->phi.size() + (phi.data - w->phi.data()), phi.stride};
  return {&member.cotangents[pass * member.phi.size()], phi.stride};
}

double *AtomicUncertainty::baseline(int k, int pass, Scratch &scratch) {
  if (Whole *w = whole(k))
    return w->baseline.data() + pass * static_cast<size_t>(ncenters_) + scratch.first;
  return &scratch.members[k].baseline[static_cast<size_t>(pass) * BATCH];
}

// Features and energies of a batch.
void AtomicUncertainty::energies(int k, Scratch &scratch) {
  Member &member = scratch.members[k];
  const Model &model = committee_.member(k);
  const int z = member.batch.species[member.batch.centers[0]], count = model.map->count(z);
  const double *weights = model.readout.mean().data() + model.map->offset(z);
  if (!whole(k)) model.map->forward(member.batch, *member.state, nullptr, member.phi.data());
  const Rows phi = features(k, scratch);
  const Whole *w = whole(k);
  const double *baseline_energies =
      w ? w->baseline_energies.data() + scratch.first : member.state->baseline_energies.data();
  for (int i = 0; i < member.batch.ncenters; i++) {
    const double *row = phi.data + static_cast<size_t>(i) * phi.stride;
    matrix().times_vector(1, count, weights, row, &member.energies[i]);
    member.energies[i] += baseline_energies[i];
  }
  scratch.min_distance =
      std::min(scratch.min_distance, w ? w->evaluator.min_distance() : member.state->min_distance);
}

// φᵀΣφ of a batch; products: Σφ too.
void AtomicUncertainty::variances(int k, Scratch &scratch, bool products) {
  Member &member = scratch.members[k];
  const Model &model = committee_.member(k);
  const int z = member.batch.species[member.batch.centers[0]];
  const Rows phi = features(k, scratch);
  if (!products && !single_[k].roots.empty())
    return single_[k].roots[z].squares(member.batch.ncenters, phi.stride, phi.data,
                                       member.variances.data());
  model.readout.variances(member.batch.ncenters, phi.stride, model.map->offset(z),
                          model.map->count(z), phi.data, products ? member.v.data() : nullptr,
                          member.variances.data());
}

std::vector<double> AtomicUncertainty::energy_sums(const Neighbors *views) {
  const size_t n = 2 * static_cast<size_t>(first_.back());
  std::vector<double> sums(n * team_.size(), 0.0);
  forward_wholes(views);
  team_.share(views[0], 0, nullptr, [&](int t, int first, const Neighbors &share, Result *) {
    for_batches(views, first, share, scratch_[t], [&] {
      for (int k = 0; k < committee_.size(); k++) {
        energies(k, scratch_[t]);
        const Member &member = scratch_[t].members[k];
        const int z = member.batch.species[member.batch.centers[0]];
        double *sum = &sums[t * n + 2 * static_cast<size_t>(first_[k] + z)];
        for (int i = 0; i < member.batch.ncenters; i++) sum[0] += member.energies[i];
        sum[1] += member.batch.ncenters;
      }
    });
  });
  for (size_t i = n; i < sums.size(); i++) sums[i % n] += sums[i];
  sums.resize(n);
  return sums;
}

// σ_i of a batch; leaves e_ki - c_kz - ē_i in the members' energies.
void AtomicUncertainty::deviations(Scratch &scratch) const {
  const int members = committee_.size(), n = scratch.members[0].batch.ncenters;
  for (int i = 0; i < n; i++) {
    double mean = 0.0, variance = 0.0, largest = 0.0;
    for (int k = 0; k < members; k++) {
      const Neighbors &batch = scratch.members[k].batch;
      double &energy = scratch.members[k].energies[i];
      largest = std::max(largest, std::abs(energy));
      if (!reference_energies_.empty())
        energy -= reference_energies_[first_[k] + batch.species[batch.centers[0]]];
      mean += energy / members;
    }
    for (Member &member : scratch.members) {
      double &energy = member.energies[i];
      energy -= mean;
      variance += (member.variances[i] + energy * energy) / members;
    }
    scratch.sigma[i] = above_rounding(std::sqrt(std::max(variance, 0.0)), largest);
  }
}

// a w_k / K, the weights of passes without uncertainty.
void AtomicUncertainty::weigh_means(const std::vector<Pass> &passes) {
  for (int k = 0; k < committee_.size(); k++) {
    means_[k].clear();
    for (const Pass &pass : passes)
      for (const double w : committee_.member(k).readout.mean())
        means_[k].push_back(pass.mean / committee_.size() * w);
  }
}

// ∂S/∂φ_ki = (a + b' (e_ki - c_kz - ē_i) / σ_i) w_k / K + b' Σ_k φ_ki / (σ_i K), b' = b times the
// slope of lower()
void AtomicUncertainty::make_cotangents(Scratch &scratch, const std::vector<Pass> &passes) {
  const double members = committee_.size();
  for (int k = 0; k < committee_.size(); k++) {
    Member &member = scratch.members[k];
    const Model &model = committee_.member(k);
    const int z = member.batch.species[member.batch.centers[0]], count = model.map->count(z);
    const double *w = model.readout.mean().data() + model.map->offset(z);
    if (!whole(k)) {
      member.cotangents.resize(passes.size() * member.phi.size());
      member.baseline.assign(passes.size() * BATCH, 0.0);
    }
    for (size_t p = 0; p < passes.size(); p++) {
      if (passes[p].sigma == 0.0 && !whole(k)) continue;
      const int pass = static_cast<int>(p);
      const Rows own = cotangents(k, pass, scratch);
      double *e0 = baseline(k, pass, scratch);
      for (int i = 0; i < member.batch.ncenters; i++) {
        const double sigma = scratch.sigma[i], slope = lower(sigma, passes[p].floor).slope,
                     b = sigma > 0.0 ? slope * passes[p].sigma / (members * sigma) : 0.0,
                     a = passes[p].mean / members + b * member.energies[i];
        const size_t row = static_cast<size_t>(i) * own.stride;
        for (int j = 0; j < count; j++) own.data[row + j] = a * w[j] + b * member.v[row + j];
        e0[i] += a;
      }
    }
  }
}

double AtomicUncertainty::run(const Neighbors *views, const std::vector<Pass> &passes,
                              const PerAtom &wanted) {
  std::vector<Result> results;
  for (const Pass &pass : passes) {
    results.push_back(pass.result);
    results.back().eatom = nullptr;    // see add_energies()
  }
  std::vector<double> energy(team_.size(), 0.0);
  const int members = committee_.size(), npasses = static_cast<int>(passes.size());
  const bool biased =
      std::any_of(passes.begin(), passes.end(), [](const Pass &pass) { return pass.sigma != 0.0; });
  for (Scratch &scratch : scratch_) scratch.min_distance = std::numeric_limits<double>::infinity();
  weigh_means(passes);
  for (int k = 0; k < members && mixed_; k++)
    add_projections(k, wanted.sigma && !biased, wanted.grades);
  forward_wholes(views);
  start_cotangents(npasses);

  const auto body = [&](int t, int first, const Neighbors &share, Result *own) {
    Scratch &scratch = scratch_[t];
    for_batches(views, first, share, scratch, [&] {
      const Neighbors &batch = scratch.members[0].batch;
      std::fill_n(scratch.mean.begin(), batch.ncenters, 0.0);
      for (int k = 0; k < members; k++) {
        energies(k, scratch);
        if (biased || wanted.sigma) variances(k, scratch, biased);
        for (int i = 0; i < batch.ncenters; i++)
          scratch.mean[i] += scratch.members[k].energies[i] / members;
      }
      for (int i = 0; i < batch.ncenters; i++) energy[t] += scratch.mean[i];
      deviations(scratch);
      for (int i = 0; i < batch.ncenters && wanted.sigma; i++)
        wanted.sigma[batch.centers[i]] = scratch.sigma[i];
      if (npasses > 0) make_cotangents(scratch, passes);
      add_energies(scratch, passes);
      for (int k = 0; k < members && npasses > 0; k++) backward(k, scratch, passes, own);
      if (wanted.grades) grades(scratch, wanted.grades);
    });
  };
  team_.share(views[0], npasses, results.data(), body);
  backward_wholes(views, npasses, results.data());
  double total = 0.0;
  for (const double e : energy) total += e;
  return total;
}

// s_i = a ē_i + b lower(σ_i, floor). The cotangents do not give it: c_kz counts in them.
void AtomicUncertainty::add_energies(const Scratch &scratch, const std::vector<Pass> &passes) {
  const Neighbors &batch = scratch.members[0].batch;
  for (const Pass &pass : passes)
    for (int i = 0; i < batch.ncenters && pass.result.eatom; i++)
      pass.result.eatom[batch.centers[i]] +=
          pass.mean * scratch.mean[i] + pass.sigma * lower(scratch.sigma[i], pass.floor).value;
}

void AtomicUncertainty::backward(int k, Scratch &scratch, const std::vector<Pass> &passes,
                                 Result *results) {
  if (whole(k)) return;
  const FeatureMap &map = *committee_.member(k).map;
  std::vector<Cotangent> all(passes.size());
  for (size_t p = 0; p < passes.size(); p++) {
    if (passes[p].sigma == 0.0) {
      all[p].shared = &means_[k][p * map.nreadout()];
      all[p].baseline = passes[p].mean / committee_.size();
    } else {
      all[p].per_atom = cotangents(k, static_cast<int>(p), scratch).data;
      all[p].baseline_per_atom = baseline(k, static_cast<int>(p), scratch);
    }
  }
  Member &member = scratch.members[k];
  map.backward(member.batch, *member.state, static_cast<int>(passes.size()), all.data(), results);
}

// After all else on a batch: maps that grade by themselves need their state for it.
void AtomicUncertainty::grades(Scratch &scratch, double *grades) {
  const Neighbors &batch = scratch.members[0].batch;
  for (int i = 0; i < batch.ncenters; i++) grades[batch.centers[i]] = 0.0;
  std::vector<double> values(batch.ncenters);
  for (int k = 0; k < committee_.size(); k++) {
    const Model &model = committee_.member(k);
    Member &member = scratch.members[k];
    const int z = member.batch.species[batch.centers[0]];
    const Rows phi = features(k, scratch);
    if (!model.has_grades()) continue;
    if (model.active.empty())
      model.map->grades(member.batch, *member.state, values.data());
    else if (single_[k].inverses.empty())
      model.active.grades(z, batch.ncenters, phi.stride, phi.data, values.data());
    else
      single_[k].inverses[z].largest(batch.ncenters, phi.stride, phi.data, values.data());
    for (int i = 0; i < batch.ncenters; i++) {
      double &grade = grades[batch.centers[i]];
      if (!(values[i] <= grade)) grade = values[i];    // a NaN stays
    }
  }
}

double AtomicUncertainty::min_distance() const {
  double distance = scratch_[0].min_distance;
  for (const Scratch &scratch : scratch_) distance = std::min(distance, scratch.min_distance);
  return distance;
}
