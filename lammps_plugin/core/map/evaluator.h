// SPDX-License-Identifier: GPL-2.0-or-later
// A feature map with the scratch memory of a team of threads: the passes of feature_map.h, shared
// among them. A map that passes messages takes all centres at once: one thread does its work.
//
// A forward pass keeps kilobytes of each centre for the backward pass. Of more centres than `keep`
// only the last are kept; the others go through the forward pass again, a piece at a time, when the
// backward pass comes to them. Not for maps that pass messages.

#ifndef UQ_EVALUATOR_H
#define UQ_EVALUATOR_H

#include "core/map/feature_map.h"
#include "core/parallel/threads.h"

#include <memory>
#include <vector>

namespace uq {

class Evaluator {
 public:
  static constexpr int KEEP = 1 << 16;    // centres of a rank

  // The evaluator keeps references: `map` and `team` must live as long as it does.
  Evaluator(const FeatureMap &map, ThreadTeam &team, int keep = KEEP);

  const FeatureMap &map() const { return *map_; }
  // Asked for nothing, it leaves pieces that are not kept to backward().
  void forward(const Neighbors &nb, double *sum, double *per_atom);
  void backward(const Neighbors &nb, int ncotangents, const Cotangent *cotangents, Result *results);
  void evaluate(const Neighbors &nb, const Cotangent &cotangent, Result &result);

  // Results of the latest pass; FeatureMap::State says what they are.
  double min_distance() const;
  double baseline_energy() const;
  std::vector<double> baseline_energies() const;    // of a map that passes messages

 private:
  const FeatureMap *map_;
  ThreadTeam *team_;
  std::vector<std::unique_ptr<FeatureMap::State>> states_;
  int keep_;
  size_t active_ = 1;    // threads of the latest pass
  struct Seen {
    double min_distance, baseline_energy;
    int held;    // first centre of the piece that the state holds, -1: none
  };
  std::vector<Seen> seen_;            // [threads], of all pieces of the latest pass
  std::vector<double> sums_;          // of threads other than the first
  std::vector<double *> messages_;    // [threads], what they exchange

  struct Piece {
    int first, count;    // of the centres of one thread
  };
  std::vector<Piece> pieces(int ncenters) const;
  static Neighbors part(const Neighbors &share, const Piece &piece);
  Cotangent part(const Cotangent &cotangent, int first) const;
  void start(int t);
  void note(int t, const Piece &piece, bool energies);
  void share(const Neighbors &nb, int nresults, Result *results, const ThreadTeam::Body &body);
};

}    // namespace uq

#endif
