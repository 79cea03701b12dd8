// SPDX-License-Identifier: GPL-2.0-or-later
// The atomic cluster expansion as a feature map.
//
// R. Drautz, Phys. Rev. B 99, 014104 (2019); Y. Lysogorskiy et al., npj Comput. Mater. 7, 97
// (2021). Features of an atom: for every density with linear embedding, each function of the file
// as written times the weight of the density; for every density with non-linear embedding, the
// embedded density. All are multiplied by the switch f of the core repulsion. Without readout
// weight: one-body energy and core repulsion.

#ifndef UQ_ACE_ACE_H
#define UQ_ACE_ACE_H

#include "core/families/ace/compile.h"
#include "core/families/load_options.h"
#include "core/map/feature_map.h"
#include "core/math/aligned.h"
#include "core/posterior/active_set.h"

namespace uq {
namespace ace {

// What a user should know of a potential: radial functions that do not vanish at their cutoff.
std::vector<std::string> warnings(const std::string &file, const Parameters &potential,
                                  Radial mode);

struct AceState;
struct Environment;

class Ace : public FeatureMap {
 public:
  Ace(Parameters potential, const LoadOptions &options);

  const char *family() const override { return "ace"; }
  const std::vector<std::string> &elements() const override { return potential_.elements; }
  double cutoff() const override { return cutoff_; }
  double cutoff(int si, int sj) const override { return plans_[si].bonds[sj].radial.rcut; }
  int nreadout() const override { return static_cast<int>(weights_.size()); }
  int offset(int species) const override { return offsets_[species]; }
  int count(int species) const override { return plans_[species].nfeatures; }
  const std::vector<double> &weights() const override { return weights_; }

  // Linear potentials of the same radial functions as one with the functions of all: products that
  // they have in common are made once.
  std::unique_ptr<const FeatureMap>
  fuse_with(const std::vector<const FeatureMap *> &maps) const override;
  std::unique_ptr<State> new_state() const override;
  void forward(const Neighbors &nb, State &state, double *sum, double *per_atom) const override;
  void backward(const Neighbors &nb, State &state, int ncotangents, const Cotangent *cotangents,
                Result *results) const override;
  void evaluate(const Neighbors &nb, State &state, const Cotangent &cotangent,
                Result &result) const override;
  void jacobian(const Neighbors &nb, State &state, int nowners, const int *owner,
                double *rows) const override;

  // An active set of pacemaker, and the functions that it selects from.
  void set_active(std::unique_ptr<const Ace> projections, ActiveSet active);
  bool has_grades() const override { return projections_ != nullptr; }
  void grades(const Neighbors &nb, State &state, double *grades) const override;

 private:
  struct Block;

  Parameters potential_;
  LoadOptions options_;
  std::unique_ptr<const Ace> projections_;
  ActiveSet active_;
  std::vector<SpeciesPlan> plans_;
  std::vector<int> offsets_;
  std::vector<double> weights_;
  double cutoff_ = 0.0;
  InnerCutoff inner_;
  std::vector<std::vector<std::pair<double, double>>>
      inner_cutoffs_;    // [centre][neighbour] rcut_in, dcut_in

  void begin(const Neighbors &nb, AceState &state, bool keep) const;
  int find_neighbors(const Neighbors &nb, AceState &state, Environment &env) const;
  void gather(const Neighbors &nb, AceState &state, int center, Environment &env) const;
  double outside() const { return 2.0 * cutoff_; }    // where padding stands, Å
  void add_core(Environment &env) const;
  void components(const Neighbors &nb, AceState &state, const Block &block, bool keep, double *a,
                  double *scale) const;
  void couple_sums(AceState &state, int species, double *sum) const;
  void products(AceState &state, const Block &block, const double *a, double *rho) const;
  void features(AceState &state, const Block &block, const double *rho, double *sum,
                double *per_atom) const;
  void fold(AceState &state, int ncotangents, const Cotangent *cotangents) const;
  void weigh(AceState &state, const Block &block, const double *rho, int ncotangents,
             const Cotangent *cotangents) const;
  void block_forces(AceState &state, const Block &block, const double *a, const double *rho,
                    int ncotangents, const Cotangent *cotangents, Result *results,
                    const Neighbors *again) const;
  void atom_forces(AceState &state, const Block &block, int lane, int ncotangents,
                   const Cotangent *cotangents, Result *results) const;

  double switch_slope(const Environment &env, int species, int slot) const;
  int gradient_matrix(AceState &state, const Environment &env, const int *owner) const;
  void feature_gradients(AceState &state, const Block &block, const double *a,
                         const double *rho) const;

  friend struct AceState;
};

}    // namespace ace
}    // namespace uq

#endif
