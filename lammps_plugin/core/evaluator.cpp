// SPDX-License-Identifier: GPL-2.0-or-later

#include "evaluator.h"

#include <algorithm>

using namespace uq;

Evaluator::Evaluator(const FeatureMap &map, ThreadTeam &team) : map_(&map), team_(&team) {
  const int threads = map.exchange_width() ? 1 : team.size();
  for (int t = 0; t < threads; t++) states_.push_back(map.new_state());
}

void Evaluator::share(const Neighbors &nb, int nresults, Result *results,
                      const ThreadTeam::Body &body) {
  if (states_.size() > 1)
    team_->share(nb, nresults, results, body);
  else
    body(0, 0, nb, results);
}

// The seed of the centres from `first`.
Seed Evaluator::part(const Seed &seed, int first) const {
  Seed part = seed;
  if (seed.per_atom) part.per_atom += static_cast<size_t>(first) * map_->max_features();
  if (seed.fixed_per_atom) part.fixed_per_atom += first;
  return part;
}

void Evaluator::forward(const Neighbors &nb, double *sum, double *per_atom) {
  const size_t m = map_->nreadout();
  sums_.assign(sum ? (states_.size() - 1) * m : 0, 0.0);
  share(nb, 0, nullptr, [&](int t, int first, const Neighbors &share, Result *) {
    double *own = !sum || t == 0 ? sum : &sums_[(t - 1) * m];
    double *rows =
        per_atom ? per_atom + static_cast<size_t>(first) * map_->max_features() : nullptr;
    map_->forward(share, *states_[t], own, rows);
  });
  for (size_t i = 0; i < sums_.size(); i++) sum[i % m] += sums_[i];
}

void Evaluator::backward(const Neighbors &nb, int nseeds, const Seed *seeds, Result *results) {
  share(nb, nseeds, results, [&](int t, int first, const Neighbors &share, Result *own) {
    std::vector<Seed> parts;
    for (int s = 0; s < nseeds; s++) parts.push_back(part(seeds[s], first));
    map_->backward(share, *states_[t], nseeds, parts.data(), own);
  });
}

void Evaluator::evaluate(const Neighbors &nb, const Seed &seed, Result &result) {
  share(nb, 1, &result, [&](int t, int first, const Neighbors &share, Result *own) {
    map_->evaluate(share, *states_[t], part(seed, first), *own);
  });
}

double Evaluator::min_distance() const {
  double distance = states_[0]->min_distance;
  for (const auto &state : states_) distance = std::min(distance, state->min_distance);
  return distance;
}

double Evaluator::fixed_energy() const {
  double energy = 0.0;
  for (const auto &state : states_) energy += state->fixed_energy;
  return energy;
}
