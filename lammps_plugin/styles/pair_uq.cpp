// SPDX-License-Identifier: GPL-2.0-or-later

#include "pair_uq.h"

#include "world_reducer.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include "uq_arguments.h"
#include "uq_files.h"

#include <algorithm>

using namespace LAMMPS_NS;

namespace {

constexpr char NO_SPREAD[] =
    "one model with no posterior has no uncertainty: lay NAME.uq beside it (`pyuq posterior`), "
    "or name several models or a file of several samples";

constexpr int TWO_FORCES = 6;    // F̄ and F_σ

// The passes that fill F̄ and F_σ.
std::vector<uq::Pass> mean_and_sigma(UQForces &forces) {
  uq::Result mean, sigma;
  mean.forces = forces.mean.data();
  sigma.forces = forces.sigma.data();
  return {uq::Pass::of_mean(mean), uq::Pass::of_sigma(sigma)};
}

}    // namespace

/* ---------------------------------------------------------------------- */

PairUQ *PairUQ::find(LAMMPS *lmp) {
  return dynamic_cast<PairUQ *>(lmp->force->pair_match("uq", 1));
}

PairUQ::PairUQ(LAMMPS *lmp)
    : Pair(lmp), rows_(lmp, this), guard_(lmp, *this), types_(lmp), keep_(uq::Evaluator::KEEP),
      epsilon_(EPSILON) {
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  centroidstressflag = CENTROID_AVAIL;
  comm_reverse = TWO_FORCES;
  unit_convert_flag = utils::get_supported_conversions(utils::ENERGY);
}

PairUQ::~PairUQ() {
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
  memory->destroy(cutghost);
}

void PairUQ::allocate() {
  allocated = 1;
  const int n = atom->ntypes + 1;
  memory->create(setflag, n, n, "pair:setflag");
  memory->create(cutsq, n, n, "pair:cutsq");
  memory->create(cutghost, n, n, "pair:cutghost");
  map = new int[n];
}

/* ---------------------------------------------------------------------- */

void PairUQ::settings(int narg, char **arg) {
  check_units();
  driver_ = 0;
  every_ = 1;
  mixed_ = extended_ghosts_ = false;
  radial_ = uq::Radial::Automatic;
  epsilon_ = EPSILON * energy_unit_;
  keep_ = uq::Evaluator::KEEP;
  UQArguments arguments(lmp, "pair_style uq", "driver every radial precision ghosts keep eps", 0,
                        narg, arg);
  while (arguments.next()) {
    if (arguments.is("driver"))
      driver_ = arguments.integer("`mean` or the number of a model from 1", "mean");
    else if (arguments.is("every"))
      every_ = arguments.count();
    else if (arguments.is("radial"))
      radial_ = arguments.choice("direct", "spline") ? uq::Radial::Spline : uq::Radial::Direct;
    else if (arguments.is("precision"))
      mixed_ = arguments.choice("double", "mixed");
    else if (arguments.is("ghosts"))
      extended_ghosts_ = arguments.choice("exchange", "extended");
    else if (arguments.is("keep"))
      keep_ = arguments.count();
    else
      epsilon_ = arguments.positive();
  }
  ghostneigh = extended_ghosts_;
  if (every_ > 1 && driver_ == 0)
    error->all(FLERR, "pair_style uq: every " + std::to_string(every_) +
                          " needs `driver K`: the mean takes all models in each step");
}

void PairUQ::check_units() {
  const std::string units = update->unit_style;
  if (units == "metal")
    energy_unit_ = 1.0;
  else if (units == "real")
    energy_unit_ = utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
  else
    error->all(FLERR,
               "pair_style uq knows no `units " + units + "`: use `units metal` or `units real`");
}

/* ----------------------------------------------------------------------
   pair_coeff * * FILE [FILE ...] El1 El2 ...: the last ntypes arguments are elements. They also
name the species of a format that stores no names, in order of first appearance, unless FILE:El1,El2
does
------------------------------------------------------------------------- */

void PairUQ::coeff(int narg, char **arg) {
  const int ntypes = atom->ntypes;
  if (narg < 3 + ntypes)
    error->all(FLERR, "pair_coeff of pair_style uq has " + std::to_string(narg) +
                          " arguments, expected `* * FILE [FILE ...]` and " +
                          std::to_string(ntypes) + " elements, one for each atom type (or NULL)");
  if (!allocated) allocate();

  const int nfiles = narg - 2 - ntypes;
  const std::vector<UQModelFile> files = uq_read_files(lmp, nfiles, arg + 2, types_.rule());
  types_.refuse_repetition(files);
  map_element2type(ntypes, arg + narg - ntypes);
  types_.set(map, elements);
  const std::vector<std::string> named(elements, elements + nelements);
  uq::LoadOptions options;
  options.radial = radial_;
  options.occurring = named;
  std::vector<uq::Model> models;
  std::vector<std::vector<int>> species;
  try {
    for (const UQModelFile &file : files) {
      options.named = !file.name.elements.empty();
      options.elements = options.named ? file.name.elements : named;
      options.gpumd = file.name.gpumd;
      for (uq::Model &model : uq::load_members(file.files, options))
        models.push_back(std::move(model));
    }
  } catch (const std::exception &e) {
    error->all(FLERR, e.what());
  }
  if (driver_ > static_cast<int>(models.size()))
    error->all(FLERR, "pair_style uq: driver is " + std::to_string(driver_) +
                          ", but pair_coeff names " + std::to_string(models.size()) + " model(s)");

  for (const uq::Model &model : models) species.push_back(types_.species_of_types(model));
  types_.print(models);
  try {
    engine_ = std::make_unique<uq::Engine>(uq::Committee(std::move(models)), std::move(species),
                                           std::make_unique<WorldReducer>(world), energy_unit_,
                                           mixed_, keep_);
  } catch (const std::exception &e) {
    error->all(FLERR, e.what());
  }
  cache_.forget();
}

/* ---------------------------------------------------------------------- */

void PairUQ::init_style() {
  if (lmp->kokkos)
    error->all(FLERR, "pair_style uq runs on CPUs only: start LAMMPS without `-k on` and `-sf kk`");
  if (!force->newton_pair)
    error->all(FLERR, "pair_style uq requires `newton on` in the input script");
  if (!atom->tag_enable) error->all(FLERR, "pair_style uq requires atom IDs: `atom_modify id yes`");
  if (comm->me == 0) {
    warn_of_missing_neighbors();
    types_.warn_of_masses();
  }
  if (engine_->exchange_width() && comm->me == 0 &&
      modify->get_compute_by_style("heat/flux").size())
    error->warning(FLERR,
                   "pair_style uq: compute heat/flux misses energy that a network of several "
                   "layers passes on beyond the neighbors of an atom");
  if (extended_ghosts_) {
    extend_ghosts();
    neighbor->add_request(this, NeighConst::REQ_FULL | NeighConst::REQ_GHOST);
    return;
  }
  neighbor->add_request(this, NeighConst::REQ_FULL);
  // Buffers are made before the first message; a hybrid style has asked before the model was known.
  comm_forward = engine_->exchange_width();
  comm_reverse = std::max(TWO_FORCES, comm_forward);
  force->pair->comm_forward = std::max(force->pair->comm_forward, comm_forward);
  force->pair->comm_reverse = std::max(force->pair->comm_reverse, comm_reverse);
}

// A many-body potential needs all neighbors of an atom.
void PairUQ::warn_of_missing_neighbors() const {
  const double *special = force->special_lj;
  if (atom->molecular != Atom::ATOMIC &&
      std::any_of(special + 1, special + 4, [](double factor) { return factor != 1.0; }))
    error->warning(FLERR,
                   "pair_style uq does not scale bonded pairs, and pairs with factor 0 are missing "
                   "from its neighborhoods: use `special_bonds lj/coul 1 1 1`");
  const bool trials = !modify->get_fix_by_style("^gcmc").empty() ||
                      !modify->get_fix_by_style("^widom").empty();    // exclude their trial atoms
  if (!trials && (neighbor->nex_type || neighbor->nex_group || neighbor->nex_mol))
    error->warning(FLERR,
                   "pair_style uq: pairs left out by `neigh_modify exclude` are missing from its "
                   "neighborhoods, which changes forces between other atoms, too");
}

// Ghosts as far as messages come from, in as many steps as there are layers.
void PairUQ::extend_ghosts() {
  double reach = 0.0;
  for (int k = 0; k < engine_->committee().size(); k++)
    reach = std::max(reach, engine_->committee().member(k).map->reach());
  if (comm->mode != Comm::SINGLE)
    error->all(FLERR, "pair_style uq ghosts extended needs `comm_modify mode single`");
  if (neighbor->style != Neighbor::BIN && neighbor->style != Neighbor::NSQ)
    error->all(FLERR, "pair_style uq ghosts extended needs `neighbor SKIN bin` or `nsq`: no other "
                      "style lists the neighbors of ghosts");
  comm->cutghostuser = std::max(comm->cutghostuser, reach + neighbor->skin);
}

double PairUQ::init_one(int i, int j) {
  if (setflag[i][j] == 0) error->all(FLERR, "All pair coeffs are not set");
  return cutghost[i][j] = cutghost[j][i] = engine_->cutoff(i, j);
}

double PairUQ::memory_usage() {
  return Pair::memory_usage() + engine_->memory_usage() + cache_.memory_usage() +
         peratom_.memory_usage() + static_cast<double>(vatom9_.capacity() * sizeof(double));
}

void PairUQ::attach(const std::shared_ptr<UQBias> &bias) {
  const auto other = bias_.lock();
  if (other && other != bias)
    error->all(FLERR, "two fixes uq/hal act on one pair_style uq: remove one");
  if (!compute_flag)
    error->all(FLERR, "fix uq/hal: pair_style uq is switched off: drop `pair_modify compute no`");
  if (driver_ > 0)
    error->all(
        FLERR,
        "fix uq/hal biases the mean of all models in each step: use `pair_style uq driver mean`, "
        "without `every`");
  if (!has_uncertainty()) error->all(FLERR, "fix uq/hal: {}", NO_SPREAD);
  bias_ = bias;
}

std::vector<double> PairUQ::reference_energies() const {
  return engine_ ? engine_->reference_energies() : std::vector<double>();
}

void PairUQ::set_reference_energies(const std::vector<double> &reference_energies) {
  try {
    engine_->set_reference_energies(reference_energies);
  } catch (const std::exception &e) {
    error->all(FLERR, "fix uq/hal, from its restart file: " + std::string(e.what()));
  }
}

/* ---------------------------------------------------------------------- */

void PairUQ::set_atoms(const double *x) {
  engine_->set_threads(comm->nthreads);
  engine_->set_atoms(atom->nlocal + atom->nghost, x, atom->type, list->inum,
                     extended_ghosts_ ? list->gnum : 0, list->ilist, list->numneigh,
                     list->firstneigh, NEIGHMASK, extended_ghosts_ ? nullptr : &rows_);
}

void PairUQ::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  cache_.start();
  try {
    set_atoms(atom->nlocal + atom->nghost ? atom->x[0] : nullptr);
    const auto bias = bias_.lock();
    const double energy = bias ? add_biased(*bias) : add_unbiased();
    if (eflag_global) eng_vdwl += energy;
  } catch (const std::exception &e) {
    error->one(FLERR, e.what());
  }
  finish_tally();
  if (vflag_fdotr) virial_fdotr_compute();
  guard_.check(eng_vdwl, engine_->min_distance(), *list, bias_.expired() ? nullptr : &uncertainty_);
  cache_.remember_atoms(*atom);
  if (peratom_.wanted()) peratom_.fill(*this, epsilon_, atom->nlocal);
}

// Where a pass adds its per-atom energies and virials and, if asked, its forces.
uq::Result PairUQ::tally(bool forces) {
  uq::Result result;
  const int nall = atom->nlocal + atom->nghost;
  if (nall == 0) return result;
  if (forces) result.forces = atom->f[0];
  if (eflag_atom) result.eatom = eatom;
  if (vflag_global) {
    virial9_.assign(9, 0.0);
    result.virial = virial9_.data();
  }
  if (cvflag_atom)
    result.vatom = cvatom[0];
  else if (vflag_atom) {
    vatom9_.assign(9 * static_cast<size_t>(nall), 0.0);
    result.vatom = vatom9_.data();
  }
  return result;
}

void PairUQ::finish_tally() {
  const int nall = atom->nlocal + atom->nghost;
  if (nall == 0) return;
  if (vflag_global)
    for (int n = 0; n < 6; n++) virial[n] += virial9_[n];
  if (!vflag_atom) return;
  const double *nine = cvflag_atom ? cvatom[0] : vatom9_.data();
  for (int i = 0; i < nall; i++, nine += 9) {
    for (int n = 0; n < 3; n++) {
      vatom[i][n] += nine[n];
      vatom[i][n + 3] += 0.5 * (nine[n + 3] + nine[n + 6]);
    }
  }
}

// Forces of the driver. What fix pair is going to ask of each atom comes out of the same pass.
double PairUQ::add_unbiased() {
  const uq::Committee &committee = engine_->committee();
  const bool sigma = peratom_.wanted(&uq::Engine::PerAtom::sigma) && committee.has_uncertainty(),
             grades = peratom_.wanted(&uq::Engine::PerAtom::grades) && committee.has_grades();
  if (driver_ > 0 || !(sigma || grades)) return engine_->evaluate(driver_ - 1, tally(true));
  return over_atoms({uq::Pass::of_mean(tally(true))}, sigma, grades);
}

// Passes over atoms that give σ_i and, where a model has them, grades. Returns the mean energy.
double PairUQ::over_atoms(const std::vector<uq::Pass> &passes, bool sigma, bool grades) {
  const uq::Engine::PerAtom wanted =
      cache_.room(engine_->nall(), sigma, grades && engine_->committee().has_grades());
  const double energy = engine_->local(passes, wanted);
  cache_.made(wanted);
  return energy;
}

/* ----------------------------------------------------------------------
   mean - τS. One backward pass with merged weights, or, where F̄ and F_σ are wanted apart, one with
both cotangents. They give the force, too, but where a floor weighs the uncertainty of each atom by
itself
------------------------------------------------------------------------- */

double PairUQ::add_biased(const UQBias &bias) {
  const int nall = atom->nlocal + atom->nghost;
  const bool local = bias.mode == UQBias::LOCAL,
             merged = !bias.forces || (local && bias.floor > 0.0);
  UQForces &separate = cache_.bias_forces.value;
  std::vector<uq::Pass> passes;
  if (bias.forces) {
    separate.start(nall);
    passes = mean_and_sigma(separate);
  }
  const auto add_pass = [&](double tau, double floor) {
    if (merged || eflag_atom || vflag_either) passes.push_back({1.0, -tau, floor, tally(merged)});
  };

  double energy, tau = bias.tau;
  if (local) {
    add_pass(tau, bias.floor / energy_unit_);
    energy = over_atoms(passes, true, peratom_.wanted(&uq::Engine::PerAtom::grades));
    sum_local(bias);
  } else {
    energy = engine_->forward();
    uncertainty_ = engine_->sigma();
    const uq::Lowered s = uq::lower(uncertainty_, bias.floor);
    tau *= s.slope;
    add_pass(tau, 0.0);
    engine_->backward(passes);
    bias_energy_ = -bias.tau * s.value;
    if (eflag_atom && bias.floor > 0.0) shift_eatom(bias_energy_ + tau * uncertainty_);
  }
  if (!bias.forces) return energy;

  double *f = nall ? atom->f[0] : nullptr;
  for (size_t n = 0; n < separate.mean.size() && !merged; n++)
    f[n] += separate.mean[n] - tau * separate.sigma[n];
  separate.energy = energy;
  separate.uncertainty = uncertainty_;
  separate.mean_virial = separate.sigma_virial = {};
  if (bias.virials) separate.add_virials(nall ? atom->x[0] : nullptr);
  rows_.reverse(3, separate.mean.data(), separate.sigma.data());
  if (local)
    cache_.bias_forces.drop();    // those of Σ_i σ_i
  else
    cache_.bias_forces.mark();
  return energy;
}

// Σ_i σ_i and the bias energy of the local mode.
void PairUQ::sum_local(const UQBias &bias) {
  double sums[2] = {0.0, 0.0};
  for (int n = 0; n < engine_->ncenters(); n++) {
    const double sigma = cache_.sigma.value[engine_->center(n)];
    sums[0] += sigma;
    sums[1] += uq::lower(sigma, bias.floor).value;
  }
  MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world);
  uncertainty_ = sums[0];
  bias_energy_ = -bias.tau * sums[1];
}

// A constant energy, spread evenly over the atoms.
void PairUQ::shift_eatom(double energy) {
  double n = engine_->ncenters();
  MPI_Allreduce(MPI_IN_PLACE, &n, 1, MPI_DOUBLE, MPI_SUM, world);
  for (int m = 0; m < engine_->ncenters(); m++) eatom[engine_->center(m)] += energy / n;
}

void PairUQ::sum(std::vector<double> &values) const {
  MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_DOUBLE, MPI_SUM,
                world);
}

int PairUQ::pack_forward_comm(int n, int *sendlist, double *buf, int /*pbc_flag*/, int * /*pbc*/) {
  return rows_.pack_forward(n, sendlist, buf);
}

void PairUQ::unpack_forward_comm(int n, int first, double *buf) {
  rows_.unpack_forward(n, first, buf);
}

int PairUQ::pack_reverse_comm(int n, int first, double *buf) {
  return rows_.pack_reverse(n, first, buf);
}

void PairUQ::unpack_reverse_comm(int n, int *sendlist, double *buf) {
  rows_.unpack_reverse(n, sendlist, buf);
}

/* ----------------------------------------------------------------------
   questions of the computes and of fix pair
------------------------------------------------------------------------- */

void PairUQ::require_evaluation() const {
  if (!cache_.evaluated())
    error->all(FLERR, "pair_style uq has not been evaluated yet: `run 0` first");
  int changed = !cache_.same_atoms(*atom);
  MPI_Allreduce(MPI_IN_PLACE, &changed, 1, MPI_INT, MPI_MAX, world);
  if (changed)
    error->all(FLERR, "pair_style uq: atoms were created, deleted or moved to other ranks since it "
                      "was evaluated: `run 0` first");
}

double PairUQ::femtoseconds() const {
  return std::string(update->unit_style) == "metal" ? 1000.0 : 1.0;
}

bool PairUQ::spread_due() const {
  return update->ntimestep % every_ == 0;
}

uq::Engine &PairUQ::engine() {
  require_evaluation();
  set_atoms(cache_.x());
  return *engine_;
}

void PairUQ::require_uncertainty() const {
  require_evaluation();
  if (!has_uncertainty()) error->all(FLERR, "pair_style uq: {}", NO_SPREAD);
}

const UQForces &PairUQ::sigma_forces() {
  require_uncertainty();
  if (cache_.bias_forces.fresh()) return cache_.bias_forces.value;
  UQForces &asked = cache_.sigma_forces.value;
  if (cache_.sigma_forces.fresh()) return asked;
  set_atoms(cache_.x());
  asked.start(engine_->nall());
  const std::vector<uq::Pass> passes = mean_and_sigma(asked);
  asked.energy = engine_->forward();
  engine_->backward(passes);
  asked.uncertainty = engine_->sigma();
  rows_.reverse(3, asked.mean.data(), asked.sigma.data());
  cache_.sigma_forces.mark();
  return asked;
}

bool PairUQ::has_uncertainty() const {
  return engine_ && engine_->committee().has_uncertainty();
}

double PairUQ::sigma() {
  return sigma_forces().uncertainty;
}

const double *PairUQ::sigma_atom() {
  require_uncertainty();
  set_atoms(cache_.x());
  if (!cache_.sigma.fresh()) over_atoms({}, true, false);
  return cache_.sigma.value.data();
}

const double *PairUQ::grade_atom() {
  require_evaluation();
  if (!engine_->committee().has_grades())
    error->all(FLERR, "pair_style uq: no model has an active set for the extrapolation grade: a "
                      "NAME.uq with one, or an .almtp file");
  set_atoms(cache_.x());
  if (!cache_.grade.fresh()) over_atoms({}, false, true);
  return cache_.grade.value.data();
}

const double *PairUQ::noise_atom() {
  require_evaluation();
  if (!engine_->committee().has_noise())
    error->all(FLERR, "pair_style uq: no model has a noise head: only networks have, those trained "
                      "with noise_hidden above 0");
  set_atoms(cache_.x());
  if (!cache_.noise.fresh()) {
    cache_.noise.value.assign(std::max(engine_->nall(), 1), 0.0);
    engine_->noise(cache_.noise.value.data());
    cache_.noise.mark();
  }
  return cache_.noise.value.data();
}

void PairUQ::largest_grade(double &grade, tagint &id) {
  uq_largest(lmp, grade_atom(), grade, id);
}

void *PairUQ::extract(const char *name, int &dim) {
  dim = 0;
  return peratom_.flag(name);
}

void *PairUQ::extract_peratom(const char *name, int &ncol) {
  ncol = PerAtomTable::columns(name);
  return peratom_.values(name);
}
