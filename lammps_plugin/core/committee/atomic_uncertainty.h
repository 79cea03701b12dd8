// SPDX-License-Identifier: GPL-2.0-or-later
// Uncertainty of the energy of each atom of a committee, by the law of total variance,
//
//     σ_i² = (1/K) Σ_k φ_kiᵀ Σ_k φ_ki + (1/K) Σ_k (e_ki - c_kz - ē_i)²,
//
// and passes (see pass.h) with S = a Ē + b Σ_i lower(σ_i, floor) as energy. c_kz centres the
// energies of member k on atoms of species z: models share neither zero of energy nor how they
// divide it among the species. It is a constant, so that S is conserved where it should be.

#ifndef UQ_LOCAL_H
#define UQ_LOCAL_H

#include "core/committee/committee.h"
#include "core/committee/pass.h"
#include "core/map/evaluator.h"
#include "core/map/fused_members.h"
#include "core/parallel/threads.h"
#include "core/posterior/projection.h"

#include <memory>
#include <vector>

namespace uq {

class AtomicUncertainty {
 public:
  // All stay the caller's; groups of the committee's maps. mixed: σ_i and grades that no force
  // depends on, in single precision.
  AtomicUncertainty(const Committee &committee, const std::vector<FusedMembers> &groups,
                    ThreadTeam &team, bool mixed);

  // Σ_i e_ki and the number of atoms of each species: blocks of member after member,
  // [species][2]; to be summed over ranks and handed to set_reference_energies(). views [members]:
  // the same centres, sorted by species, each with its member's species.
  std::vector<double> energy_sums(const Neighbors *views);
  bool has_reference_energies() const { return !reference_energies_.empty(); }
  const std::vector<double> &reference_energies() const {
    return reference_energies_;
  }    // c_kz, eV, member after member
  void set_reference_energies(std::vector<double> reference_energies);    // throws uq::Error
  static std::vector<double> means(const std::vector<double> &energy_sums);

  // What is wanted for each centre, [ntotal]; null: not wanted. The grade is the largest over the
  // members that have an active set.
  struct PerAtom {
    double *sigma = nullptr;     // eV
    double *grades = nullptr;    // extrapolation grade
  };
  // Returns Σ_i ē_i (eV).
  double run(const Neighbors *views, const std::vector<Pass> &passes, const PerAtom &wanted);
  double min_distance() const;    // Å, of the latest run

 private:
  struct Member {
    std::unique_ptr<FeatureMap::State> state;
    Neighbors batch;
    std::vector<double> phi, v;        // [BATCH][max_features], of the Whole if in one
    std::vector<double> cotangents;    // [passes][BATCH][max_features], of passes with uncertainty
    std::vector<double> baseline;      // [passes][BATCH]
    std::vector<double> energies;      // [BATCH], e_ki
    std::vector<double> variances;
  };
  struct Scratch {    // of one thread
    std::vector<Member> members;
    std::vector<double> sigma;    // [BATCH]
    std::vector<double> mean;     // [BATCH], ē_i, c_kz not taken off
    int first;                    // centre of the batch
    double min_distance = 0.0;
  };

  // Members whose atoms pass messages: evaluated at once, before and after all batches.
  struct Whole {
    const FusedMembers *group;
    Evaluator evaluator;
    std::vector<double> phi;                  // [ncenters][max_features]
    std::vector<double> cotangents;           // [passes][ncenters][max_features]
    std::vector<double> baseline;             // [passes][ncenters]
    std::vector<double> baseline_energies;    // [ncenters], e_i⁰, eV
  };
  struct Place {
    int whole, n;    // the n-th of its members; whole -1: evaluated by batches
  };
  // Rows of the atoms of a batch: features or cotangents of one member.
  struct Rows {
    double *data;
    int stride;
  };

  // The matrices of one member, one for each species; empty: work in double precision.
  struct SinglePrecision {
    std::vector<Projection> roots, inverses;
  };

  const Committee &committee_;
  ThreadTeam &team_;
  bool mixed_;
  std::vector<SinglePrecision> single_;       // [members]
  std::vector<std::vector<double>> means_;    // [members][passes][nreadout], a w_k / K
  std::vector<Scratch> scratch_;
  std::vector<Whole> wholes_;
  std::vector<Place> places_;    // [members]
  int ncenters_ = 0;             // of all threads
  std::vector<int> first_;       // [members], where its species start in reference_energies_
  std::vector<double> reference_energies_;

  template <class Visit>
  void for_batches(const Neighbors *views, int first, const Neighbors &share, Scratch &scratch,
                   const Visit &visit);
  Whole *whole(int k) { return places_[k].whole < 0 ? nullptr : &wholes_[places_[k].whole]; }
  void forward_wholes(const Neighbors *views);
  void start_cotangents(int npasses);
  void backward_wholes(const Neighbors *views, int npasses, Result *results);
  Rows features(int k, Scratch &scratch);
  Rows cotangents(int k, int pass, Scratch &scratch);
  double *baseline(int k, int pass, Scratch &scratch);
  void energies(int k, Scratch &scratch);
  void variances(int k, Scratch &scratch, bool products);
  void add_projections(int k, bool roots, bool inverses);
  static void add_energies(const Scratch &scratch, const std::vector<Pass> &passes);
  void backward(int k, Scratch &scratch, const std::vector<Pass> &passes, Result *results);
  void weigh_means(const std::vector<Pass> &passes);
  void grades(Scratch &scratch, double *grades);
  void deviations(Scratch &scratch) const;
  void make_cotangents(Scratch &scratch, const std::vector<Pass> &passes);
};

}    // namespace uq

#endif
