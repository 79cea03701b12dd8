// SPDX-License-Identifier: GPL-2.0-or-later
// Model files are read on rank 0 of `world` and broadcast.

#ifndef LMP_UQ_FILES_H
#define LMP_UQ_FILES_H

#include "core/model.h"

#include <vector>

namespace LAMMPS_NS {

class LAMMPS;

// Collective. Ends in a LAMMPS error on all ranks where a file cannot be read.
std::vector<uq::ModelFiles> uq_read_files(LAMMPS *lmp, int n, char **paths);

}    // namespace LAMMPS_NS

#endif
