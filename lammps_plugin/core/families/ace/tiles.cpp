// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/ace/tiles.h"

#include <algorithm>
#include <iterator>
#include <utility>

using namespace uq;
using namespace uq::ace;

// The tile of a leader, which is joined by those that leave it most partners.
static Tile grow_tile(const Partners &partners, int leader, size_t width) {
  Tile tile = {{leader}, partners.at(leader)};
  while (tile.leaders.size() < width) {
    std::map<int, int> common;
    for (int partner : tile.partners)
      for (int other : partners.at(partner)) common[other]++;
    for (int member : tile.leaders) common.erase(member);
    const auto best =
        std::max_element(common.begin(), common.end(),
                         [](const auto &a, const auto &b) { return a.second < b.second; });
    if (best == common.end()) break;
    std::set<int> rest;
    const std::set<int> &theirs = partners.at(best->first);
    std::set_intersection(tile.partners.begin(), tile.partners.end(), theirs.begin(), theirs.end(),
                          std::inserter(rest, rest.end()));
    tile.partners = std::move(rest);
    tile.leaders.push_back(best->first);
  }
  if (width > 1)
    for (int member : tile.leaders) tile.partners.erase(member);
  return tile;
}

std::vector<Tile> ace::take_tiles(Partners &partners, size_t width, size_t least) {
  std::vector<Tile> tiles;
  std::set<std::pair<size_t, int>> candidates;    // number of partners, node or half
  for (const auto &[leader, mine] : partners) candidates.emplace(mine.size(), leader);
  while (!candidates.empty()) {
    const auto last = std::prev(candidates.end());
    const auto [count, leader] = *last;
    candidates.erase(last);
    if (partners.at(leader).size() < count) {    // some are gone since
      candidates.emplace(partners.at(leader).size(), leader);
      continue;
    }
    Tile tile = grow_tile(partners, leader, width);
    if (tile.leaders.size() < width || tile.partners.size() < least) continue;
    for (int member : tile.leaders)
      for (int partner : tile.partners) {
        partners[member].erase(partner);
        partners[partner].erase(member);
      }
    candidates.emplace(partners.at(leader).size(), leader);
    tiles.push_back(std::move(tile));
  }
  return tiles;
}
