// SPDX-License-Identifier: GPL-2.0-or-later
// Compiles what a file says into the plans of the kernels (plan.h).

#ifndef UQ_ACE_COMPILE_H
#define UQ_ACE_COMPILE_H

#include "core/families/ace/core_repulsion.h"
#include "core/families/ace/parameters.h"
#include "core/families/ace/plan.h"
#include "core/families/load_options.h"
#include "core/math/aligned.h"

#include <deque>
#include <vector>

namespace uq {
namespace ace {

// Sparse matrix in compressed rows.
struct Sparse {
  std::vector<int> first = {0}, column;
  std::vector<double> value;

  int rows() const { return static_cast<int>(first.size()) - 1; }
};

// One element as centre.
struct SpeciesPlan {
  std::vector<BondPlan> bonds;        // [neighbour species]
  std::vector<CoreRepulsion> core;    // [neighbour species]
  ProductPlan products;

  // Features: first those of linear densities, φ_k = Σ_t coupling_kt product_t, then weight *
  // F(ρ_p; exponent) with ρ_p = Σ_t density_pt product_t for each non-linear density.
  Sparse coupling;
  std::vector<std::vector<double>> densities;    // [nonlinear][nproduct]
  std::vector<Density> nonlinear;
  Embedding embedding = Embedding::FinnisSinclair;
  int nfeatures = 0;

  double e0 = 0.0, rho_core_cutoff = 0.0, drho_core_cutoff = 0.0;    // eV

  // Derivatives of the features with respect to the components: entry e of feature f,
  // gradient_first[f] <= e < gradient_first[f + 1], is ∂φ_f/∂A of gradient_component[e] = Σ
  // gradient_terms_eq gradient_q, where the last gradient is the constant 1 (rank 1) and the others
  // are those of `factors`. Non-linear features stand for ρ.
  FactorPlan factors;
  std::vector<int> gradient_first, gradient_component;
  Sparse gradient_terms;
  int ngradients = 0;

  // Memory behind the pointers of the plans.
  std::deque<std::vector<double>> numbers;
  std::vector<int> leaf_re, leaf_im, node_a, node_first, node_b, linear;
  std::vector<int> leader, tile_leader, partner, tile_partner, tile_product;
  std::vector<int> segment_node, segment_tile;
  std::vector<int> factor_first, factor;
  std::vector<double> sign_a, sign_b;
};

// Whether the radial functions are zero at the cutoff, so that energies do not jump there.
bool vanishes_at_cutoff(const Bond &bond);

// Radial::Spline: radial functions and core repulsion from cubic Hermite tables of about the file's
// bin width (Å), as the reference evaluator has them. Throws uq::Error.
void compile(const Parameters &potential, int species, Radial mode, SpeciesPlan &plan);

const Legendre &legendre();

// F(ρ; exponent) and its derivative.
Value embed(Embedding embedding, double rho, double exponent);

}    // namespace ace
}    // namespace uq

#endif
