// SPDX-License-Identifier: GPL-2.0-or-later
// A reduced basis of atomic displacements, x = x⁰ + M^(-1/2) Q y with QᵀQ = 1, and its file
// (safetensors, docs/file-formats.md).

#ifndef UQ_ROM_BASIS_H
#define UQ_ROM_BASIS_H

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace uq {

struct ReducedBasis {
  int natoms = 0;
  int nmodes = 0;
  std::vector<int64_t> ids;         // [natoms], atom ids
  std::vector<double> masses;       // [natoms], g/mol
  std::vector<double> reference;    // [natoms][3], unwrapped x⁰, Å
  std::vector<uint8_t> free;        // [natoms], 1: this atom keeps its three degrees of freedom
  std::vector<double> rows;         // [natoms][3][nmodes], Q
  std::array<double, 9> cell{};     // rows a b c, Å

  // Reads the bytes of a basis file and keeps its first `modes` columns (0: all). A basis of plain
  // displacements is turned into the mass-weighted Q of the same span. Throws uq::Error naming
  // `file` where something is missing, not finite, not orthonormal or not of the stated shape.
  ReducedBasis(const std::string &file, std::string_view bytes, int modes);
  ReducedBasis() = default;
};

}    // namespace uq

#endif
