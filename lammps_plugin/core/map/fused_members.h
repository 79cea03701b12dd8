// SPDX-License-Identifier: GPL-2.0-or-later
// Members of a committee that are evaluated as one map because they share work (see fuse()), or one
// member alone.

#ifndef UQ_GROUP_H
#define UQ_GROUP_H

#include "core/map/feature_map.h"

#include <memory>
#include <vector>

namespace uq {

class FusedMembers {
 public:
  // The groups of a committee's maps, which stay its own and must outlive the groups.
  static std::vector<FusedMembers> of(const std::vector<const FeatureMap *> &maps);

  const std::vector<int> &members() const { return members_; }
  const FeatureMap &map() const { return fused_ ? *fused_ : *maps_[0]; }

  // A readout vector (Φ, weights) of the map, [map().nreadout()], and that of the n-th of
  // members().
  void split(const double *whole, int n, double *part) const;
  void join(const double *part, int n, double *whole) const;
  // Where the n-th member's features begin among those of an atom.
  int start(int n, int species) const;

 private:
  std::vector<int> members_;
  std::vector<const FeatureMap *> maps_;
  std::unique_ptr<const FeatureMap> fused_;    // null: one member

  bool add(int member, const FeatureMap *map);
  template <class Visit> void for_blocks(int n, const Visit &visit) const;
};

}    // namespace uq

#endif
