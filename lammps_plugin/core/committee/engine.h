// SPDX-License-Identifier: GPL-2.0-or-later
// Runs a committee on the atoms of one process: forward pass, the one reduction over processes,
// backward passes. Energies leave in the caller's units: the conversion factor sits in the
// cotangents.
//
// The bias is S = σ_E (global) or S = Σ_i σ_i (local), each σ lowered by a floor; see
// committee.h.

#ifndef UQ_ENGINE_H
#define UQ_ENGINE_H

#include "core/committee/atomic_uncertainty.h"
#include "core/committee/committee.h"
#include "core/committee/pass.h"
#include "core/map/evaluator.h"
#include "core/map/fused_members.h"
#include "core/parallel/reducer.h"
#include "core/parallel/threads.h"

#include <memory>
#include <vector>

namespace uq {

class Engine {
 public:
  // species_of_type [members][types]: the caller's type → species of that member's model, -1:
  // skipped; energy_unit: the caller's energy unit per eV; mixed: see atomic_uncertainty.h;
  // keep: see evaluator.h
  Engine(Committee committee, std::vector<std::vector<int>> species_of_type,
         std::unique_ptr<Reducer> reducer, double energy_unit, bool mixed, int keep);

  const Committee &committee() const { return committee_; }
  double cutoff(int itype, int jtype) const;    // Å, largest of all members, either way round
  double memory_usage() const;                  // bytes

  void set_threads(int n);    // of this rank

  // The atoms of the passes that follow; x [nall][3], the arrays stay the caller's. Of messages
  // between atoms either the exchange carries those of ghosts, or (null) the list goes on with the
  // neighbours of `gnum` ghosts, which make them anew.
  void set_atoms(int nall, const double *x, const int *type, int inum, int gnum, const int *ilist,
                 const int *numneigh, const int *const *firstneigh, int mask, Exchange *exchange);
  int exchange_width() const;    // doubles of an atom in the largest exchange; 0: no messages
  int nall() const { return nall_; }
  int ncenters() const { return ncenters_; }
  int center(int n) const { return centers_[n]; }

  // Mean energy of this rank's atoms with forces, virial, per-atom tallies; member < 0: mean of all
  // members.
  double evaluate(int member, Result result);

  // One pass over member k for each of n weight vectors [n][nreadout] (eV); e⁰ counts `baseline`
  // times.
  void member(int k, int n, const double *weights, double baseline, Result *results);

  // The members of a group, each by its mean weights: one geometry pass for all, results
  // [members].
  const std::vector<FusedMembers> &groups() const { return together_; }
  void members(size_t group, Result *results);

  // Φ of all ranks, σ_E and its weights. Returns the mean energy of this rank's atoms.
  double forward();
  double sigma() const { return energy_unit_ * committee_.sigma(); }

  // After forward(): passes with S = mean Ē + sigma σ_E as energy.
  void backward(const std::vector<Pass> &passes);

  // The same for Σ_i σ_i, batch after batch, forward and backward. Collective. Returns the mean
  // energy of this rank's atoms. What is wanted of each centre: [nall].
  using PerAtom = AtomicUncertainty::PerAtom;
  double local(std::vector<Pass> passes, const PerAtom &wanted);

  // Standard deviation of the force labels' components as members have learned it, [nall].
  void noise(double *sigma);

  // The energies from which the atomic energies of a committee's members are counted (see
  // atomic_uncertainty.h): their means over each species at the first call of local(), unless set
  // before. eV.
  const std::vector<double> &reference_energies() {
    return atomic_uncertainty().reference_energies();
  }
  void set_reference_energies(const std::vector<double> &reference_energies) {
    atomic_uncertainty().set_reference_energies(reference_energies);
  }

  void forget_reference_energies() { local_.reset(); }    // another structure

  double min_distance() const { return min_distance_; }    // of the latest pass on this rank, Å

 private:
  Committee committee_;
  std::vector<std::vector<int>> species_of_type_;
  std::unique_ptr<Reducer> reducer_;
  double energy_unit_;    // the caller's per eV
  bool mixed_;
  int keep_;

  int nall_ = 0;
  Neighbors view_;
  std::vector<std::vector<int>> species_;    // [members][nall]
  std::vector<int> centers_;                 // grouped by species; behind them the relays
  int ncenters_ = 0;

  std::unique_ptr<ThreadTeam> team_;
  std::vector<Evaluator> members_;              // of each member alone
  std::vector<FusedMembers> together_;          // members that are evaluated as one, and
  std::vector<Evaluator> groups_;               // of these
  std::unique_ptr<AtomicUncertainty> local_;    // null: not used so far
  std::vector<std::vector<double>>
      weights_;                  // cotangents in the caller's units, one buffer for each pass
  std::vector<double> phi_;      // Φ of one group
  std::vector<double> parts_;    // of multiply()
  double min_distance_ = 0.0;

  Neighbors view(int member) const;
  std::vector<Neighbors> views() const;
  AtomicUncertainty &atomic_uncertainty();
  std::vector<double> &buffer(size_t slot, size_t size);
  Cotangent scaled(const Committee::MemberCotangent &cotangent, int slot, int member);
  Cotangent alone(size_t group, int n);
  template <class CotangentOf>
  Cotangent joined(const CotangentOf &cotangent_of, size_t group, int slot);
  double group_sums(size_t group);
  void multiply();
  void note_distance(double distance);
};

}    // namespace uq

#endif
