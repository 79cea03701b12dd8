// SPDX-License-Identifier: GPL-2.0-or-later
// Every potential is a feature map with a linear readout,
//
//     E = Σ_i e_i,   e_i = w_z(i) · φ_i + e_i⁰,
//
// φ_i: features of atom i; w: readout weights; e_i⁰: the part that carries no readout weight
// (one-body energies, core repulsion). A family of potentials (ACE, MTP, NEP, network) implements
// this interface and nothing else; means, committees and bias forces are only different weights
// ("cotangents") put into it.

#ifndef UQ_FEATURE_MAP_H
#define UQ_FEATURE_MAP_H

#include "core/geometry/neighbors.h"

#include <memory>
#include <string>
#include <vector>

namespace uq {

// The weights of one backward pass: S = Σ_i s_i, s_i = cotangent_i · φ_i + fixed_i · e_i⁰.
struct Cotangent {
  const double *shared = nullptr;               // [nreadout], common to all atoms; or
  const double *per_atom = nullptr;             // [ncenters][max_features], one row for each centre
  double baseline = 0.0;                        // weight of e_i⁰, unless
  const double *baseline_per_atom = nullptr;    // [ncenters] gives one for each centre

  double baseline_of(int center) const {
    return baseline_per_atom ? baseline_per_atom[center] : baseline;
  }
};

// What a pass adds to. Every array is accumulated into (+=) and owned by the caller; null: not
// wanted.
struct Result {
  double energy = 0.0;         // S, eV
  double *eatom = nullptr;     // [ntotal], s_i on the centres, eV
  double *forces = nullptr;    // [ntotal][3], -∂S/∂x, eV/Å; ghosts included, not folded back
  double *virial = nullptr;    // [9], Σ r ⊗ f in the order xx yy zz xy xz yz yx zx zy, eV
  double *vatom = nullptr;     // [ntotal][9], centroid: (r_j - r_i) ⊗ f_j on neighbour j, eV
};

class FeatureMap {
 public:
  // Scratch memory and what a forward pass leaves for the backward pass. One for each caller and
  // thread.
  struct State {
    virtual ~State() = default;
    double min_distance = 0.0;       // Å, shortest in the latest pass; infinity without neighbours
    double baseline_energy = 0.0;    // eV, Σ_i e_i⁰ of the latest forward or evaluate pass
    std::vector<double> baseline_energies;    // eV, e_i⁰ of the centres of that pass
  };

  virtual ~FeatureMap() = default;

  virtual const char *family() const = 0;
  virtual const std::vector<std::string> &elements() const = 0;    // species order of the model
  virtual double cutoff() const = 0;                               // Å, the largest
  virtual double cutoff(int si, int sj) const = 0;                 // Å, centre si, neighbour sj

  // Readout weights form one vector of nreadout() numbers. An atom of species z uses the contiguous
  // block [offset(z), offset(z) + count(z)); blocks of different species may coincide (MTP) or not
  // (ACE, NEP).
  virtual int nreadout() const = 0;
  virtual int offset(int species) const = 0;
  virtual int count(int species) const = 0;
  int max_features() const;
  // The weights that the model file itself carries, [nreadout].
  virtual const std::vector<double> &weights() const = 0;

  // Numbers of each atom that pass between owners and ghosts in one exchange; 0: a map whose atoms
  // pass no messages. A map that does wants all owned atoms as centres of every pass, and all ranks
  // in it.
  virtual int exchange_width() const { return 0; }
  // How far away the farthest atom lies on which the energy of an atom depends, Å.
  virtual double reach() const { return cutoff(); }

  virtual std::unique_ptr<State> new_state() const = 0;

  // Forward: sum[nreadout] += Σ_i φ_i (each species into its block);
  // per_atom[ncenters][max_features] = φ_i, padded with zeros. Either may be null. Keeps in `state`
  // what backward() needs.
  virtual void forward(const Neighbors &nb, State &state, double *sum, double *per_atom) const = 0;

  // Backward at the positions of the latest forward() on this state: one geometry pass for all
  // cotangents.
  virtual void backward(const Neighbors &nb, State &state, int ncotangents,
                        const Cotangent *cotangents, Result *results) const = 0;

  // One cotangent, known before the pass: forward and backward fused atom by atom, nothing kept.
  virtual void evaluate(const Neighbors &nb, State &state, const Cotangent &cotangent,
                        Result &result) const = 0;

  // Derivatives of the summed features: rows[3*nowners + 6][nreadout] +=
  //   row 3*a+c:          -∂Φ/∂x of owner a, component c, with the force on atom j booked on
  //   owner[j]; row 3*nowners + v:  Σ r ⊗ f of the features, v = xx yy zz yz xz xy.
  // These are the design-matrix rows of forces and virials. The default makes one backward pass for
  // each weight; families whose features are many override it.
  virtual void jacobian(const Neighbors &nb, State &state, int nowners, const int *owner,
                        double *rows) const;

  // See fuse(): `maps` are all of one family, this one first.
  virtual std::unique_ptr<const FeatureMap>
  fuse_with(const std::vector<const FeatureMap *> &maps) const;

  // Extrapolation grade of each centre, [ncenters], by an active set that the model file itself
  // carries (MLIP's .almtp). Most files carry none.
  virtual bool has_grades() const { return false; }
  virtual void grades(const Neighbors &nb, State &state, double *grades) const;

  // Noise of the force labels that a model was trained with, where it has learned one: variance of
  // each component at each centre, [ncenters], (eV/Å)².
  virtual bool has_noise() const { return false; }
  virtual void noise(const Neighbors &nb, State &state, double *variances) const;
};

// Several maps as one that does their common work once, independent of them; null where they have
// none in common. Their readout blocks follow each other within the block of a species: those of
// map k begin at offset(z) + Σ_{k' < k} count_{k'}(z). The fixed part is the one that each has.
std::unique_ptr<const FeatureMap> fuse(const std::vector<const FeatureMap *> &maps);

}    // namespace uq

#endif
