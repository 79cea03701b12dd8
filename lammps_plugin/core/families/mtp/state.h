// SPDX-License-Identifier: GPL-2.0-or-later
// Working memory of the MTP feature map.

#ifndef UQ_MTP_STATE_H
#define UQ_MTP_STATE_H

#include "core/families/mtp/mtp.h"
#include "core/geometry/surroundings.h"
#include "core/math/aligned.h"

namespace uq {
namespace mtp {

// Neighbours of one centre inside the cutoff, sorted by species, padded to full vectors.
struct Environment : Surroundings {
  int n = 0, padded = 0;                 // neighbours, with padding
  std::vector<int> first;                // [nspecies + 1]
  double *f = nullptr, *df = nullptr;    // radial functions [vector][slot][lane], behind r
};

// Centres, of any species, that go together through the products.
struct Mtp::Block {
  int natoms = 0;
  int row = 0;               // first centre
  int environment = 0;       // its place in the state
  double *kept = nullptr;    // forward() to backward(): all nodes, or the core moments alone
};

struct MtpState : FeatureMap::State {
  const Kernels *kernels = nullptr;
  std::vector<Mtp::Block> blocks;
  std::vector<Environment> environments;    // forward(): of all centres; evaluate(): of one block
  AlignedArray kept;
  bool all_kept = false;
  // One entry for each atom of a block. Where forward and backward pass are separate calls, only
  // the first entry is used, for one atom after the other: the state keeps the list of neighbours
  // of each centre, and their coordinates are computed again.
  std::vector<AlignedArray> functions;

  std::vector<int> neighbors, species;    // of one centre as listed
  AlignedArray nodes, adjoint, value, atom_weights, scratch, column, force;
  std::vector<double> weights;    // of one member's features

  // Used by jacobian(): derivatives of the features and of the core moments, rows of one centre.
  AlignedArray feature_gradients, core_gradients, matrix, rows;
  std::vector<double> radial_gradient;    // used by grades(), one centre
  std::vector<int> owners, slot;    // owners next to the centre; owner → place among them, or -1
};

}    // namespace mtp
}    // namespace uq

#endif
