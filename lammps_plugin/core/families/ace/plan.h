// SPDX-License-Identifier: GPL-2.0-or-later
// What the kernels need to know of a potential, as plain arrays: `Bond` and `Function` of the file
// compiled into radial channels, components of A, a graph of products, and blocks of atoms.
//
// Vocabulary. Lanes: doubles in a vector. Block: as many atoms of one species as there are lanes;
// arrays of a block are [index][lane]. Component: a real number A, either Σ_j g_k (rank 1) or Re or
// Im of Σ_j R_nl Y_lm, m >= 0. Node: a complex number, [re, im][lane]; the first nodes are leaves
// (components), each other node is the product of two earlier ones or of one and the conjugate of
// another. Product: a real number that all functions are linear combinations of: a component of
// rank 1, Re(X Y*) of nodes X and Y, or X' Y' of two halves, which are real or imaginary parts of
// nodes (half 2 i: Re of node i, 2 i + 1: Im).

#ifndef UQ_ACE_PLAN_H
#define UQ_ACE_PLAN_H

#include "core/families/ace/parameters_limits.h"

namespace uq {
namespace ace {

// g_k(r), k = 0 .. nbase - 1, as in the file, or their splines.
struct RadialPlan {
  int basis = 0;    // of enum RadialBasis
  int nbase = 0;
  double rcut = 0.0, dcut = 0.0;          // Å
  double lambda = 0.0, end = 0.0;         // end: exp(-lambda)
  double rcut_in = 0.0, dcut_in = 0.0;    // Å; dcut_in = 0: no inner cutoff of the radial functions
  const double *bessel = nullptr;         // [nbase][3]: prefactor of h_n, √(e_n/d_{n-1}), 1/√d_n
  const double *table =
      nullptr;    // [nbins + 1][nbase][2]: g and (bin width) g' at the nodes; or null
  int nbins = 0;
};

// Neighbours of one species around a centre. Components of l: comp[l] + n (2l + 1) + c, with c = 0
// for m = 0, c = 2m - 1 for Re and c = 2m for Im of m > 0.
struct BondPlan {
  RadialPlan radial;
  int nrank1 = 0, comp1 = 0;    // components of rank 1: g_0 .. g_{nrank1 - 1}
  int lmax = -1;                // -1: no function of higher rank
  bool identity = false;        // R_nl = g_n
  int nchannels[max_l + 1] = {};
  int comp[max_l + 1] = {};
  const double *crad[max_l + 1] = {};    // [nchannels][nbase]
  int nradial = 0;                       // Σ_l nchannels
  int ncomp = 0, comp0 = 0;              // this bond's components are comp0 .. comp0 + ncomp - 1
};

// The graph of products of one species. Nodes are numbered within a segment: first the leaves and
// the inner nodes of segment 0, which all segments share, then the inner nodes of this segment,
// which take the place of those before. Inner nodes are grouped by their first factor.
struct ProductPlan {
  int ncomp = 0;
  int nleaf = 0;
  const int *leaf_re = nullptr, *leaf_im = nullptr;      // component; leaf_im = -1: real
  int nshared = 0;                                       // leaves and inner nodes of segment 0
  int nnode = 0;                                         // with those of the largest segment
  const int *node_a = nullptr, *node_first = nullptr;    // [group], segment after segment
  const int *node_b = nullptr;                           // [node]
  const double *sign_a = nullptr, *sign_b = nullptr;     // -1: its complex conjugate
  int nlinear = 0;                                       // the first products: components of rank 1
  const int *linear = nullptr;
  // The others in tiles of `width` leaders, each times each partner: product tile_product +
  // partner * width + leader. Widths: 4, 2, 1.
  const int *leader = nullptr, *tile_leader = nullptr;      // where those of each tile begin
  const int *partner = nullptr, *tile_partner = nullptr;    // likewise, [tile + 1]
  const int *tile_product = nullptr;
  int nproduct = 0;
  int nsegment = 0;    // where groups of nodes begin, [nsegment + 1], and tiles: of nodes, of each
  const int *segment_node = nullptr, *segment_tile = nullptr;    // width, of halves,
};    // [6 nsegment + 1]

// The factors whose product Re Π A each term of a function is, [nproduct + 1] and their
// concatenation: 2 leaf, or 2 leaf + 1 for its conjugate. Terms of rank 1 have none.
struct FactorPlan {
  int nproduct = 0;
  const int *first = nullptr, *factor = nullptr;
};

// Constants of the Legendre recursion, m-major: [m * (max_l + 1) + l].
struct Legendre {
  double diagonal[max_l + 1];    // P_mm = diagonal[m] P_{m-1,m-1}
  double first[max_l + 1];       // P_{m+1,m} = first[m] z P_mm
  double a[(max_l + 1) * (max_l + 1)],
      b[(max_l + 1) * (max_l + 1)];    // P_lm = a (z P_{l-1,m} + b P_{l-2,m})
};

// Weights of the products in one cotangent: base (one for all lanes, or [nproduct][lanes]) plus,
// where extra is set, extra[t] * extra_lane[lane].
struct ProductWeights {
  const double *base = nullptr;
  bool per_lane = false;
  const double *extra = nullptr;
  const double *extra_lane = nullptr;
};

constexpr int sum_blocks = 4;
constexpr int bundle = 4;    // vectors of neighbours that go together through accumulate()

// One set for each instruction set. Arrays are aligned to 64 bytes, counts of neighbours are
// multiples of `lanes`.
struct Kernels {
  int lanes;

  // Unit vectors and distances of the neighbours index [n] of the atom at `center`; -1: padding,
  // which stands at the distance `outside`.
  void (*locate)(int n, const int *index, const double *positions, const double *center,
                 double outside, double *x, double *y, double *z, double *r);

  // components[.][lane 0] of the bond of one atom; scratch: scratch_size().
  void (*accumulate)(const BondPlan &bond, const Legendre &legendre, int n, const double *x,
                     const double *y, const double *z, const double *r, double *scratch,
                     double *components);

  // nodes, here and below: work space [nnode][2][lanes], for each block of atoms.
  void (*products)(const ProductPlan &plan, const double *components, double *nodes,
                   double *products);

  // sums[t] += Σ_lane scale[lane] * products[t][lane]
  void (*add_products)(int nproduct, const double *products, const double *scale, double *sums);
  // The same for up to sum_blocks blocks of atoms that follow one another in memory, the products
  // made on the way.
  void (*sum_products)(const ProductPlan &plan, int nblocks, const double *components,
                       double *nodes, const double *scale, double *sums);
  // out[lane] = Σ_t weights[t] products[t][lane]
  void (*combine)(int nproduct, const double *weights, const double *products, double *out);
  // out[row][lane] = Σ_t value[t] in[column[t]][lane], and the transposed: out[column[t]][lane] +=
  // value[t] in[row][lane]
  void (*couple)(int nrow, const int *first, const int *column, const double *value,
                 const double *in, double *out);
  void (*spread)(int nrow, const int *first, const int *column, const double *value,
                 const double *in, double *out);

  // S = Σ_t weight_t product_t for one or two cotangents: value[cotangent][lane] = S and
  // derivative[cotangent][component][lane]. adjoint: work space [ncotangents][nnode][2][lanes],
  // zero before and after.
  void (*adjoint)(const ProductPlan &plan, const double *components, double *nodes, int ncotangents,
                  const ProductWeights *weights, double *adjoint, double *value,
                  double *derivative);

  // Derivatives of each Re Π A with respect to each of its components, from the leaves:
  // gradients[2 * q + (0: re, 1: im)][lane] for the q-th entry of factors.factor.
  void (*product_gradients)(const FactorPlan &factors, const double *leaves, double *gradients);
  // out[component of the bond][3][n] = ∂A/∂r_j
  void (*component_gradients)(const BondPlan &bond, const Legendre &legendre, int n,
                              const double *x, const double *y, const double *z, const double *r,
                              double *scratch, double *out);
  // out[row][.] = Σ_e value[e * lanes] matrix[column[e]][.] for up to `lanes` rows; width: a
  // multiple of lanes.
  void (*sparse_rows)(int nrow, const int *first, const int *column, const double *value,
                      const double *matrix, int width, double *out);

  // From ∂S/∂A of one atom, derivative[cotangent][ncomp]: force[cotangent][3][n] = ∂S/∂r_j.
  void (*forces)(const BondPlan &bond, const Legendre &legendre, int n, const double *x,
                 const double *y, const double *z, const double *r, int ncotangents, int ncomp,
                 const double *derivative, double *scratch, double *force);
};

// Doubles of scratch memory that accumulate() and forces() use for a bond.
int scratch_size(const BondPlan &bond, int lanes);

const Kernels &kernels();

}    // namespace ace
}    // namespace uq

#endif
