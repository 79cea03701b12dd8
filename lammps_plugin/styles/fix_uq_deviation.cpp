// SPDX-License-Identifier: GPL-2.0-or-later
// The deviation of the force on an atom is the standard deviation of the vector over the members,
// that of a virial component is per atom (Y. Zhang et al., Comput. Phys. Commun. 253, 107206
// (2020)); posteriors of the members add to both by the law of total variance.

#include "fix_uq_deviation.h"

#include "pair_uq.h"
#include "uq_arguments.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "memory.h"
#include "update.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>

using namespace LAMMPS_NS;
using namespace FixConst;

FixUQDeviation::FixUQDeviation(LAMMPS *lmp, int narg, char **arg)
    : Fix(lmp, narg, arg), threshold_(std::numeric_limits<double>::infinity()) {
  vector_flag = 1;
  size_vector = 7;
  extvector = 0;
  peratom_flag = 1;
  size_peratom_cols = 0;
  restart_global = 1;
  create_attribute = 1;
  maxexchange = 1;
  if (igroup != 0)
    error->all(FLERR, "fix uq/deviation acts on the whole system: its group must be `all`");
  if (narg < 4) error->all(FLERR, "fix uq/deviation: expected `N keyword value ...`");
  parse(narg, arg);
  global_freq = peratom_freq = nevery;
  init();
  FixUQDeviation::grow_arrays(atom->nmax);
  std::fill_n(vector_atom, atom->nmax, 0.0);    // shown where no due step has been yet
  atom->add_callback(Atom::GROW);
}

void FixUQDeviation::parse(int narg, char **arg) {
  int draws = 0, seed = 1;
  UQArguments arguments(lmp, "fix uq/deviation",
                        "file atomic relative relative_v draws threshold frames", 3, narg, arg);
  nevery = arguments.position("N");
  while (arguments.next()) {
    if (arguments.is("file"))
      file_ = arguments.word();
    else if (arguments.is("atomic"))
      atomic_ = true;
    else if (arguments.is("relative"))
      relative_ = arguments.positive();
    else if (arguments.is("relative_v"))
      relative_virial_ = arguments.positive();
    else if (arguments.is("draws")) {
      draws = arguments.integer("a number of draws and a seed, both from 1");
      seed = arguments.integer("a number of draws and a seed, both from 1");
    } else if (arguments.is("threshold"))
      threshold_ = arguments.positive();
    else
      frames_file_ = arguments.word();
  }
  deviation_ = std::make_unique<UQDeviation>(draws, seed);
}

FixUQDeviation::~FixUQDeviation() {
  if (copymode) return;
  atom->delete_callback(id, Atom::GROW);
  memory->destroy(vector_atom);
  if (out_) fclose(out_);
  if (frames_) fclose(frames_);
}

int FixUQDeviation::setmask() {
  return END_OF_STEP;
}

void FixUQDeviation::init() {
  pair_ = PairUQ::find(lmp);
  if (!pair_)
    error->all(FLERR, "fix uq/deviation needs one `pair_style uq` (alone or in a hybrid), defined "
                      "before the fix");
  deviation_->reset();
}

void FixUQDeviation::setup(int /*vflag*/) {
  if (update->ntimestep % nevery == 0) end_of_step();
}

void FixUQDeviation::end_of_step() {
  evaluate();
  const bool line = !file_.empty() && file_ != "none", frame = values_[3] > threshold_;
  // `run` after `run` and a restart meet a step twice.
  if (update->ntimestep == written_ || (!line && !frame)) return;
  written_ = update->ntimestep;
  const std::vector<Row> rows = frame || atomic_ ? gather() : std::vector<Row>();
  if (comm->me) return;
  if (line) write_line(rows);
  if (frame) write_frame(rows);
}

/* ---------------------------------------------------------------------- */

void FixUQDeviation::evaluate() {
  deviation_->evaluate(*pair_);
  if (!deviation_->can_spread() && !warned_ && comm->me == 0)
    error->warning(FLERR, "fix uq/deviation: one model has no spread, all deviations are 0: name "
                          "several in pair_coeff, or give `draws R seed` for its posterior");
  warned_ = true;
  force_values();
  virial_values();
  values_[6] = deviation_->energy_deviation();
}

void FixUQDeviation::force_values() {
  const std::vector<double> &mean = deviation_->mean_forces();
  double extremes[2] = {0.0, -std::numeric_limits<double>::infinity()}, sums[2] = {0.0, 0.0};
  for (int i = 0; i < atom->nlocal; i++) {
    double value = 0.0;
    if (pair_->acts_on(atom->type[i])) {
      value = deviation_->forces()[i];
      const double *f = &mean[3 * static_cast<size_t>(i)];
      if (relative_ > 0.0) value /= std::sqrt(f[0] * f[0] + f[1] * f[1] + f[2] * f[2]) + relative_;
      extremes[0] = std::max(extremes[0], value);
      extremes[1] = std::max(extremes[1], -value);
      sums[0] += value;
      sums[1] += 1.0;
    }
    vector_atom[i] = value;
  }
  MPI_Allreduce(MPI_IN_PLACE, extremes, 2, MPI_DOUBLE, MPI_MAX, world);
  MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world);
  values_[3] = extremes[0];
  values_[4] = sums[1] > 0.0 ? -extremes[1] : 0.0;
  values_[5] = sums[1] > 0.0 ? sums[0] / sums[1] : 0.0;
}

void FixUQDeviation::virial_values() {
  const double natoms = std::max<double>(1.0, static_cast<double>(atom->natoms));
  values_[0] = 0.0;
  values_[1] = std::numeric_limits<double>::infinity();
  double squares = 0.0;
  for (int c = 0; c < 9; c++) {
    double value = deviation_->virials()[c] / natoms;
    if (relative_virial_ > 0.0)
      value /= std::fabs(deviation_->mean_virial()[c]) / natoms + relative_virial_;
    values_[0] = std::max(values_[0], value);
    values_[1] = std::min(values_[1], value);
    squares += value * value;
  }
  values_[2] = std::sqrt(squares / 9.0);
}

/* ---------------------------------------------------------------------- */

// All atoms on rank 0, in the order of their IDs.
std::vector<FixUQDeviation::Row> FixUQDeviation::gather() const {
  constexpr int WIDTH = sizeof(Row) / sizeof(double);
  std::vector<Row> mine, rows;
  const std::vector<double> &forces = deviation_->driver_forces();
  for (int i = 0; i < atom->nlocal; i++) {
    Row row{static_cast<double>(atom->tag[i]),
            static_cast<double>(atom->type[i]),
            {},
            {},
            {},
            vector_atom[i]};
    std::copy_n(atom->x[i], 3, row.x);
    domain->remap(row.x);
    std::copy_n(atom->v[i], 3, row.v);
    std::copy_n(&forces[3 * static_cast<size_t>(i)], 3, row.f);
    mine.push_back(row);
  }
  std::vector<int> counts(comm->nprocs), starts(comm->nprocs, 0);
  const int count = WIDTH * atom->nlocal;
  MPI_Gather(&count, 1, MPI_INT, counts.data(), 1, MPI_INT, 0, world);
  for (int p = 1; p < comm->nprocs; p++) starts[p] = starts[p - 1] + counts[p - 1];
  if (comm->me == 0) rows.resize((starts.back() + counts.back()) / WIDTH);
  MPI_Gatherv(mine.data(), count, MPI_DOUBLE, rows.data(), counts.data(), starts.data(), MPI_DOUBLE,
              0, world);
  std::sort(rows.begin(), rows.end(), [](const Row &a, const Row &b) { return a.tag < b.tag; });
  return rows;
}

// Goes on with the file where a restart or an earlier `run` left it.
FILE *FixUQDeviation::open(const std::string &file) {
  FILE *fp = fopen(file.c_str(), restarted_ ? "a" : "w");
  if (!fp)
    error->one(FLERR, "fix uq/deviation: cannot write " + file + ": " + std::strerror(errno));
  return fp;
}

void FixUQDeviation::write_line(const std::vector<Row> &rows) {
  if (!out_) {
    out_ = open(file_);
    fseek(out_, 0, SEEK_END);
    if (ftell(out_) == 0) {
      fprintf(out_, "#%11s", "step");
      for (const char *name :
           {"max_devi_v", "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f", "avg_devi_f"})
        fprintf(out_, "%19s", name);
      fprintf(out_, atomic_ ? "%19s\n" : "\n", "atm_devi_f(N)");
    }
  }
  fprintf(out_, "%12s", std::to_string(update->ntimestep).c_str());
  for (int n = 0; n < 6; n++) fprintf(out_, " %18.6e", values_[n]);
  if (atomic_)
    for (const Row &row : rows) fprintf(out_, " %18.6e", row.deviation);
  fprintf(out_, "\n");
  fflush(out_);
}

// The models' own energy and forces have names that nobody reads as labels.
void FixUQDeviation::write_frame(const std::vector<Row> &rows) {
  if (!frames_) frames_ = open(frames_file_);
  const double eV = pair_->energy_unit(), fs = pair_->femtoseconds();
  const double unit = relative_ > 0.0 ? 1.0 : eV;    // of the deviations
  const double *h = domain->h;
  const std::vector<double> &w = deviation_->driver_virial();
  fprintf(frames_, "%d\nTime=%.8f pbc=\"%c %c %c\" uq_uncertainty=%.8f",
          static_cast<int>(rows.size()), update->ntimestep * update->dt * fs,
          domain->xperiodic ? 'T' : 'F', domain->yperiodic ? 'T' : 'F',
          domain->zperiodic ? 'T' : 'F', values_[3] / unit);
  fprintf(frames_,
          " Lattice=\"%.10g 0 0 %.10g %.10g 0 %.10g %.10g %.10g\" Origin=\"%.10g %.10g %.10g\"",
          h[0], h[5], h[1], h[4], h[3], h[2], domain->boxlo[0], domain->boxlo[1], domain->boxlo[2]);
  fprintf(frames_, " uq_energy=%.8f uq_virial=\"", deviation_->driver_energy() / eV);
  for (int c : {0, 3, 4, 6, 1, 5, 7, 8, 2})    // rows xx xy xz, yx yy yz, zx zy zz
    fprintf(frames_, c == 2 ? "%.8f" : "%.8f ", w[c] / eV);
  fprintf(frames_, "\" Properties=species:S:1:pos:R:3:vel:R:3:uq_forces:R:3:uq_uncertainty:R:1\n");
  for (const Row &row : rows) {
    const int type = static_cast<int>(row.type);
    fprintf(frames_, "%s", pair_->acts_on(type) ? pair_->element(type) : "X");
    for (double x : row.x) fprintf(frames_, " %.8f", x);
    for (double v : row.v) fprintf(frames_, " %.8f", v / fs);
    for (double f : row.f) fprintf(frames_, " %.8f", f / eV);
    fprintf(frames_, " %.8f\n", row.deviation / unit);
  }
  fflush(frames_);
}

/* ---------------------------------------------------------------------- */

double FixUQDeviation::compute_vector(int n) {
  return values_[n];
}

double FixUQDeviation::memory_usage() {
  return static_cast<double>(11 * static_cast<size_t>(atom->nmax)) * sizeof(double);
}

void FixUQDeviation::write_restart(FILE *fp) {
  if (comm->me) return;
  const double state = static_cast<double>(written_);
  const int size = sizeof(state);
  fwrite(&size, sizeof(int), 1, fp);
  fwrite(&state, sizeof(double), 1, fp);
}

void FixUQDeviation::restart(char *buf) {
  written_ = static_cast<bigint>(*reinterpret_cast<const double *>(buf));
  restarted_ = true;
}

/* ----------------------------------------------------------------------
   the deviation travels with its atom
------------------------------------------------------------------------- */

void FixUQDeviation::grow_arrays(int nmax) {
  memory->grow(vector_atom, nmax, "uq/deviation:vector");
}

void FixUQDeviation::copy_arrays(int i, int j, int /*delflag*/) {
  vector_atom[j] = vector_atom[i];
}

void FixUQDeviation::set_arrays(int i) {
  vector_atom[i] = 0.0;
}

int FixUQDeviation::pack_exchange(int i, double *buf) {
  buf[0] = vector_atom[i];
  return 1;
}

int FixUQDeviation::unpack_exchange(int i, double *buf) {
  vector_atom[i] = buf[0];
  return 1;
}
