// SPDX-License-Identifier: GPL-2.0-or-later
// Working memory of the NEP feature map.

#ifndef UQ_NEP_STATE_H
#define UQ_NEP_STATE_H

#include "core/families/nep/nep.h"
#include "core/geometry/surroundings.h"

namespace uq {
namespace nep {

// Neighbours of one centre inside the cutoffs, species after species, each padded to whole vectors,
// those that the angular functions see first.
struct Environment : Surroundings {
  int size = 0;
  std::vector<int> first;            // [species + 1]
  std::vector<int> angular_first;    // [species + 1], the same among the angular neighbours alone
  double min_distance = 0.0;         // Å
  double repulsion = 0.0;            // eV

  int nangular() const { return angular_first.back(); }
};

// The angular neighbours of one centre without gaps between species, padded at the end, and their
// functions: f and its slopes [base][size], with channels first g and its slopes too [size][channel
// width], harmonics [size][component width].
struct Angular {
  int size = 0;
  AlignedArray memory;
  double *x = nullptr, *y = nullptr, *z = nullptr, *r = nullptr, *cutoff = nullptr;
  double *f = nullptr, *df = nullptr, *g = nullptr, *dg = nullptr, *harmonics = nullptr;
};

// ∂s/∂q of one atom, [dim] of each member that a cotangent gives weight to, and the weight of the
// fixed part.
struct AtomSlopes {
  const double *first;
  int stride;          // from member to member
  const char *busy;    // [member], 0: without weight
  double baseline;

  const double *of(size_t member) const { return first + member * stride; }
};

struct Nep::Block {
  int species = 0, natoms = 0;
  const int *rows = nullptr;      // [natoms], which centres
  size_t environment = 0;         // of the first atom
  size_t sums = 0, hidden = 0;    // where its data begin in the state
};

struct NepState : FeatureMap::State {
  const Kernels *kernels = nullptr;
  std::vector<int> order;    // centres sorted by species
  std::vector<Nep::Block> blocks;
  std::vector<Environment> environments;    // of all blocks, or of one
  // One entry for each atom of a block. Where forward and backward pass are separate calls, only
  // the first entry is used, for one atom after the other: the state keeps the list of neighbours
  // of each centre, and their coordinates are computed again.
  std::vector<AlignedArray> coordinates;
  std::vector<Angular> angular;
  // Sums s [atom][member][component width][channel width] and hidden layers
  // [block][member][atom][width], of all blocks or of one.
  AlignedArray sums, hidden;

  std::vector<double> distances;    // r² of the neighbours of one centre as listed
  std::vector<int> neighbors, species, next;

  AlignedArray descriptors,
      slopes;                // [member][atom][dim width], [cotangent][member][atom][dim width]
  std::vector<char> busy;    // [cotangent][member]
  AlignedArray inputs;       // of one member's backward pass, [atom][width]
  AlignedArray weights, radial, invariants, base_sums, component_slopes, channel_slopes;
  AlignedArray contracted, u, force, pair_slopes, pair_forces;

  // Used by jacobian(): derivatives of the descriptors around one atom, [dim][width]; three columns
  // for each owner near it, then the virial.
  AlignedArray gradients, harmonics, products, channels, rows;
  int width = 0;
  std::vector<int> owners, place;    // owners next to the present centre; owner → place, or -1
  std::vector<int> columns;          // of each neighbour of the centre; -1: padding
};

}    // namespace nep
}    // namespace uq

#endif
