// SPDX-License-Identifier: GPL-2.0-or-later
// Reduced-order dynamics by Hamiltonian Galerkin projection,
//
//   x = x⁰ + M^(-1/2) Q y,   ÿ = Qᵀ M^(-1/2) f(x),   H = ½|ẏ|² + V(x(y)),   QᵀQ = 1.
//
// No integrator of its own: with f ← M^½ QQᵀ M^(-½) f after all other forces and
// v ← M^(-½) QQᵀ M^½ v at setup, the stock integrators stay in x⁰ + span. Each atom carries its
// rows of Q, so the cost of a step is one Allreduce of n + 1 numbers. Atoms that the file calls
// free keep their own three degrees of freedom.

#include "fix_uq_rom.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "group.h"
#include "memory.h"
#include "modify.h"
#include "update.h"
#include "utils.h"

#include "uq_arguments.h"

#include "core/error.h"
#include "core/formats/sha256.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mpi.h>
#include <unordered_map>

using namespace LAMMPS_NS;
using namespace FixConst;

// Atoms that rank 0 sends out at a time: bounds the memory of the other ranks.
static constexpr int CHUNK = 4096;
static constexpr double SAME_MASS = 1e-6;    // relative
static constexpr double SAME_CELL = 1e-6;    // relative
static constexpr double OFF_SPAN = 1e-6;     // Å; larger starts are warned of

FixUQROM::FixUQROM(LAMMPS *lmp, int narg, char **arg) : Fix(lmp, narg, arg) {
  scalar_flag = vector_flag = 1;
  global_freq = 1;
  extscalar = extvector = 0;
  dof_flag = 1;
  restart_global = restart_peratom = 1;
  create_attribute = 1;

  if (igroup != 0)
    error->all(FLERR, "fix uq/rom acts on the whole system: its group must be `all` (the basis "
                      "file says which atoms are free)");
  const std::string units = update->unit_style;
  if (units != "metal" && units != "real")
    error->all(FLERR,
               "fix uq/rom knows no `units " + units + "`: use `units metal` or `units real`");
  if (!atom->tag_enable) error->all(FLERR, "fix uq/rom requires atom IDs: `atom_modify id yes`");

  int modes = 0;
  UQArguments arguments(lmp, "fix uq/rom", "file modes", 3, narg, arg);
  while (arguments.next()) {
    if (arguments.is("file"))
      file_ = arguments.word();
    else
      modes = arguments.count();
  }
  if (file_.empty()) error->all(FLERR, "fix uq/rom: give the basis: `file NAME.rom`");

  const uq::ReducedBasis basis = read_basis(modes);
  maxexchange = ROWS + 3 * modes_;
  size_vector = 3 + 2 * modes_;
  sums_.assign(modes_ + 1, 0.0);
  FixUQROM::grow_arrays(atom->nmax);
  atom->add_callback(Atom::GROW);
  atom->add_callback(Atom::RESTART);
  distribute(basis);
  check_cell();
  align_reference();
}

FixUQROM::~FixUQROM() {
  if (copymode) return;
  atom->delete_callback(id, Atom::GROW);
  atom->delete_callback(id, Atom::RESTART);
  memory->destroy(atoms_);
}

/* ----------------------------------------------------------------------
   the file: read on rank 0; all ranks learn its sizes
------------------------------------------------------------------------- */

uq::ReducedBasis FixUQROM::read_basis(int modes) {
  uq::ReducedBasis basis;
  std::string failure;
  char hash[65] = {};
  if (comm->me == 0) {
    try {
      std::ifstream stream(file_, std::ios::binary);
      if (!stream || std::filesystem::is_directory(file_))
        throw uq::Error(file_ + ": no such file");
      const std::string bytes((std::istreambuf_iterator<char>(stream)),
                              std::istreambuf_iterator<char>());
      basis = uq::ReducedBasis(file_, bytes, modes);
      std::strncpy(hash, uq::sha256(bytes).c_str(), 64);
    } catch (const std::exception &e) {
      failure = "fix uq/rom: " + std::string(e.what());
    }
  }
  int length = static_cast<int>(failure.size());
  MPI_Bcast(&length, 1, MPI_INT, 0, world);
  failure.resize(length);
  MPI_Bcast(failure.data(), length, MPI_CHAR, 0, world);
  if (length) error->all(FLERR, failure);

  MPI_Bcast(hash, 65, MPI_CHAR, 0, world);
  hash_ = hash;
  bigint sizes[3] = {basis.natoms, basis.nmodes,
                     std::count(basis.free.begin(), basis.free.end(), uint8_t(1))};
  MPI_Bcast(sizes, 3, MPI_LMP_BIGINT, 0, world);
  natoms_ = sizes[0];
  modes_ = static_cast<int>(sizes[1]);
  nfree_ = sizes[2];
  cell_ = basis.cell;
  MPI_Bcast(cell_.data(), 9, MPI_DOUBLE, 0, world);
  if (natoms_ != atom->natoms)
    error->all(FLERR, "fix uq/rom: " + file_ + " is for " + std::to_string(natoms_) +
                          " atoms, the system has " + std::to_string(atom->natoms));
  return basis;
}

// Hands every atom its rows, wherever it is.
void FixUQROM::distribute(const uq::ReducedBasis &basis) {
  std::unordered_map<tagint, int> local;
  for (int i = 0; i < atom->nlocal; i++) local[atom->tag[i]] = i;
  const int width = maxexchange;
  std::vector<int64_t> ids(CHUNK);
  std::vector<double> masses(CHUNK), records(static_cast<size_t>(CHUNK) * width);
  bigint found = 0;
  std::string failure;
  for (bigint start = 0; start < natoms_; start += CHUNK) {
    const int n = static_cast<int>(std::min<bigint>(CHUNK, natoms_ - start));
    for (int j = 0; j < n && comm->me == 0; j++) {
      const size_t i = start + j;
      double *record = &records[static_cast<size_t>(j) * width];
      ids[j] = basis.ids[i];
      masses[j] = basis.masses[i];
      record[KIND] = basis.free[i] ? FREE : REDUCED;
      std::copy_n(&basis.reference[3 * i], 3, record + REFERENCE);
      std::copy_n(&basis.rows[3 * i * modes_], 3 * modes_, record + ROWS);
    }
    MPI_Bcast(ids.data(), n, MPI_INT64_T, 0, world);
    MPI_Bcast(masses.data(), n, MPI_DOUBLE, 0, world);
    MPI_Bcast(records.data(), n * width, MPI_DOUBLE, 0, world);
    for (int j = 0; j < n; j++) {
      const auto at = local.find(static_cast<tagint>(ids[j]));
      if (at == local.end()) continue;
      found++;
      std::copy_n(&records[static_cast<size_t>(j) * width], width, atoms_[at->second]);
      const double here = mass(at->second);
      if (std::abs(here - masses[j]) > SAME_MASS * masses[j])
        failure = "fix uq/rom: atom " + std::to_string(ids[j]) + " has mass " +
                  std::to_string(here) + ", in " + file_ + " " + std::to_string(masses[j]);
    }
  }
  bigint all;
  MPI_Allreduce(&found, &all, 1, MPI_LMP_BIGINT, MPI_SUM, world);
  if (all != natoms_)
    error->all(FLERR, "fix uq/rom: " + std::to_string(natoms_ - all) + " of the " +
                          std::to_string(natoms_) + " atom ids of " + file_ +
                          " are not in the system");
  if (!failure.empty()) error->one(FLERR, failure);
}

void FixUQROM::check_cell() const {
  const double now[9] = {domain->xprd, 0.0,        0.0,        domain->xy,  domain->yprd,
                         0.0,          domain->xz, domain->yz, domain->zprd};
  for (int k = 0; k < 9; k++)
    if (std::abs(now[k] - cell_[k]) > SAME_CELL * domain->xprd)
      error->all(FLERR, "fix uq/rom: component " + std::to_string(k + 1) +
                            " of the cell vectors a, b, c is " + std::to_string(now[k]) +
                            " Å here and " + std::to_string(cell_[k]) + " Å in " + file_ +
                            ": a basis belongs to one cell");
}

// x⁰ of the file and the unwrapped positions here may count periodic images from different origins:
// x⁰ moves by lattice vectors to the image nearest to the atom. Only when the basis is first given
// to the atoms; a restart file brings x⁰ back as it was.
void FixUQROM::align_reference() {
  for (int i = 0; i < atom->nlocal; i++) {
    double dx[3], nearest[3];
    displacement(i, dx);
    std::copy_n(dx, 3, nearest);
    domain->minimum_image(FLERR, nearest);
    for (int d = 0; d < 3; d++) atoms_[i][REFERENCE + d] += dx[d] - nearest[d];
  }
}

/* ---------------------------------------------------------------------- */

int FixUQROM::setmask() {
  return PRE_EXCHANGE | POST_FORCE | MIN_POST_FORCE;
}

void FixUQROM::init() {
  if (utils::strmatch(update->integrate_style, "^respa"))
    error->all(FLERR, "fix uq/rom does not work with run_style respa: use `run_style verlet`");
  check_fixes();
  check_cell();
  bigint known = 0, all;
  for (int i = 0; i < atom->nlocal; i++) known += atoms_[i][KIND] != UNKNOWN;
  MPI_Allreduce(&known, &all, 1, MPI_LMP_BIGINT, MPI_SUM, world);
  if (all != natoms_ || atom->natoms != natoms_)
    error->all(FLERR, "fix uq/rom: " + std::to_string(all) + " of " + std::to_string(atom->natoms) +
                          " atoms have rows in " + file_ + ", which is for " +
                          std::to_string(natoms_) +
                          ": atoms were created or lost since the fix was defined");
}

// Whoever changes forces after us, moves atoms out of the span or changes the cell is refused.
void FixUQROM::check_fixes() const {
  bool after = false;
  for (Fix *fix : modify->get_fix_list()) {
    if (fix == this) {
      after = true;
      continue;
    }
    const std::string name = std::string(fix->style) + " (id " + fix->id + ")";
    if (fix->rigid_flag || utils::strmatch(fix->style, "^(shake|rattle|rigid)"))
      error->all(FLERR, "fix uq/rom does not work with fix " + name +
                            ": constraints leave the span of the basis");
    if (fix->box_change || utils::strmatch(fix->style, "^(npt|nph)"))
      error->all(FLERR, "fix uq/rom does not work with fix " + name +
                            ": a basis belongs to one cell; use nve, nvt or langevin");
    if (utils::strmatch(fix->style, "^uq/rom")) error->all(FLERR, "two fixes uq/rom: remove one");
    if (after && (fix->setmask() & POST_FORCE))
      error->all(FLERR, "fix uq/rom must be the last fix that acts on forces: define fix " + name +
                            " before it");
  }
}

double FixUQROM::mass(int i) const {
  return atom->rmass ? atom->rmass[i] : atom->mass[atom->type[i]];
}

void FixUQROM::setup_pre_exchange() {
  std::vector<double> sums(modes_ + 1);
  project(atom->v, false, sums);
  const double off = compute_scalar();
  if (off > OFF_SPAN && comm->me == 0 && !restarted_)
    error->warning(FLERR,
                   "fix uq/rom: the atoms start off the span of the basis, by {:.3g} Å (root mean "
                   "square), and keep this distance",
                   off);
}

void FixUQROM::setup(int vflag) {
  post_force(vflag);
}

void FixUQROM::min_setup(int /*vflag*/) {
  error->all(FLERR, "fix uq/rom does not work with minimize: unfix it first");
}

void FixUQROM::post_force(int /*vflag*/) {
  project(atom->f, true, sums_);
}

/* ----------------------------------------------------------------------
   forces: f ← M^½ QQᵀ M^(-½) f;   velocities: v ← M^(-½) QQᵀ M^½ v.
   sums: Qᵀ M^(∓½) of the vector, then its weighted square norm; free atoms are left alone
------------------------------------------------------------------------- */

void FixUQROM::project(double **v, bool forces, std::vector<double> &sums) const {
  const int n = modes_, nlocal = atom->nlocal;
  std::vector<double> local(n + 1, 0.0);
  for (int i = 0; i < nlocal; i++) {
    if (atoms_[i][KIND] != REDUCED) continue;
    const double scale = forces ? 1.0 / std::sqrt(mass(i)) : std::sqrt(mass(i));
    const double *rows = atoms_[i] + ROWS;
    const double a = scale * v[i][0], b = scale * v[i][1], c = scale * v[i][2];
    local[n] += a * a + b * b + c * c;
    for (int k = 0; k < n; k++) local[k] += a * rows[k] + b * rows[n + k] + c * rows[2 * n + k];
  }
  MPI_Allreduce(local.data(), sums.data(), n + 1, MPI_DOUBLE, MPI_SUM, world);
  for (int i = 0; i < nlocal; i++) {
    if (atoms_[i][KIND] != REDUCED) continue;
    const double scale = forces ? std::sqrt(mass(i)) : 1.0 / std::sqrt(mass(i));
    for (int d = 0; d < 3; d++) {
      const double *row = atoms_[i] + ROWS + d * n;
      double sum = 0.0;
      for (int k = 0; k < n; k++) sum += row[k] * sums[k];
      v[i][d] = scale * sum;
    }
  }
}

/* ----------------------------------------------------------------------
   Degrees of freedom removed from a group. A temperature takes 3 N - 3, less this number; what must
   remain is the trace of the projector over the group, less that of the rigid translations in the
   span, which LAMMPS's 3 stands for.
------------------------------------------------------------------------- */

bigint FixUQROM::dof(int jgroup) {
  const int n = modes_, bit = group->bitmask[jgroup];
  double local[3] = {0.0, 0.0, 0.0};    // trace, atoms, mass: of the group
  double total = 0.0;                   // mass of all
  // Overlap of the translation along d with each mode, and the mass that free atoms add to it.
  std::vector<double> overlap(3 * static_cast<size_t>(n) + 1, 0.0);
  for (int i = 0; i < atom->nlocal; i++) {
    const double m = mass(i), *rows = atoms_[i] + ROWS;
    const bool reduced = atoms_[i][KIND] == REDUCED;
    total += m;
    for (int k = 0; k < 3 * n; k++) overlap[k] += std::sqrt(m) * rows[k];
    if (!reduced) overlap[3 * static_cast<size_t>(n)] += m;
    if (!(atom->mask[i] & bit)) continue;
    double trace = 3.0;
    if (reduced) {
      trace = 0.0;
      for (int k = 0; k < 3 * n; k++) trace += rows[k] * rows[k];
    }
    local[0] += trace;
    local[1] += 1.0;
    local[2] += m;
  }
  MPI_Allreduce(MPI_IN_PLACE, local, 3, MPI_DOUBLE, MPI_SUM, world);
  MPI_Allreduce(MPI_IN_PLACE, &total, 1, MPI_DOUBLE, MPI_SUM, world);
  MPI_Allreduce(MPI_IN_PLACE, overlap.data(), 3 * n + 1, MPI_DOUBLE, MPI_SUM, world);
  int translations = 0;
  for (int d = 0; d < 3; d++) {
    double inside = overlap[3 * static_cast<size_t>(n)];
    for (int k = 0; k < n; k++) inside += overlap[d * n + k] * overlap[d * n + k];
    translations += inside > (1.0 - 1e-6) * total;
  }
  const double left = local[0] - translations * local[2] / total;
  return static_cast<bigint>(std::llround(3.0 * local[1] - 3.0 - left));
}

/* ----------------------------------------------------------------------
   output
------------------------------------------------------------------------- */

void FixUQROM::displacement(int i, double *dx) const {
  domain->unmap(atom->x[i], atom->image[i], dx);
  for (int d = 0; d < 3; d++) dx[d] -= atoms_[i][REFERENCE + d];
}

void FixUQROM::update_modal() {
  if (modal_step_ == update->ntimestep) return;
  const int n = modes_;
  modal_.assign(2 * static_cast<size_t>(n) + 1, 0.0);
  for (int i = 0; i < atom->nlocal; i++) {
    if (atoms_[i][KIND] != REDUCED) continue;
    double dx[3];
    displacement(i, dx);
    const double root = std::sqrt(mass(i));
    for (int d = 0; d < 3; d++) {
      const double u = root * dx[d], p = root * atom->v[i][d], *row = atoms_[i] + ROWS + d * n;
      modal_[2 * static_cast<size_t>(n)] += u * u;
      for (int k = 0; k < n; k++) {
        modal_[k] += row[k] * u;
        modal_[n + k] += row[k] * p;
      }
    }
  }
  MPI_Allreduce(MPI_IN_PLACE, modal_.data(), 2 * n + 1, MPI_DOUBLE, MPI_SUM, world);
  modal_step_ = update->ntimestep;
}

double FixUQROM::modal_energy() {
  double square = 0.0;
  for (int k = 0; k < modes_; k++) square += modal_[modes_ + k] * modal_[modes_ + k];
  return 0.5 * force->mvv2e * square;
}

// Distance of the atoms from x⁰ + span: root mean square over the reduced atoms, mass-weighted, Å.
double FixUQROM::compute_scalar() {
  modal_step_ = -1;
  update_modal();
  double outside = modal_[2 * static_cast<size_t>(modes_)], mass_sum = 0.0, all;
  for (int k = 0; k < modes_; k++) outside -= modal_[k] * modal_[k];
  for (int i = 0; i < atom->nlocal; i++)
    if (atoms_[i][KIND] == REDUCED) mass_sum += mass(i);
  MPI_Allreduce(&mass_sum, &all, 1, MPI_DOUBLE, MPI_SUM, world);
  return all > 0.0 ? std::sqrt(std::max(outside, 0.0) / all) : 0.0;
}

double FixUQROM::compute_vector(int k) {
  if (k == 1) {
    double inside = 0.0;
    for (int m = 0; m < modes_; m++) inside += sums_[m] * sums_[m];
    return sums_[modes_] > 0.0 ? std::sqrt(std::max(0.0, 1.0 - inside / sums_[modes_])) : 0.0;
  }
  update_modal();
  if (k == 0) return 2.0 * modal_energy() / (modes_ * force->boltz);
  if (k == 2) return modal_energy();
  return modal_[k - 3];
}

double FixUQROM::memory_usage() {
  return static_cast<double>(atom->nmax) * maxexchange * sizeof(double);
}

/* ----------------------------------------------------------------------
   restart: which basis, and x⁰ of each atom as aligned at the start
------------------------------------------------------------------------- */

void FixUQROM::write_restart(FILE *fp) {
  if (comm->me) return;
  const int size = 65;
  char hash[size] = {};
  std::strncpy(hash, hash_.c_str(), size - 1);
  fwrite(&size, sizeof(int), 1, fp);
  fwrite(hash, 1, size, fp);
}

void FixUQROM::restart(char *buf) {
  if (hash_ != buf)
    error->all(FLERR, "fix uq/rom: the restart file was written with another basis: sha256 " +
                          std::string(buf, 12) + "..., " + file_ + " has " + hash_.substr(0, 12) +
                          "...");
  restarted_ = true;
}

/* ----------------------------------------------------------------------
   what travels with the atoms
------------------------------------------------------------------------- */

void FixUQROM::grow_arrays(int nmax) {
  memory->grow(atoms_, nmax, maxexchange, "fix_uq_rom:atoms");
}

void FixUQROM::copy_arrays(int i, int j, int /*delflag*/) {
  std::copy_n(atoms_[i], maxexchange, atoms_[j]);
}

void FixUQROM::set_arrays(int i) {
  std::fill_n(atoms_[i], maxexchange, 0.0);    // KIND is UNKNOWN
}

int FixUQROM::pack_exchange(int i, double *buf) {
  std::copy_n(atoms_[i], maxexchange, buf);
  return maxexchange;
}

int FixUQROM::unpack_exchange(int i, double *buf) {
  std::copy_n(buf, maxexchange, atoms_[i]);
  return maxexchange;
}

int FixUQROM::pack_restart(int i, double *buf) {
  buf[0] = 4;
  std::copy_n(atoms_[i] + REFERENCE, 3, buf + 1);
  return 4;
}

void FixUQROM::unpack_restart(int i, int nth) {
  double **extra = atom->extra;
  int at = 0;
  for (int k = 0; k < nth; k++) at += static_cast<int>(extra[i][at]);
  std::copy_n(&extra[i][at + 1], 3, atoms_[i] + REFERENCE);
}

int FixUQROM::size_restart(int /*i*/) {
  return 4;
}

int FixUQROM::maxsize_restart() {
  return 4;
}
