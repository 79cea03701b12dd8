// SPDX-License-Identifier: GPL-2.0-or-later

#include "uq_files.h"

#include "comm.h"
#include "error.h"
#include "lammps.h"
#include "utils.h"

#include <algorithm>
#include <exception>
#include <mpi.h>
#include <string>

using namespace LAMMPS_NS;

static void broadcast(std::string &text, MPI_Comm world) {
  unsigned long long size = text.size();
  MPI_Bcast(&size, 1, MPI_UNSIGNED_LONG_LONG, 0, world);
  text.resize(size);
  constexpr size_t CHUNK = size_t(1) << 30;    // an MPI count is an int
  for (size_t at = 0; at < text.size(); at += CHUNK)
    MPI_Bcast(&text[at], static_cast<int>(std::min(CHUNK, text.size() - at)), MPI_CHAR, 0, world);
}

static uq::ModelFiles read_one(LAMMPS *lmp, const char *path) {
  uq::ModelFiles files;
  std::string failure;
  if (lmp->comm->me == 0) {
    try {
      const std::string found =
          utils::get_potential_file_path(path);    // also in $LAMMPS_POTENTIALS
      files = uq::read_model_files(found.empty() ? path : found);
    } catch (const std::exception &e) {
      failure = e.what();
    }
  }
  broadcast(failure, lmp->world);
  if (!failure.empty()) lmp->error->all(FLERR, failure);
  for (std::string *part : {&files.name, &files.model, &files.posterior_name, &files.posterior})
    broadcast(*part, lmp->world);
  return files;
}

std::vector<uq::ModelFiles> LAMMPS_NS::uq_read_files(LAMMPS *lmp, int n, char **paths) {
  std::vector<uq::ModelFiles> files;
  for (int k = 0; k < n; k++) files.push_back(read_one(lmp, paths[k]));
  return files;
}
