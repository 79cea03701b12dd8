// SPDX-License-Identifier: GPL-2.0-or-later

#include "run_guard.h"

#include "pair_uq.h"

#include "atom.h"
#include "error.h"
#include "input.h"
#include "neigh_list.h"
#include "update.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

using namespace LAMMPS_NS;

// Every rank must know: one integer is reduced.
void RunGuard::check(double energy, double min_distance, const NeighList &list,
                     const double *uncertainty) const {
  const int nall = atom->nlocal + atom->nghost;
  const double *f = nall ? atom->f[0] : nullptr, *x = nall ? atom->x[0] : nullptr;
  double sum = energy;
  for (int n = 0; n < 3 * nall; n++)
    sum += f[n] + x[n];    // a lost position may leave its force at zero
  int bad = !std::isfinite(sum);
  if (min_distance < COINCIDENT) bad = 2;
  MPI_Allreduce(MPI_IN_PLACE, &bad, 1, MPI_INT, MPI_MAX, world);
  if (!bad) return;
  const std::string step = std::to_string(update->ntimestep);
  if (bad == 2) report_coincident(list, step);
  report_nonfinite(uncertainty, step);
}

void RunGuard::report_coincident(const NeighList &list, const std::string &step) const {
  const std::string pair = closest_pair(list);
  error->all(FLERR, "pair_style uq: " + pair + " apart at step " + step +
                        ": no potential has a meaning there; the frame is in " +
                        write_frame("uq_coincident." + step + ".dump"));
}

// A bad position spoils the forces of its neighbours: it is the one to name.
void RunGuard::report_nonfinite(const double *uncertainty, const std::string &step) const {
  const int nall = atom->nlocal + atom->nghost;
  const double *f = nall ? atom->f[0] : nullptr, *x = nall ? atom->x[0] : nullptr;
  tagint ids[2] = {MAXTAGINT, MAXTAGINT};    // smallest ID with a bad position, with a bad force
  for (int i = 0; i < nall; i++)
    for (int n = 3 * i; n < 3 * i + 3; n++) {
      if (!std::isfinite(x[n])) ids[0] = std::min(ids[0], atom->tag[i]);
      if (!std::isfinite(f[n])) ids[1] = std::min(ids[1], atom->tag[i]);
    }
  MPI_Allreduce(MPI_IN_PLACE, ids, 2, MPI_LMP_TAGINT, MPI_MIN, world);
  std::string which = "the energy";
  if (ids[1] < MAXTAGINT) which = "the force on atom " + std::to_string(ids[1]);
  if (ids[0] < MAXTAGINT) which = "the position of atom " + std::to_string(ids[0]);
  const std::string sigma =
      uncertainty ? " (uncertainty " + std::to_string(*uncertainty) + ")" : "";
  error->all(FLERR, "pair_style uq: " + which + " is not finite at step " + step + sigma +
                        "; the frame is in " + write_frame("uq_nonfinite." + step + ".dump"));
}

// "atoms 3 and 7 are 0.0001 Angstrom", of all ranks.
std::string RunGuard::closest_pair(const NeighList &list) const {
  double mine = COINCIDENT;
  tagint ids[2] = {MAXTAGINT, MAXTAGINT};
  for (int n = 0; n < list.inum; n++) {
    const int i = list.ilist[n];
    for (int k = 0; k < list.numneigh[i]; k++) {
      const int j = list.firstneigh[i][k] & NEIGHMASK;
      const double dx = atom->x[j][0] - atom->x[i][0], dy = atom->x[j][1] - atom->x[i][1],
                   dz = atom->x[j][2] - atom->x[i][2];
      const double distance = std::sqrt(dx * dx + dy * dy + dz * dz);
      if (!(distance < mine) || !pair_.acts_on(atom->type[i]) || !pair_.acts_on(atom->type[j]))
        continue;
      mine = distance;
      ids[0] = std::min(atom->tag[i], atom->tag[j]);
      ids[1] = std::max(atom->tag[i], atom->tag[j]);
    }
  }
  double closest;
  MPI_Allreduce(&mine, &closest, 1, MPI_DOUBLE, MPI_MIN, world);
  if (mine != closest) ids[0] = ids[1] = MAXTAGINT;
  MPI_Allreduce(MPI_IN_PLACE, ids, 2, MPI_LMP_TAGINT, MPI_MIN, world);
  char distance[32];
  std::snprintf(distance, sizeof(distance), "%.3g", closest);
  return "atoms " + std::to_string(ids[0]) + " and " + std::to_string(ids[1]) + " are " + distance +
         " Angstrom";
}

std::string RunGuard::write_frame(const std::string &name) const {
  input->one("write_dump all custom " + name + " id type x y z modify sort id");
  return name;
}
