// SPDX-License-Identifier: GPL-2.0-or-later
// What a nep.txt says, as read.

#ifndef UQ_NEP_POTENTIAL_H
#define UQ_NEP_POTENTIAL_H

#include "core/math/zbl.h"

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace uq {
namespace nep {

// Limits on what a file may ask for; far beyond any real potential.
constexpr int max_species = 120;
constexpr int max_channels = 64;    // n_max + 1, basis_size + 1
constexpr int max_l = 8;
constexpr int max_neurons = 4096;

// Invariants beyond the power spectrum, in the order in which a file holds them.
constexpr int nhigher = 7;
enum Higher { Q222, Q1111, Q112, Q123, Q233, Q134, Q1122 };

// The network of one species: e = Σ_ν w1_ν tanh(Σ_d w0_νd q_d - b0_ν) - bias.
struct Network {
  std::vector<double> w0;    // [neurons][dim]
  std::vector<double> b0, w1;
  double bias = 0.0;    // eV, the common one and that of the species
};

// What the members of a committee share when they are evaluated as one.
struct Hyperparameters {
  std::vector<std::string> elements;
  std::vector<double> radial_cutoff, angular_cutoff;    // [species][species], Å
  int nradial = 0, nangular = 0;                        // channels, n_max + 1
  int radial_base = 0, angular_base = 0;                // functions, basis_size + 1
  int lmax = 0;
  std::array<bool, nhigher> higher = {};
  std::vector<Screening> zbl;    // [species][species]; empty: none

  int nspecies() const { return static_cast<int>(elements.size()); }
  // Invariants of each angular channel: l = 1 .. lmax, then the higher ones.
  int ninvariants() const;
  int dim() const { return nradial + ninvariants() * nangular; }
  bool operator==(const Hyperparameters &other) const;
};

struct Parameters : Hyperparameters {
  int neurons = 0;
  std::vector<Network> networks;               // [species]
  std::vector<double> radial_coefficients;     // [nradial][radial_base][i][j]
  std::vector<double> angular_coefficients;    // [nangular][angular_base][i][j]
  std::vector<double> scaler;                  // [dim]
  std::vector<std::string> warnings;           // what a user should know of how the file was read
};

// gpumd: the version of GPUMD that wrote the file, such as "5.3"; empty: told by the file itself,
// which fails where it cannot tell. Throws uq::Error with file, line, value found and what was
// expected.
Parameters read_nep(const std::string &file, std::string_view text, const std::string &gpumd = "");

}    // namespace nep
}    // namespace uq

#endif
