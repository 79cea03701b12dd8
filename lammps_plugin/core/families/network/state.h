// SPDX-License-Identifier: GPL-2.0-or-later
// Working memory of the network feature map. Atoms are counted in the order of `order`.

#ifndef UQ_NETWORK_STATE_H
#define UQ_NETWORK_STATE_H

#include "core/families/network/network.h"

#include <vector>

namespace uq {
namespace network {

struct NetworkState : FeatureMap::State {
  const Kernels *kernels = nullptr;

  std::vector<int> order;      // centres sorted by species: rows of Neighbors::centers
  std::vector<int> atoms;      // and their atoms
  std::vector<int> species;    // [atom]

  // The samples of the reverse pass under way, whose arrays hold no others.
  int first_sample = 0, samples = 0;

  // Edges of all centres, each run padded to whole vectors (index -1).
  std::vector<size_t> first;    // [atom + 1]
  std::vector<int> counts;      // [atom], without padding
  std::vector<int> index;
  std::vector<int> runs;    // [atom][species + 1]: edges of an atom by species of the neighbour
  AlignedArray x, y, z, r;

  AlignedArray ones;               // g of the first layer, [width]
  std::vector<AlignedArray> g;     // [layer], [ntotal][sample][component][width]
  std::vector<AlignedArray> q;     // [layer], [atom][sample][block][width], before the gate
  AlignedArray g_adjoint;          // as g
  AlignedArray h_adjoint, next;    // [atom][sample][component][width]

  // Working memory for the block of atoms that is being evaluated, or for one atom and sample.
  AlignedArray slots, h, q_adjoint;
  Edges edges{};
  AlignedArray functions;
  AlignedArray z1, s1, radial, radial_adjoint, s1_adjoint, basis_adjoint, slope, gradients;
};

}    // namespace network
}    // namespace uq

#endif
