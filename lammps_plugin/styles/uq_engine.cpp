// SPDX-License-Identifier: GPL-2.0-or-later

#include "uq_engine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

using namespace LAMMPS_NS;

// Atoms of one batch of the per-atom passes: large enough that a covariance matrix streamed from
// memory is shared by many atoms, small enough that their features stay in cache.
static constexpr int BATCH = 128;

UQEngine::UQEngine(uq::Committee committee, std::vector<std::vector<int>> species_of_type,
                   MPI_Comm world, double energy_unit)
    : committee_(std::move(committee)), species_of_type_(std::move(species_of_type)), world_(world),
      energy_unit_(energy_unit), species_(committee_.size()) {
  std::vector<const uq::FeatureMap *> maps;
  for (int k = 0; k < committee_.size(); k++) {
    maps.push_back(committee_.member(k).map.get());
    states_.push_back(maps.back()->new_state());
  }
  together_ = uq::Group::of(maps);
  for (const uq::Group &group : together_) together_states_.push_back(group.map().new_state());
}

double UQEngine::cutoff(int itype, int jtype) const {
  double cut = 0.0;
  for (int k = 0; k < committee_.size(); k++) {
    const int si = species_of_type_[k][itype], sj = species_of_type_[k][jtype];
    const uq::FeatureMap &map = *committee_.member(k).map;
    cut = std::max({cut, map.cutoff(si, sj), map.cutoff(sj, si)});
  }
  return cut;
}

double UQEngine::memory_usage() const {
  size_t bytes =
      sizeof(double) * (phi_.capacity() + v_.capacity() + variance_.capacity() + seeds_.capacity());
  bytes += sizeof(int) * (centers_.capacity() + species_.size() * static_cast<size_t>(nall_));
  return static_cast<double>(bytes);
}

void UQEngine::set_atoms(int nall, double **x, const int *type, int inum, const int *ilist,
                         int *numneigh, int **firstneigh, int mask) {
  nall_ = nall;
  for (int k = 0; k < committee_.size(); k++) {
    species_[k].resize(nall);
    for (int i = 0; i < nall; i++) species_[k][i] = species_of_type_[k][type[i]];
  }

  // A counting sort of the centres by species; atoms mapped to NULL have none.
  const std::vector<int> &species = species_[0];
  const int nspecies = static_cast<int>(committee_.member(0).map->elements().size());
  groups_.assign(nspecies + 1, 0);
  for (int n = 0; n < inum; n++)
    if (species[ilist[n]] >= 0) groups_[species[ilist[n]] + 1]++;
  for (int z = 0; z < nspecies; z++) groups_[z + 1] += groups_[z];
  centers_.resize(groups_[nspecies]);
  std::vector<int> next(groups_.begin(), groups_.end() - 1);
  for (int n = 0; n < inum; n++)
    if (species[ilist[n]] >= 0) centers_[next[species[ilist[n]]]++] = ilist[n];

  view_.ntotal = nall;
  view_.x = nall ? x[0] : nullptr;
  view_.ncenters = ncenters();
  view_.centers = centers_.data();
  view_.counts = numneigh;
  view_.neighbors = firstneigh;
  view_.mask = mask;
}

uq::Neighbors UQEngine::view(int member) const {
  uq::Neighbors nb = view_;
  nb.species = species_[member].data();
  return nb;
}

void UQEngine::note_distance(const uq::FeatureMap::State &state) {
  min_distance_ = std::min(min_distance_, state.min_distance);
}

std::vector<double> &UQEngine::buffer(size_t slot, size_t size) {
  if (weights_.size() <= slot) weights_.resize(slot + 1);
  weights_[slot].resize(size);
  return weights_[slot];
}

// The seed in LAMMPS's energy units, copied into buffer `slot` of this member.
uq::Seed UQEngine::scaled(const uq::Committee::MemberSeed &seed, int slot, int member) {
  const int m = committee_.member(member).map->nreadout();
  std::vector<double> &weights =
      buffer(static_cast<size_t>(slot) * committee_.size() + member, static_cast<size_t>(m));
  for (int j = 0; j < m; j++) weights[j] = energy_unit_ * seed.shared[j];
  uq::Seed out;
  out.shared = weights.data();
  out.fixed = energy_unit_ * seed.fixed_weight;
  return out;
}

// The same of all members of a group, seed_of(member), for the map that they share.
template <class SeedOf> uq::Seed UQEngine::joined(const SeedOf &seed_of, size_t group, int slot) {
  const uq::Group &members = together_[group];
  std::vector<double> &weights = buffer(static_cast<size_t>(slot) * committee_.size() + group,
                                        static_cast<size_t>(members.map().nreadout()));
  uq::Seed out;
  for (size_t n = 0; n < members.members().size(); n++) {
    const uq::Committee::MemberSeed seed = seed_of(members.members()[n]);
    members.join(seed.shared, static_cast<int>(n), weights.data());
    out.fixed += energy_unit_ * seed.fixed_weight;
  }
  for (double &w : weights) w *= energy_unit_;
  out.shared = weights.data();
  return out;
}

double UQEngine::evaluate(int member, uq::Result result) {
  min_distance_ = std::numeric_limits<double>::infinity();
  result.energy = 0.0;
  if (member >= 0) {
    const uq::Model &model = committee_.member(member);
    const uq::Committee::MemberSeed seed = {model.readout.mean().data(), 1.0};
    model.map->evaluate(view(member), *states_[member], scaled(seed, 0, member), result);
    note_distance(*states_[member]);
    return result.energy;
  }
  for (size_t g = 0; g < together_.size(); g++) {
    const uq::Seed seed = joined([&](int k) { return committee_.mean_seed(k); }, g, 0);
    together_[g].map().evaluate(view(together_[g].members()[0]), *together_states_[g], seed,
                                result);
    note_distance(*together_states_[g]);
  }
  return result.energy;
}

void UQEngine::member(int k, int n, const double *weights, double fixed, uq::Result *results) {
  const uq::FeatureMap &map = *committee_.member(k).map;
  const int m = map.nreadout();
  std::vector<uq::Seed> seeds;
  for (int s = 0; s < n; s++)
    seeds.push_back(scaled({weights + static_cast<size_t>(s) * m, fixed}, s, k));
  if (n == 1) {
    map.evaluate(view(k), *states_[k], seeds[0], results[0]);
  } else {
    map.forward(view(k), *states_[k], nullptr, nullptr);
    map.backward(view(k), *states_[k], n, seeds.data(), results);
  }
}

// Φ of a group on this rank, into phi_; returns the energy without readout weight.
double UQEngine::group_sums(size_t group) {
  const uq::FeatureMap &map = together_[group].map();
  phi_.assign(map.nreadout(), 0.0);
  map.forward(view(together_[group].members()[0]), *together_states_[group], phi_.data(), nullptr);
  note_distance(*together_states_[group]);
  return together_states_[group]->fixed_energy;
}

double UQEngine::forward() {
  min_distance_ = std::numeric_limits<double>::infinity();
  double *sums = committee_.sums();
  double energy = 0.0;
  for (size_t g = 0; g < together_.size(); g++) {
    const uq::Group &group = together_[g];
    const double fixed_energy = group_sums(g);
    for (size_t n = 0; n < group.members().size(); n++) {
      const int k = group.members()[n], m = committee_.member(k).map->nreadout();
      double *phi = sums + committee_.sums_offset(k);
      group.split(phi_.data(), static_cast<int>(n), phi);
      phi[m] = fixed_energy;
      const uq::Committee::MemberSeed mean = committee_.mean_seed(k);
      for (int j = 0; j < m; j++) energy += mean.shared[j] * phi[j];
      energy += mean.fixed_weight * fixed_energy;
    }
  }
  MPI_Allreduce(MPI_IN_PLACE, sums, committee_.nsums(), MPI_DOUBLE, MPI_SUM, world_);
  committee_.solve();
  return energy_unit_ * energy;
}

void UQEngine::backward(double tau, const std::vector<Pass> &passes) {
  committee_.merge(tau);
  for (size_t g = 0; g < together_.size(); g++) {
    std::vector<uq::Seed> seeds;
    std::vector<uq::Result> results;
    for (const Pass &pass : passes) {
      const auto seed_of = [&](int k) {
        return pass.kind == Pass::MEAN    ? committee_.mean_seed(k)
               : pass.kind == Pass::SIGMA ? committee_.sigma_seed(k)
                                          : committee_.merged_seed(k);
      };
      seeds.push_back(joined(seed_of, g, static_cast<int>(seeds.size())));
      results.push_back(pass.result);
    }
    together_[g].map().backward(view(together_[g].members()[0]), *together_states_[g],
                                static_cast<int>(seeds.size()), seeds.data(), results.data());
  }
}

// Calls visit(view of the batch) for runs of centres of one species.
template <class Visit> void UQEngine::for_batches(const Visit &visit) {
  for (size_t z = 0; z + 1 < groups_.size(); z++)
    for (int start = groups_[z]; start < groups_[z + 1]; start += BATCH) {
      uq::Neighbors batch = view_;
      batch.centers = centers_.data() + start;
      batch.ncenters = std::min(BATCH, groups_[z + 1] - start);
      visit(batch);
    }
}

double UQEngine::local(double tau, double floor, const std::vector<Pass> &passes,
                       double *sigma_atom) {
  const uq::Model &model = committee_.member(0);
  const std::vector<double> &mean = model.readout.mean();
  const int stride = model.map->max_features();
  phi_.resize(static_cast<size_t>(BATCH) * stride);
  v_.resize(phi_.size());
  variance_.resize(BATCH);
  seeds_.resize(passes.size() * phi_.size());
  min_distance_ = std::numeric_limits<double>::infinity();
  double energy = 0.0;

  for_batches([&](uq::Neighbors batch) {
    batch.species = species_[0].data();
    const int z = species_[0][batch.centers[0]];
    const int offset = model.map->offset(z), count = model.map->count(z);
    model.map->forward(batch, *states_[0], nullptr, phi_.data());
    note_distance(*states_[0]);
    model.readout.variances(batch.ncenters, stride, offset, count, phi_.data(), v_.data(),
                            variance_.data());
    energy += states_[0]->fixed_energy;

    for (int n = 0; n < batch.ncenters; n++) {
      const double sigma = std::sqrt(std::max(variance_[n], 0.0));
      const double scale = sigma > floor ? 1.0 / sigma : 0.0;
      if (sigma_atom) sigma_atom[batch.centers[n]] = energy_unit_ * sigma;
      const double *phi = &phi_[static_cast<size_t>(n) * stride];
      const double *v = &v_[static_cast<size_t>(n) * stride];
      for (int j = 0; j < count; j++) energy += mean[offset + j] * phi[j];
      for (size_t p = 0; p < passes.size(); p++) {
        const double a = passes[p].kind == Pass::SIGMA ? 0.0 : energy_unit_;
        const double b = passes[p].kind == Pass::MEAN    ? 0.0
                         : passes[p].kind == Pass::SIGMA ? energy_unit_ * scale
                                                         : -tau * energy_unit_ * scale;
        double *seed = &seeds_[p * phi_.size() + static_cast<size_t>(n) * stride];
        for (int j = 0; j < count; j++) seed[j] = a * mean[offset + j] + b * v[j];
        std::fill(seed + count, seed + stride, 0.0);
      }
    }

    std::vector<uq::Seed> seeds(passes.size());
    std::vector<uq::Result> results(passes.size());
    for (size_t p = 0; p < passes.size(); p++) {
      seeds[p].per_atom = &seeds_[p * phi_.size()];
      seeds[p].fixed = passes[p].kind == Pass::SIGMA ? 0.0 : energy_unit_;
      results[p] = passes[p].result;
    }
    model.map->backward(batch, *states_[0], static_cast<int>(passes.size()), seeds.data(),
                        results.data());
  });
  return energy_unit_ * energy;
}

// Energies of one member on the centres of a batch, whose features lie in phi_.
void UQEngine::member_energies(int k, const uq::Neighbors &batch, int z, double *energies) {
  const uq::Model &model = committee_.member(k);
  const std::vector<double> zero(model.map->nreadout(), 0.0), &mean = model.readout.mean();
  const int stride = model.map->max_features(), offset = model.map->offset(z),
            count = model.map->count(z);
  fixed_.assign(nall_, 0.0);
  uq::Seed seed;
  seed.shared = zero.data();
  seed.fixed = 1.0;
  uq::Result result;
  result.eatom = fixed_.data();
  model.map->backward(batch, *states_[k], 1, &seed, &result);
  for (int n = 0; n < batch.ncenters; n++) {
    energies[n] = fixed_[batch.centers[n]];
    const double *phi = &phi_[static_cast<size_t>(n) * stride];
    for (int j = 0; j < count; j++) energies[n] += mean[offset + j] * phi[j];
  }
}

void UQEngine::local_sigma(double *sigma_atom) {
  const int members = committee_.size();
  std::vector<double> energies(static_cast<size_t>(members) * BATCH), total(BATCH);
  variance_.resize(BATCH);
  for_batches([&](uq::Neighbors batch) {
    std::fill(total.begin(), total.end(), 0.0);
    for (int k = 0; k < members; k++) {
      const uq::Model &model = committee_.member(k);
      const int stride = model.map->max_features(), z = species_[k][batch.centers[0]];
      batch.species = species_[k].data();
      phi_.resize(static_cast<size_t>(BATCH) * stride);
      model.map->forward(batch, *states_[k], nullptr, phi_.data());
      if (model.readout.has_posterior()) {
        model.readout.variances(batch.ncenters, stride, model.map->offset(z), model.map->count(z),
                                phi_.data(), nullptr, variance_.data());
        for (int n = 0; n < batch.ncenters; n++) total[n] += variance_[n] / members;
      }
      if (members > 1) member_energies(k, batch, z, &energies[static_cast<size_t>(k) * BATCH]);
    }
    for (int n = 0; n < batch.ncenters; n++) {
      double mean = 0.0, spread = 0.0;
      for (int k = 0; k < members; k++)
        mean += energies[static_cast<size_t>(k) * BATCH + n] / members;
      for (int k = 0; k < members; k++) {
        const double d = energies[static_cast<size_t>(k) * BATCH + n] - mean;
        spread += d * d / members;
      }
      sigma_atom[batch.centers[n]] = energy_unit_ * std::sqrt(std::max(total[n] + spread, 0.0));
    }
  });
}
