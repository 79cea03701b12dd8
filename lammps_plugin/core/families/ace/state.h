// SPDX-License-Identifier: GPL-2.0-or-later
// Working memory of the ACE feature map.

#ifndef UQ_ACE_STATE_H
#define UQ_ACE_STATE_H

#include "core/families/ace/ace.h"
#include "core/geometry/surroundings.h"

namespace uq {
namespace ace {

// Neighbours of one centre inside the cutoff, species after species, each padded to full vectors.
struct Environment : Surroundings {
  std::vector<int> first, size;    // [species]: begin and padded number
  double min_distance = 0.0;

  // Core repulsion: ρ, and the switch f with its derivative with respect to ρ (zbl: to the distance
  // of `nearest`).
  double rho = 0.0, f = 1.0, df = 0.0;
  int nearest = -1;
};

struct Ace::Block {
  int species = 0, natoms = 0;
  const int *rows = nullptr;                          // [natoms], which centres
  size_t components = 0, rho = 0, environment = 0;    // where its data begin in the state
};

struct AceState : FeatureMap::State {
  const Kernels *kernels = nullptr;
  std::vector<int> order;    // centres sorted by species
  std::vector<Ace::Block> blocks;
  AlignedArray components, rho;             // of all blocks, forward() to backward()
  std::vector<Environment> environments;    // of all blocks likewise; evaluate(): of one block
  AlignedArray scale;    // [sum_blocks][lanes], f of the core repulsion; 0 for empty lanes

  // One entry for each atom of a block. Where forward and backward pass are separate calls, only
  // the first entry is used, for one atom after the other: the state keeps the list of neighbours
  // of each centre, and their coordinates are computed again.
  std::vector<AlignedArray> coordinates;

  std::vector<int> neighbors, species;    // of one centre as listed
  std::vector<int> next;                  // where the next neighbour of each species goes

  AlignedArray nodes, products, sums, adjoint, derivative, column, force, scratch, features;
  AlignedArray lane_weights, extra_lanes, value;
  std::vector<std::vector<double>> folded;    // [cotangent * nspecies + species][nproduct]
  std::vector<ProductWeights> weights;        // [cotangent]

  // Used by jacobian(): derivatives of products, of features (entries), of components, and the rows
  // of one atom.
  AlignedArray product_gradients, entries, component_gradients, matrix, rows;
  std::vector<int> owners,
      slot;    // owners next to the present centre; owner → place among them, or -1
};

}    // namespace ace
}    // namespace uq

#endif
