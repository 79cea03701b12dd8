// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/geometry/periodic_list.h"

#include "core/error.h"

#include <algorithm>
#include <limits>
#include <string>

using namespace uq;

namespace {

// Images of an atom that are ghosts already, chained: an atom has few of them.
struct Image {
  int32_t shift[3];
  int ghost, next;
};

}    // namespace

PeriodicList::PeriodicList(size_t natoms, const double *positions, const double *cell,
                           size_t npairs, const uint64_t *i, const uint64_t *j,
                           const int32_t *shifts)
    : x_(positions, positions + 3 * natoms), owner_(natoms), first_(natoms + 1, 0),
      indices_(npairs) {
  constexpr auto LARGEST = static_cast<size_t>(std::numeric_limits<int>::max());
  if (natoms + npairs > LARGEST)
    throw Error("a structure of " + std::to_string(natoms) + " atoms and " +
                std::to_string(npairs) + " pairs is more than one list can hold");
  for (size_t n = 0; n < natoms; n++) owner_[n] = static_cast<int>(n);
  for (size_t p = 0; p < npairs; p++) {
    if (i[p] >= natoms || j[p] >= natoms)
      throw Error("pair " + std::to_string(p) + " names atom " +
                  std::to_string(std::max(i[p], j[p])) + " of " + std::to_string(natoms));
    first_[i[p] + 1]++;
  }
  for (size_t n = 0; n < natoms; n++) first_[n + 1] += first_[n];

  std::vector<int> next(first_.begin(), first_.end() - 1);
  std::vector<int> latest(natoms, -1);    // head of each atom's chain
  std::vector<Image> images;
  for (size_t p = 0; p < npairs; p++) {
    const int32_t *s = shifts + 3 * p;
    int &place = indices_[next[i[p]]++];
    place = static_cast<int>(j[p]);
    if (s[0] == 0 && s[1] == 0 && s[2] == 0) continue;
    int found = latest[j[p]];
    while (found >= 0 && !std::equal(s, s + 3, images[found].shift)) found = images[found].next;
    if (found < 0) {
      found = static_cast<int>(images.size());
      images.push_back({{s[0], s[1], s[2]}, ntotal(), latest[j[p]]});
      latest[j[p]] = found;
      owner_.push_back(static_cast<int>(j[p]));
      for (int a = 0; a < 3; a++)
        x_.push_back(positions[3 * j[p] + a] + s[0] * cell[a] + s[1] * cell[3 + a] +
                     s[2] * cell[6 + a]);
    }
    place = images[found].ghost;
  }
}
