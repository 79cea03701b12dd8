// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/map/fused_members.h"

#include <algorithm>

using namespace uq;

std::vector<FusedMembers> FusedMembers::of(const std::vector<const FeatureMap *> &maps) {
  std::vector<FusedMembers> groups;
  for (size_t k = 0; k < maps.size(); k++) {
    const int member = static_cast<int>(k);
    const auto joins = [&](FusedMembers &group) { return group.add(member, maps[k]); };
    if (std::any_of(groups.begin(), groups.end(), joins)) continue;
    groups.emplace_back();
    groups.back().members_ = {member};
    groups.back().maps_ = {maps[k]};
  }
  return groups;
}

bool FusedMembers::add(int member, const FeatureMap *map) {
  std::vector<const FeatureMap *> maps = maps_;
  maps.push_back(map);
  std::unique_ptr<const FeatureMap> fused = fuse(maps);
  if (!fused) return false;
  fused_ = std::move(fused);
  maps_ = std::move(maps);
  members_.push_back(member);
  return true;
}

int FusedMembers::start(int n, int species) const {
  int start = 0;
  for (int k = 0; k < n; k++) start += maps_[k]->count(species);
  return start;
}

// Visits (first of a block in the whole, first in the part, size) of the n-th member.
template <class Visit> void FusedMembers::for_blocks(int n, const Visit &visit) const {
  for (int z = 0; z < static_cast<int>(map().elements().size()); z++)
    visit(map().offset(z) + start(n, z), maps_[n]->offset(z), maps_[n]->count(z));
}

void FusedMembers::split(const double *whole, int n, double *part) const {
  for_blocks(n, [&](int from, int to, int size) { std::copy_n(whole + from, size, part + to); });
}

void FusedMembers::join(const double *part, int n, double *whole) const {
  for_blocks(n, [&](int to, int from, int size) { std::copy_n(part + from, size, whole + to); });
}
