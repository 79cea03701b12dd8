// SPDX-License-Identifier: GPL-2.0-or-later
// Arrays of doubles out of the .npz archives that numpy.savez writes: a zip file of stored .npy
// files. What is compressed, or of another type, is refused.

#ifndef UQ_FILES_NPZ_H
#define UQ_FILES_NPZ_H

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace uq {

struct NpzArray {
  std::vector<uint64_t> shape;
  std::vector<double> values;    // rows first
};

// By name. Throws uq::Error that names `file`; checksums are compared, numbers must be finite.
std::map<std::string, NpzArray> read_npz(const std::string &file, std::string_view bytes);

}    // namespace uq

#endif
