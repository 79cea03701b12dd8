// SPDX-License-Identifier: GPL-2.0-or-later
// The neuroevolution potential as a feature map.
//
// Z. Fan et al., Phys. Rev. B 104, 104309 (2021); J. Chem. Phys. 157, 114801 (2022); K. Song et
// al., Nat. Commun. 15, 10208 (2024). Features of an atom: the hidden layer of the network of its
// species and the constant 1. Without readout weight: the ZBL repulsion.
//
// A map holds one potential or several of equal hyperparameters, its members, which share
// neighbours, radial and angular functions and their sums over neighbours; their features follow
// each other within the block of a species.

#ifndef UQ_NEP_NEP_H
#define UQ_NEP_NEP_H

#include "core/families/nep/compile.h"
#include "core/map/feature_map.h"

#include <memory>

namespace uq {
namespace nep {

struct NepState;
struct Environment;
struct Angular;
struct AtomSlopes;

class Nep : public FeatureMap {
 public:
  explicit Nep(const Parameters &potential);

  const char *family() const override { return "nep"; }
  const std::vector<std::string> &elements() const override { return shape_.elements; }
  double cutoff() const override { return cutoff_; }
  double cutoff(int si, int sj) const override { return cutoffs_[pair(si, sj)]; }
  int nreadout() const override { return static_cast<int>(weights_.size()); }
  int offset(int species) const override { return species * count_; }
  int count(int) const override { return count_; }
  const std::vector<double> &weights() const override { return weights_; }

  std::unique_ptr<State> new_state() const override;
  void forward(const Neighbors &nb, State &state, double *sum, double *per_atom) const override;
  void backward(const Neighbors &nb, State &state, int ncotangents, const Cotangent *cotangents,
                Result *results) const override;
  void evaluate(const Neighbors &nb, State &state, const Cotangent &cotangent,
                Result &result) const override;
  void jacobian(const Neighbors &nb, State &state, int nowners, const int *owner,
                double *rows) const override;
  std::unique_ptr<const FeatureMap>
  fuse_with(const std::vector<const FeatureMap *> &maps) const override;

 private:
  struct Block;
  struct Reach {    // squares of cutoffs, Å²
    double all = 0.0, angular = 0.0;
  };

  Hyperparameters shape_;
  std::vector<std::shared_ptr<const Weights>> members_;
  Harmonics harmonics_;
  InvariantPlan invariants_;
  std::vector<double> cutoffs_;    // [pair], Å: the largest of radial, angular, ZBL
  double cutoff_ = 0.0;
  std::vector<Reach> reach_;    // [centre][1 + neighbour]; the first: atoms of no species
  std::vector<PairRepulsion> repulsion_;    // [pair]; empty: none
  bool channels_first_ = false;             // g_n of each neighbour instead of sums of f_k
  int count_ = 0;                           // features of an atom
  std::vector<double> weights_;

  Nep(const Hyperparameters &shape, std::vector<std::shared_ptr<const Weights>> members);
  int pair(int i, int j) const { return i * shape_.nspecies() + j; }

  size_t sums_size() const {    // of s_nc of one atom
    return members_.size() * harmonics_.width * static_cast<size_t>(width_of(shape_.nangular));
  }

  void begin(const Neighbors &nb, NepState &state, bool keep) const;
  int find_neighbors(const Neighbors &nb, NepState &state, Environment &env) const;
  void gather(const Neighbors &nb, NepState &state, int center, Environment &env) const;
  double outside() const { return 2.0 * cutoff_; }    // where padding stands, Å
  void add_repulsion(Environment &env) const;
  void gather_angular(const Environment &env, Angular &angular) const;
  void evaluate_functions(const Environment &env, const Kernels &k, bool slopes,
                          Angular &angular) const;
  void channel_sums(NepState &state, const Environment &env, const Angular &angular,
                    double *s) const;
  void descriptors(NepState &state, const Environment &env, const double *s, double *q,
                   int stride) const;
  void describe(const Neighbors &nb, NepState &state, const Block &block, bool slopes) const;
  void features(NepState &state, const Block &block, double *sum, double *per_atom) const;

  bool weigh(NepState &state, const Weights &member, int natoms, const double *const *weights,
             const double *h, double *y, double *energies) const;
  const double *cotangent_weights(const Cotangent &cotangent, const Block &block, int atom) const;
  void network_backward(NepState &state, const Block &block, const Cotangent &cotangent,
                        Result &result, double *slopes, char *busy) const;
  void radial_forces(NepState &state, const Environment &env, const AtomSlopes &slopes) const;
  void component_slopes(NepState &state, const double *s, const AtomSlopes &slopes) const;
  void angular_forces(NepState &state, const Environment &env, const Angular &angular,
                      const AtomSlopes &slopes) const;
  void atom_forces(NepState &state, const Environment &env, const Angular &angular, const double *s,
                   const AtomSlopes &slopes, Result &result) const;
  void block_forces(NepState &state, const Block &block, int ncotangents,
                    const Cotangent *cotangents, Result *results, const Neighbors *again) const;

  void radial_gradients(const Environment &env, const Kernels &k, const Weights &member,
                        NepState &state) const;
  void angular_gradients(const Environment &env, const Kernels &k, const Weights &member,
                         const Angular &angular, const double *s, NepState &state) const;

  friend struct NepState;
};

}    // namespace nep
}    // namespace uq

#endif
