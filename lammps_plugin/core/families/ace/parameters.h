// SPDX-License-Identifier: GPL-2.0-or-later
// What an ACE potential file says, in plain data. Indices count from 0.

#ifndef UQ_ACE_POTENTIAL_H
#define UQ_ACE_POTENTIAL_H

#include "core/families/ace/parameters_limits.h"

#include <string>
#include <string_view>
#include <vector>

namespace uq {
namespace ace {

// Table: cubic Hermite splines that the file itself holds.
enum class RadialBasis { ChebExpCos, ChebPow, ChebLinear, SBessel, Table };
enum class Embedding { FinnisSinclair, FinnisSinclairShiftedScaled };
enum class InnerCutoff { Density, Distance, Zbl };

// Radial functions and core repulsion between a centre and a neighbour.
struct Bond {
  int nradmax = 0, lmax = 0, nbase = 0;
  RadialBasis basis = RadialBasis::ChebExpCos;
  double lambda = 0.0;
  std::vector<double> crad;               // [nradmax][lmax + 1][nbase]
  std::vector<double> table;              // Table: [nbins + 1][nbase][2], g and (bin width) g'
  double rcut = 0.0, dcut = 0.0;          // Å
  double rcut_in = 0.0, dcut_in = 0.0;    // Å
  double prehc = 0.0, lambdahc = 0.0;     // eV Å and Å⁻²; zbl: a plain factor and unused

  bool operator==(const Bond &other) const;
};

// weight * F(ρ; exponent)
struct Density {
  double weight = 0.0, exponent = 1.0;
};

// Σ over ms-combinations of coefficient[p] Re Π_t A[mus_t, ns_t, ls_t, m_t]
struct Function {
  int rank = 0;
  std::vector<int> mus, ns, ls;        // [rank]
  std::vector<int> ms;                 // [combinations][rank]
  std::vector<double> coefficients;    // [combinations][densities]
};

struct Species {
  Embedding embedding = Embedding::FinnisSinclair;
  std::vector<Density> densities;
  double rho_core_cutoff = 0.0, drho_core_cutoff = 0.0;    // eV
  double e0 = 0.0;                                         // eV
  std::vector<Function> functions;
};

struct Parameters {
  std::vector<std::string> elements;
  std::vector<Species> species;
  std::vector<Bond> bonds;    // [centre][neighbour]
  InnerCutoff inner = InnerCutoff::Density;
  double spline_step = 0.001;    // Å

  int nelements() const { return static_cast<int>(elements.size()); }
  const Bond &bond(int i, int j) const {
    return bonds[static_cast<size_t>(i) * elements.size() + j];
  }
};

// Both throw uq::Error with file and line; `file` is for messages.
Parameters read_yace(const std::string &file, std::string_view text);    // .yace, B-basis .yaml
Parameters read_ace(const std::string &file, std::string_view text);     // legacy plain text

// The functions of a B-basis .yaml with coefficients 1, in the order in which pacemaker's active
// sets have them.
Parameters read_projections(const std::string &file, std::string_view text);

// Checks shared by the readers: every function uses radial functions that its bonds have, and so
// on.
void check(const std::string &file, const Parameters &potential);

RadialBasis radial_basis(const std::string &file, int line, const std::string &name);
Embedding embedding(const std::string &file, int line, const std::string &name);

}    // namespace ace
}    // namespace uq

#endif
