// SPDX-License-Identifier: GPL-2.0-or-later
// A moment tensor potential as its file describes it (.mtp, .almtp).

#ifndef UQ_MTP_POTENTIAL_H
#define UQ_MTP_POTENTIAL_H

#include "core/families/mtp/parameters_limits.h"

#include <string>
#include <string_view>
#include <vector>

namespace uq {
namespace mtp {

// Σ_j f_μ(r_j) x^a y^b z^c of the unit vectors to the neighbours
struct BasicMoment {
  int mu, a, b, c;
  bool operator==(const BasicMoment &other) const {
    return mu == other.mu && a == other.a && b == other.b && c == other.c;
  }
};

// M[target] += weight M[p] M[q]
struct Product {
  int p, q, target;
  double weight;
  bool operator==(const Product &other) const {
    return p == other.p && q == other.q && target == other.target && weight == other.weight;
  }
};

struct Parameters {
  std::string file;    // for messages
  std::vector<std::string> elements;
  bool repulsive = false;                          // RBChebyshev_repuls
  double scaling = 1.0, rmin = 0.0, rmax = 0.0;    // Å
  int nbasis = 0, nradial = 0;
  std::vector<double> radial;    // [centre][neighbour][nradial][nbasis]
  int nmoments = 0;
  std::vector<BasicMoment> basic;    // moments 0 .. size - 1
  std::vector<Product> products;
  std::vector<int> scalars;    // the moments in the energy
  std::vector<double> species_coeffs, moment_coeffs;

  // (Aᵀ)⁻¹ [n][n] of the active set A of an .almtp file whose grades are those of single
  // neighbourhoods; n = radial.size() + species_coeffs.size() + moment_coeffs.size(). Empty for all
  // other files.
  std::vector<double> active_inverse;

  int nspecies() const { return static_cast<int>(elements.size()); }
  bool same_features(const Parameters &other) const;    // equal but for the last coefficients
};

// Names of the species: `elements`, which must be as many as the file has species. Throws uq::Error
// "file:line: message".
Parameters read_mtp(const std::string &file, std::string_view text,
                    const std::vector<std::string> &elements);

}    // namespace mtp
}    // namespace uq

#endif
