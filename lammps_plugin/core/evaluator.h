// SPDX-License-Identifier: GPL-2.0-or-later
// A feature map with the scratch memory of a team of threads: the passes of feature_map.h, shared
// among them. A map that passes messages takes all centres at once: one thread does its work.

#ifndef UQ_EVALUATOR_H
#define UQ_EVALUATOR_H

#include "feature_map.h"
#include "threads.h"

#include <memory>
#include <vector>

namespace uq {

class Evaluator {
 public:
  // Both stay the caller's.
  Evaluator(const FeatureMap &map, ThreadTeam &team);

  const FeatureMap &map() const { return *map_; }
  void forward(const Neighbors &nb, double *sum, double *per_atom);
  void backward(const Neighbors &nb, int nseeds, const Seed *seeds, Result *results);
  void evaluate(const Neighbors &nb, const Seed &seed, Result &result);

  // Of the latest pass, as in FeatureMap::State.
  double min_distance() const;
  double fixed_energy() const;
  std::vector<double> fixed_energies() const;

 private:
  const FeatureMap *map_;
  ThreadTeam *team_;
  std::vector<std::unique_ptr<FeatureMap::State>> states_;
  size_t active_ = 1;                 // threads of the latest pass
  std::vector<double> sums_;          // of threads other than the first
  std::vector<double *> messages_;    // [threads], what they exchange

  Seed part(const Seed &seed, int first) const;
  void share(const Neighbors &nb, int nresults, Result *results, const ThreadTeam::Body &body);
};

}    // namespace uq

#endif
