// SPDX-License-Identifier: GPL-2.0-or-later
// Products in tiles: a few leaders, each times each of their common partners, so that a kernel
// loads the leaders once.

#ifndef UQ_ACE_TILES_H
#define UQ_ACE_TILES_H

#include <cstddef>
#include <map>
#include <set>
#include <vector>

namespace uq {
namespace ace {

// The nodes (or halves) that each one is multiplied with; both ways.
using Partners = std::map<int, std::set<int>>;

// A few leaders, each multiplied with each of the partners that they have in common.
struct Tile {
  std::vector<int> leaders;
  std::set<int> partners;
};

// Takes products out of `partners` into tiles of `width` leaders with at least so many partners.
std::vector<Tile> take_tiles(Partners &partners, size_t width, size_t least);

}    // namespace ace
}    // namespace uq

#endif
