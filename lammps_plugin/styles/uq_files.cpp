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

static uq::ModelFiles read_one(LAMMPS *lmp, const std::string &path, const std::string &rule) {
  uq::ModelFiles files;
  std::string failure;
  if (lmp->comm->me == 0) {
    try {
      const std::string found =
          utils::get_potential_file_path(path);    // also in $LAMMPS_POTENTIALS
      if (found.empty())
        failure = "pair_coeff: there is no file " + path + "; " + rule;
      else
        files = uq::read_model_files(found);
    } catch (const std::exception &e) {
      failure = e.what();
    }
  }
  broadcast(failure, lmp->world);
  if (!failure.empty()) lmp->error->all(FLERR, failure);
  for (std::string *part : {&files.name, &files.model, &files.posterior_name, &files.posterior,
                            &files.active_name, &files.active})
    broadcast(*part, lmp->world);
  return files;
}

std::vector<UQModelFile> LAMMPS_NS::uq_read_files(LAMMPS *lmp, int n, char **arguments,
                                                  const std::string &rule) {
  std::vector<UQModelFile> models;
  for (int k = 0; k < n; k++) {
    UQModelFile model;
    model.name = uq::split_model_name(arguments[k]);
    model.files = read_one(lmp, model.name.path, rule);
    models.push_back(std::move(model));
  }
  return models;
}
