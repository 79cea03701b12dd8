// SPDX-License-Identifier: GPL-2.0-or-later
// Working memory of the NEP feature map.

#ifndef UQ_NEP_STATE_H
#define UQ_NEP_STATE_H

#include "nep.h"

namespace uq {
namespace nep {

// Neighbours of one centre inside the cutoffs, species after species: all of them, each species
// padded to whole vectors, those of the angular functions first; and these once more, padded at the
// end only.
struct Environment {
  int center = -1, species = -1;
  int size = 0;
  AlignedArray memory;
  double *x = nullptr, *y = nullptr, *z = nullptr, *r = nullptr;    // unit vector and distance, Å
  std::vector<int> index;                                           // neighbour, -1: padding
  std::vector<int> first;                                           // [species + 1]

  int nangular = 0, angular_size = 0;    // without and with padding
  AlignedArray angular_memory;
  double *ax = nullptr, *ay = nullptr, *az = nullptr, *ar = nullptr, *cutoff = nullptr;
  std::vector<int> angular_first;    // [species + 1]
  double min_distance = 0.0;         // Å
  double repulsion = 0.0;            // eV
};

// What multiplies the harmonics at the angular neighbours, and the harmonics: f and its slopes
// [base][size], or, with channels first, g and its slopes [size][channel width].
struct Functions {
  AlignedArray memory;
  double *f = nullptr, *df = nullptr, *g = nullptr, *dg = nullptr, *harmonics = nullptr;
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
  std::vector<Functions> functions;         // [atoms of a block]
  // Of all blocks, or of one: s [atom][member][component width][channel width], hidden layers
  // [block][member][atom][width].
  AlignedArray sums, hidden;

  AlignedArray displacements;    // neighbours of one centre as listed: x, y, z, r²
  std::vector<int> neighbors, species, next;

  AlignedArray descriptors, slopes;    // [member][atom][dim width], [seed][member][atom][dim width]
  AlignedArray inputs;                 // of one member's backward pass, [atom][width]
  AlignedArray radial, invariants, base_sums, channel_sums, component_slopes, channel_slopes;
  AlignedArray contracted, u, force, pair_slopes, pair_forces;

  // Of jacobian(): descriptors' derivatives around one atom, [dim][width], three columns for each
  // owner near it, then the virial.
  AlignedArray gradients, harmonics, products, channels, rows;
  int width = 0;
  std::vector<int> owners, place;    // owners next to the present centre; owner → place, or -1
  std::vector<int> columns;          // of each neighbour of the centre; -1: padding
};

}    // namespace nep
}    // namespace uq

#endif
