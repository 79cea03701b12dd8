// SPDX-License-Identifier: GPL-2.0-or-later
// Model files are read on rank 0 of `world` and broadcast.

#ifndef LMP_UQ_FILES_H
#define LMP_UQ_FILES_H

#include "core/model/model.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

class LAMMPS;

// A model as pair_coeff names it, and its bytes.
struct UQModelFile {
  uq::ModelName name;
  uq::ModelFiles files;
};

// Collective. Ends in a LAMMPS error on all ranks where a file cannot be read; rule: what the error
// says of the arguments where there is no such file.
std::vector<UQModelFile> uq_read_files(LAMMPS *lmp, int n, char **arguments,
                                       const std::string &rule);

}    // namespace LAMMPS_NS

#endif
