// SPDX-License-Identifier: GPL-2.0-or-later
// Moment tensor potentials as a feature map.
//
// A. V. Shapeev, Multiscale Model. Simul. 14, 1153 (2016); I. S. Novikov et al., Mach. Learn.: Sci.
// Technol. 2, 025002 (2021). Features of an atom: for each species whether the atom is of it, then
// the scalar moments; their weights are shared by all species, so that the readout block of every
// species is the whole vector. Without readout weight: the repulsion of RBChebyshev_repuls. Several
// potentials that differ in these weights alone are one map, in which every feature stands once for
// each of them.

#ifndef UQ_MTP_MTP_H
#define UQ_MTP_MTP_H

#include "core/families/mtp/compile.h"
#include "core/map/feature_map.h"
#include "core/math/aligned.h"

namespace uq {
namespace mtp {

struct MtpState;
struct Environment;

class Mtp : public FeatureMap {
 public:
  explicit Mtp(Parameters potential);

  const char *family() const override { return "mtp"; }
  const std::vector<std::string> &elements() const override { return potential_.elements; }
  double cutoff() const override { return potential_.rmax; }
  double cutoff(int, int) const override { return potential_.rmax; }
  int nreadout() const override { return static_cast<int>(weights_.size()); }
  int offset(int) const override { return 0; }
  int count(int) const override { return nreadout(); }
  const std::vector<double> &weights() const override { return weights_; }

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

  bool has_grades() const override { return !active_.empty(); }
  void grades(const Neighbors &nb, State &state, double *grades) const override;

  // gradient[centre][neighbour][μ][k] += ∂/∂c of energy_weight E + Σ_j displacement_j · ∂E/∂x_j,
  // with E that of the readout weights [nreadout] and displacement [ntotal][3].
  void radial_gradient(const Neighbors &nb, const double *weights, double energy_weight,
                       const double *displacement, double *gradient) const;
  const std::vector<double> &radial() const { return potential_.radial; }

 private:
  struct Block;

  Parameters potential_;
  Compiled plan_;
  std::vector<double> weights_;         // species_coeffs, moment_coeffs of one member after another
  std::vector<double> coefficients_;    // [centre][neighbour][slot][k], times the scaling
  // For each species of centre the columns of (Aᵀ)⁻¹ that it needs: [needed coefficient][n]
  std::vector<std::vector<double>> active_;

  int nspecies() const { return potential_.nspecies(); }
  int nscalars() const { return static_cast<int>(plan_.scalars.size()); }
  int nfeatures() const { return nspecies() + nscalars(); }    // of one member
  int nmembers() const { return nreadout() / nfeatures(); }
  void add_members(const double *weights, double *total) const;
  void prepare_active();
  void begin(const Neighbors &nb, MtpState &state, bool keep) const;
  void find_neighbors(const Neighbors &nb, MtpState &state, int center, Environment &env) const;
  void evaluate_functions(const Neighbors &nb, const Kernels &k, bool slopes, Environment &env,
                          AlignedArray &memory) const;
  void moments(const Neighbors &nb, MtpState &state, const Block &block, bool slopes,
               double *nodes) const;
  void features(MtpState &state, const Block &block, const double *nodes, double *sum,
                double *per_atom) const;
  void adjoint(const Neighbors &nb, MtpState &state, const Block &block, const double *nodes,
               const Cotangent &cotangent, double *adjoint, double *value) const;
  void block_forces(const Neighbors &nb, MtpState &state, const Block &block, const double *nodes,
                    int ncotangents, const Cotangent *cotangents, Result *results,
                    bool again) const;
  void atom_forces(MtpState &state, const Environment &env, const double *adjoint, double energy,
                   double baseline, Result &result) const;
  double repulsion(double r) const;
  double repulsion_slope(double r) const;

  int gradient_matrix(MtpState &state, const Environment &env, const int *owner) const;
  void coefficient_gradient(MtpState &state, const Environment &env, int atom, double *row) const;

  friend struct MtpState;
};

// Throws uq::Error if the map is of another family.
const Mtp &as_mtp(const FeatureMap &map);

}    // namespace mtp
}    // namespace uq

#endif
