// SPDX-License-Identifier: GPL-2.0-or-later
// Several models of one material, of any families, with the law of total variance:
//
//     E  = (1/K) Σ_k E_k,                                   E_k = w_k · Φ_k (+ E_k⁰)
//     σ² = (1/K) Σ_k Φ_kᵀ Σ_k Φ_k + (1/K) Σ_k (E_k - E)²
//     ∇σ = (1/Kσ) Σ_k [Σ_k Φ_k + (E_k - E) w_k] · ∇Φ_k      (and (E_k - E) ∇E_k⁰)
//
// so that mean, bias and their sum are one backward pass for each member with the right cotangent.
// A single model is a committee of one.

#ifndef UQ_COMMITTEE_H
#define UQ_COMMITTEE_H

#include "core/model/model.h"

#include <cmath>
#include <memory>
#include <vector>

namespace uq {

// An uncertainty that is more than the rounding of the energies that it is made of, else 0: the
// direction of its gradient would mean nothing.
inline double above_rounding(double sigma, double largest_energy) {
  return sigma > 1e-12 * largest_energy ? sigma : 0.0;
}

// σ lowered by a floor f: S = √(σ² + f²) - f, which is σ far above the floor and σ²/2f far below
// it, with a force that is continuous everywhere.
struct Lowered {
  double value;    // S
  double slope;    // dS/dσ
};
inline Lowered lower(double sigma, double floor) {
  if (sigma == 0.0) return {0.0, 0.0};
  const double root = std::sqrt(sigma * sigma + floor * floor);
  return {sigma * (sigma / (root + floor)), sigma / root};
}

class Committee {
 public:
  explicit Committee(std::vector<std::shared_ptr<Model>> members);
  explicit Committee(std::vector<Model> members);

  int size() const { return static_cast<int>(members_.size()); }
  const Model &member(int k) const { return *members_[k]; }
  double cutoff() const;
  bool has_grades() const;         // a member with an active set
  bool has_noise() const;          // a member with a noise head
  bool has_uncertainty() const;    // a posterior, or more than one member

  // The global reduction of one step: Φ of every member and the fixed energies, contiguous, to be
  // summed over ranks by the caller before solve().
  int nsums() const { return nsums_; }
  double *sums() { return sums_.data(); }
  int sums_offset(int k) const { return offsets_[k]; }    // Φ_k, followed by E_k⁰

  // From the reduced sums, once, before threads multiply(): see Readout.
  void prepare();

  // From the reduced sums, the products Σ_k Φ_k of every member, contiguous: one of several parts
  // that add up to them, written to [nproducts()]. solve() needs their sum in products(). Worth
  // sharing among threads and ranks: the covariances are larger than the caches.
  void multiply(int part, int parts, double *products) const;
  bool worth_sharing() const;
  int nproducts() const { return static_cast<int>(products_.size()); }
  double *products() { return products_.data(); }

  // From the reduced sums and the products: energies, σ and, for each member, the weights of ∇σ.
  void solve();
  double energy() const { return energy_; }                     // eV
  double sigma() const { return sigma_; }                       // eV
  double member_energy(int k) const { return energies_[k]; }    // eV

  // Cotangents of member k for S = mean Ē + sigma σ: mean times (1/K) w_k plus sigma times the
  // weights of ∇σ. They point into the committee and stay valid until the next solve() or the next
  // call for the same member. `baseline` energies are scaled by baseline_weight.
  struct MemberCotangent {
    const double *shared;
    double baseline_weight;
  };
  MemberCotangent mean_cotangent(int k) const;
  MemberCotangent cotangent(int k, double mean, double sigma);

 private:
  std::vector<std::shared_ptr<Model>> members_;
  std::vector<int> offsets_;
  int nsums_ = 0;
  std::vector<double> sums_;
  std::vector<double> energies_;
  double energy_ = 0.0, sigma_ = 0.0;
  std::vector<double> products_;    // Σ_k Φ_k, which solve() makes the weights of ∇σ
  std::vector<std::vector<double>> mean_, merged_;
  std::vector<double> baseline_sigma_;

  size_t product_offset(int k) const { return offsets_[k] - k; }    // a sum more for each member
};

}    // namespace uq

#endif
