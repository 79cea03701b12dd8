// SPDX-License-Identifier: GPL-2.0-or-later

#include "pair_uq.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "input.h"
#include "memory.h"
#include "modify.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include "core/math/elements.h"
#include "uq_arguments.h"
#include "uq_files.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <set>
#include <tuple>

using namespace LAMMPS_NS;

UQForces::Norms UQForces::norms(int i, double epsilon) const {
  const double *a = &mean[3 * static_cast<size_t>(i)], *b = &sigma[3 * static_cast<size_t>(i)];
  Norms n;
  n.mean = std::sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]);
  n.sigma = std::sqrt(b[0] * b[0] + b[1] * b[1] + b[2] * b[2]);
  n.relative = n.sigma / (n.mean + epsilon);
  return n;
}

static std::array<double, 6> virial_of(const std::vector<double> &f, const double *x) {
  std::array<double, 6> w = {};
  for (size_t i = 0; i < f.size(); i += 3) {
    w[0] += x[i] * f[i];
    w[1] += x[i + 1] * f[i + 1];
    w[2] += x[i + 2] * f[i + 2];
    w[3] += x[i + 1] * f[i];
    w[4] += x[i + 2] * f[i];
    w[5] += x[i + 2] * f[i + 1];
  }
  return w;
}

void UQForces::add_virials(const double *x) {
  mean_virial = virial_of(mean, x);
  sigma_virial = virial_of(sigma, x);
}

namespace {

constexpr char NO_SPREAD[] =
    "one model with no posterior has no uncertainty: lay NAME.uq beside it (`pyuq posterior`), "
    "or name several models or a file of several samples";

// Messages between atoms by the pair style's communication.
class PairExchange : public uq::Exchange {
 public:
  explicit PairExchange(PairUQ &pair) : pair_(pair) {}
  void forward(int width, double *values) override { pair_.communicate_forward(width, values); }
  void reverse(int width, double *values) override { pair_.communicate_reverse(width, values); }

 private:
  PairUQ &pair_;
};

class WorldReducer : public uq::Reducer {
 public:
  explicit WorldReducer(MPI_Comm world) : world_(world) {
    MPI_Comm_rank(world, &rank_);
    MPI_Comm_size(world, &size_);
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void sum(double *values, int n) override {
    if (size_ > 1) MPI_Allreduce(MPI_IN_PLACE, values, n, MPI_DOUBLE, MPI_SUM, world_);
  }

 private:
  MPI_Comm world_;
  int rank_, size_;
};

constexpr int TWO_FORCES = 6;    // F̄ and F_σ

}    // namespace

/* ---------------------------------------------------------------------- */

PairUQ *PairUQ::find(LAMMPS *lmp) {
  return dynamic_cast<PairUQ *>(lmp->force->pair_match("uq", 1));
}

PairUQ::PairUQ(LAMMPS *lmp)
    : Pair(lmp), exchange_(std::make_unique<PairExchange>(*this)), keep_(uq::Evaluator::KEEP),
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
  const std::vector<UQModelFile> files = uq_read_files(lmp, nfiles, arg + 2, rule_of_coeff());
  refuse_repetition(files);
  map_element2type(ntypes, arg + narg - ntypes);
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

  for (const uq::Model &model : models) species.push_back(species_of_types(model));
  print_table(models);
  try {
    engine_ = std::make_unique<uq::Engine>(uq::Committee(std::move(models)), std::move(species),
                                           std::make_unique<WorldReducer>(world), energy_unit_,
                                           mixed_, keep_);
  } catch (const std::exception &e) {
    error->all(FLERR, e.what());
  }
  asked_evaluation_ = separate_evaluation_ = sigma_evaluation_ = grade_evaluation_ = -1;
  evaluation_ = 0;
}

std::string PairUQ::rule_of_coeff() const {
  return "the last " + std::to_string(atom->ntypes) +
         " argument(s) are the elements of the atom types, those before them files";
}

// A model given twice would count twice in the mean and make the spread too small.
void PairUQ::refuse_repetition(const std::vector<UQModelFile> &files) const {
  const auto what = [](const UQModelFile &file) {
    const uq::ModelFiles &f = file.files;
    return std::tie(f.posterior.empty() ? f.model : f.posterior, file.name.elements,
                    file.name.gpumd);
  };
  for (size_t k = 1; k < files.size(); k++)
    for (size_t n = 0; n < k; n++)
      if (what(files[n]) == what(files[k]))
        error->all(FLERR, "pair_coeff: " + files[n].files.name + " and " + files[k].files.name +
                              " are the same model; members of a committee must differ: name each "
                              "once");
}

// LAMMPS type → species of the model, -1: NULL
std::vector<int> PairUQ::species_of_types(const uq::Model &model) const {
  const std::vector<std::string> &known = model.map->elements();
  std::vector<int> species(atom->ntypes + 1, -1);
  for (int type = 1; type <= atom->ntypes; type++) {
    if (map[type] < 0) continue;
    const auto found = std::find(known.begin(), known.end(), elements[map[type]]);
    if (found == known.end()) {
      std::string list;
      for (const std::string &e : known) list += " " + e;
      error->all(FLERR, "pair_coeff: element " + std::string(elements[map[type]]) +
                            " of atom type " + std::to_string(type) + " is not in " + model.name +
                            ", which knows" + list + "; NULL skips a type; " + rule_of_coeff());
    }
    species[type] = static_cast<int>(found - known.begin());
  }
  return species;
}

void PairUQ::print_table(const std::vector<uq::Model> &models) const {
  if (comm->me) return;
  std::set<std::string> told;    // once for all samples of a file
  for (const uq::Model &m : models)
    for (const std::string &warning : m.warnings)
      if (told.insert(warning).second) error->warning(FLERR, "pair uq: " + warning);
  std::string text = "pair uq: " + std::to_string(models.size()) + " model(s)\n";
  for (const uq::Model &m : models) {
    const int samples = m.readout.nsamples();
    const std::string posterior = !m.readout.has_posterior() ? "no posterior"
                                  : samples ? std::to_string(samples) + " readout samples"
                                            : "posterior covariance";
    text += "  " + m.name + ": " + m.map->family() + ", " + std::to_string(m.map->nreadout()) +
            " readout weights, " + posterior + "\n";
  }
  text += "  atom type  element\n";
  for (int type = 1; type <= atom->ntypes; type++) {
    std::string number = std::to_string(type);
    number.insert(0, number.size() < 11 ? 11 - number.size() : 0, ' ');
    text += number + "  " + (map[type] < 0 ? "NULL (skipped)" : elements[map[type]]) + "\n";
  }
  utils::logmesg(lmp, text);
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
    warn_of_masses();
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

// Elements in another order than the types of a data file: the numbers would be another material's.
void PairUQ::warn_of_masses() {
  std::vector<std::string> names;
  std::vector<double> masses;
  for (int type = 1; type <= atom->ntypes && atom->mass; type++)
    if (map[type] >= 0) {
      names.emplace_back(elements[map[type]]);
      masses.push_back(atom->mass[type]);
    }
  const uq::MassCheck check = uq::check_masses(names, masses);
  if (!check.message.empty() && check.message != masses_warned_)
    error->warning(FLERR,
                   "pair_style uq: masses do not fit the elements of pair_coeff: {}. The elements "
                   "follow the order of the atom types",
                   check.message);
  masses_warned_ = check.message;
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
  double bytes = Pair::memory_usage() + engine_->memory_usage();
  for (const std::vector<double> *v :
       {&x_, &separate_.mean, &separate_.sigma, &asked_.mean, &asked_.sigma, &vatom9_, &sigma_atom_,
        &sigma_out_, &grade_atom_, &grade_out_, &noise_atom_, &noise_out_, &force_sigma_out_,
        &relative_out_})
    bytes += static_cast<double>(v->capacity() * sizeof(double));
  return bytes;
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
                     list->firstneigh, NEIGHMASK, extended_ghosts_ ? nullptr : exchange_.get());
}

// For questions asked later: some fixes move atoms once the forces are known (deform,
// press/berendsen), but not their ghosts.
void PairUQ::remember_atoms() {
  const size_t n = static_cast<size_t>(atom->nlocal) + atom->nghost;
  x_.resize(3 * n);
  if (n) std::copy_n(atom->x[0], 3 * n, x_.data());
  tags_.assign(atom->tag, atom->tag + n);
}

void PairUQ::recall_atoms() {
  set_atoms(x_.data());
}

void PairUQ::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  evaluation_++;
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
  check_finite();
  remember_atoms();
  if (sigma_flag_ || force_sigma_flag_ || relative_flag_ || grade_flag_ || noise_flag_)
    fill_peratom();
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
  const bool sigma = sigma_flag_ && committee.has_uncertainty(),
             grades = grade_flag_ && committee.has_grades();
  if (driver_ > 0 || !(sigma || grades)) return engine_->evaluate(driver_ - 1, tally(true));
  return engine_->local(0.0, 0.0, {{uq::Engine::Pass::MEAN, tally(true)}},
                        want_atoms(sigma, grades));
}

// Room for σ_i and grades of the evaluation under way or just made.
uq::Engine::PerAtom PairUQ::want_atoms(bool sigma, bool grades) {
  const size_t n = std::max(engine_->nall(), 1);
  uq::Engine::PerAtom wanted;
  if (sigma) {
    sigma_atom_.assign(n, 0.0);
    sigma_evaluation_ = evaluation_;
    wanted.sigma = sigma_atom_.data();
  }
  if (grades && engine_->committee().has_grades()) {
    grade_atom_.assign(n, 0.0);
    grade_evaluation_ = evaluation_;
    wanted.grades = grade_atom_.data();
  }
  return wanted;
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
  std::vector<uq::Engine::Pass> passes;
  if (bias.forces) {
    separate_.mean.assign(3 * static_cast<size_t>(nall), 0.0);
    separate_.sigma.assign(3 * static_cast<size_t>(nall), 0.0);
    passes.resize(2);
    passes[0].kind = uq::Engine::Pass::MEAN;
    passes[0].result.forces = separate_.mean.data();
    passes[1].kind = uq::Engine::Pass::SIGMA;
    passes[1].result.forces = separate_.sigma.data();
  }
  if (merged || eflag_atom || vflag_either)
    passes.push_back({uq::Engine::Pass::MERGED, tally(merged)});

  double energy, tau = bias.tau;
  if (local) {
    energy = engine_->local(tau, bias.floor / energy_unit_, passes, want_atoms(true, grade_flag_));
    sum_local(bias);
  } else {
    energy = engine_->forward();
    uncertainty_ = engine_->sigma();
    const uq::Lowered s = uq::lower(uncertainty_, bias.floor);
    tau *= s.slope;
    engine_->backward(tau, passes);
    bias_energy_ = -bias.tau * s.value;
    if (eflag_atom && bias.floor > 0.0) shift_eatom(bias_energy_ + tau * uncertainty_);
  }
  if (!bias.forces) return energy;

  double *f = nall ? atom->f[0] : nullptr;
  for (size_t n = 0; n < separate_.mean.size() && !merged; n++)
    f[n] += separate_.mean[n] - tau * separate_.sigma[n];
  separate_.energy = energy;
  separate_.uncertainty = uncertainty_;
  separate_.mean_virial = separate_.sigma_virial = {};
  if (bias.virials) separate_.add_virials(nall ? atom->x[0] : nullptr);
  communicate_reverse(3, separate_.mean.data(), separate_.sigma.data());
  separate_evaluation_ = local ? -1 : evaluation_;
  return energy;
}

// Σ_i σ_i and the bias energy of the local mode.
void PairUQ::sum_local(const UQBias &bias) {
  double sums[2] = {0.0, 0.0};
  for (int n = 0; n < engine_->ncenters(); n++) {
    const double sigma = sigma_atom_[engine_->center(n)];
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

void PairUQ::communicate_forward(int width, double *values) {
  communicated_[0] = values;
  communicated_width_ = width;
  comm->forward_comm(this, width);
}

void PairUQ::communicate_reverse(int width, double *a, double *b) {
  communicated_[0] = a;
  communicated_[1] = b;
  communicated_width_ = width;
  comm->reverse_comm(this, b ? 2 * width : width);
}

void PairUQ::sum(std::vector<double> &values) const {
  MPI_Allreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()), MPI_DOUBLE, MPI_SUM,
                world);
}

int PairUQ::pack_forward_comm(int n, int *sendlist, double *buf, int /*pbc_flag*/, int * /*pbc*/) {
  const size_t width = communicated_width_;
  for (int k = 0; k < n; k++)
    std::copy_n(communicated_[0] + width * sendlist[k], width, buf + width * k);
  return static_cast<int>(width * n);
}

void PairUQ::unpack_forward_comm(int n, int first, double *buf) {
  const size_t width = communicated_width_;
  std::copy_n(buf, width * n, communicated_[0] + width * first);
}

int PairUQ::pack_reverse_comm(int n, int first, double *buf) {
  const size_t width = communicated_width_;
  double *out = buf;
  for (const double *values : communicated_)
    if (values) out = std::copy_n(values + width * first, width * n, out);
  return static_cast<int>(out - buf);
}

void PairUQ::unpack_reverse_comm(int n, int *sendlist, double *buf) {
  const size_t width = communicated_width_;
  for (double *values : communicated_)
    if (values)
      for (int k = 0; k < n; k++)
        for (size_t c = 0; c < width; c++) values[width * sendlist[k] + c] += *buf++;
}

/* ----------------------------------------------------------------------
   questions of the computes and of fix pair
------------------------------------------------------------------------- */

void PairUQ::require_evaluation() const {
  if (evaluation_ == 0)
    error->all(FLERR, "pair_style uq has not been evaluated yet: `run 0` first");
  const size_t n = static_cast<size_t>(atom->nlocal) + atom->nghost;
  int changed = n != tags_.size() || !std::equal(tags_.begin(), tags_.end(), atom->tag);
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
  recall_atoms();
  return *engine_;
}

void PairUQ::require_uncertainty() const {
  require_evaluation();
  if (!has_uncertainty()) error->all(FLERR, "pair_style uq: {}", NO_SPREAD);
}

const UQForces &PairUQ::sigma_forces() {
  require_uncertainty();
  if (separate_evaluation_ == evaluation_) {
    sigma_ = uncertainty_;
    return separate_;
  }
  if (asked_evaluation_ == evaluation_) return asked_;
  recall_atoms();
  asked_.mean.assign(3 * static_cast<size_t>(engine_->nall()), 0.0);
  asked_.sigma.assign(3 * static_cast<size_t>(engine_->nall()), 0.0);
  std::vector<uq::Engine::Pass> passes(2);
  passes[0].kind = uq::Engine::Pass::MEAN;
  passes[0].result.forces = asked_.mean.data();
  passes[1].kind = uq::Engine::Pass::SIGMA;
  passes[1].result.forces = asked_.sigma.data();
  asked_.energy = engine_->forward();
  engine_->backward(0.0, passes);
  asked_.uncertainty = sigma_ = engine_->sigma();
  communicate_reverse(3, asked_.mean.data(), asked_.sigma.data());
  asked_evaluation_ = evaluation_;
  return asked_;
}

bool PairUQ::has_uncertainty() const {
  return engine_ && engine_->committee().has_uncertainty();
}

double PairUQ::sigma() {
  sigma_forces();
  return sigma_;
}

const double *PairUQ::sigma_atom() {
  require_uncertainty();
  recall_atoms();
  if (sigma_evaluation_ != evaluation_) engine_->local(0.0, 0.0, {}, want_atoms(true, false));
  return sigma_atom_.data();
}

const double *PairUQ::grade_atom() {
  require_evaluation();
  if (!engine_->committee().has_grades())
    error->all(FLERR, "pair_style uq: no model has an active set for the extrapolation grade: a "
                      "NAME.uq with one, or an .almtp file");
  recall_atoms();
  if (grade_evaluation_ != evaluation_) engine_->local(0.0, 0.0, {}, want_atoms(false, true));
  return grade_atom_.data();
}

const double *PairUQ::noise_atom() {
  require_evaluation();
  if (!engine_->committee().has_noise())
    error->all(FLERR, "pair_style uq: no model has a noise head: only networks have, those trained "
                      "with noise_hidden above 0");
  recall_atoms();
  noise_atom_.assign(std::max(engine_->nall(), 1), 0.0);
  engine_->noise(noise_atom_.data());
  return noise_atom_.data();
}

void PairUQ::largest_grade(double &grade, tagint &id) {
  const double *grades = grade_atom();
  double mine = -1.0;
  id = 0;
  for (int i = 0; i < atom->nlocal; i++)
    if (!(grades[i] <= mine)) {
      mine = grades[i];
      id = atom->tag[i];
    }
  MPI_Allreduce(&mine, &grade, 1, MPI_DOUBLE, MPI_MAX, world);
  if (mine != grade) id = 0;
  MPI_Allreduce(MPI_IN_PLACE, &id, 1, MPI_LMP_TAGINT, MPI_MAX, world);
}

UQStatistics PairUQ::statistics(const UQForces &forces, double epsilon) const {
  std::array<double, 16> sums = {};    // Σ|F̄|, Σ|F_σ|, atoms, Ē, virials of F̄ and F_σ
  sums[3] = forces.energy;
  std::copy_n(forces.mean_virial.begin(), 6, &sums[4]);
  std::copy_n(forces.sigma_virial.begin(), 6, &sums[10]);
  double maxima[2] = {-1.0,
                      -engine_->min_distance()};    // relative uncertainty, minus the distance
  tagint id = 0;
  for (int i = 0; i < atom->nlocal; i++) {
    if (!acts_on(atom->type[i])) continue;
    const UQForces::Norms norms = forces.norms(i, epsilon);
    sums[0] += norms.mean;
    sums[1] += norms.sigma;
    sums[2] += 1.0;
    if (norms.relative > maxima[0]) {
      maxima[0] = norms.relative;
      id = atom->tag[i];
    }
  }
  const double mine = maxima[0];
  MPI_Allreduce(MPI_IN_PLACE, sums.data(), static_cast<int>(sums.size()), MPI_DOUBLE, MPI_SUM,
                world);
  MPI_Allreduce(MPI_IN_PLACE, maxima, 2, MPI_DOUBLE, MPI_MAX, world);
  if (mine != maxima[0]) id = 0;
  MPI_Allreduce(MPI_IN_PLACE, &id, 1, MPI_LMP_TAGINT, MPI_MAX, world);

  UQStatistics s;
  const double n = std::max(sums[2], 1.0);
  s.mean = sums[0] > ROUNDING * std::abs(sums[3]) ? sums[0] / n : 0.0;
  s.sigma = sums[1] > ROUNDING * forces.uncertainty ? sums[1] / n : 0.0;
  for (int c = 0; c < 6; c++)
    s.virial_relative =
        std::max(s.virial_relative, std::abs(sums[10 + c]) / (std::abs(sums[4 + c]) + n * epsilon));
  s.max_relative = std::max(maxima[0], 0.0);
  s.max_id = id;
  s.min_distance = -maxima[1];
  return s;
}

void PairUQ::fill_peratom() {
  const int nlocal = atom->nlocal;
  if (sigma_flag_) {
    const double *sigma = sigma_atom();
    sigma_out_.assign(sigma, sigma + std::max(nlocal, 1));
  }
  if (grade_flag_) {
    const double *grade = grade_atom();
    grade_out_.assign(grade, grade + std::max(nlocal, 1));
  }
  if (noise_flag_) {
    const double *noise = noise_atom();
    noise_out_.assign(noise, noise + std::max(nlocal, 1));
  }
  if (!force_sigma_flag_ && !relative_flag_) return;
  const UQForces &forces = sigma_forces();
  force_sigma_out_.assign(std::max(nlocal, 1), 0.0);
  relative_out_.assign(std::max(nlocal, 1), 0.0);
  for (int i = 0; i < nlocal; i++) {
    const UQForces::Norms norms = forces.norms(i, epsilon_);
    force_sigma_out_[i] = norms.sigma;
    relative_out_[i] = norms.relative;
  }
}

void *PairUQ::extract(const char *name, int &dim) {
  dim = 0;
  if (std::strcmp(name, "sigma_flag") == 0) return &sigma_flag_;
  if (std::strcmp(name, "force_sigma_flag") == 0) return &force_sigma_flag_;
  if (std::strcmp(name, "relative_flag") == 0) return &relative_flag_;
  if (std::strcmp(name, "grade_flag") == 0) return &grade_flag_;
  if (std::strcmp(name, "noise_flag") == 0) return &noise_flag_;
  return nullptr;
}

void *PairUQ::extract_peratom(const char *name, int &ncol) {
  ncol = 0;
  std::vector<double> *values = nullptr;
  if (std::strcmp(name, "sigma") == 0) values = &sigma_out_;
  if (std::strcmp(name, "force_sigma") == 0) values = &force_sigma_out_;
  if (std::strcmp(name, "relative") == 0) values = &relative_out_;
  if (std::strcmp(name, "grade") == 0) values = &grade_out_;
  if (std::strcmp(name, "noise") == 0) values = &noise_out_;
  return values && !values->empty() ? values->data() : nullptr;
}

/* ----------------------------------------------------------------------
   stop on NaN or infinity and on atoms on top of each other, whose finite energy means nothing,
with the frame on disk; every rank must know, so one integer is reduced
------------------------------------------------------------------------- */

void PairUQ::check_finite() {
  const int nall = atom->nlocal + atom->nghost;
  const double *f = nall ? atom->f[0] : nullptr, *x = nall ? atom->x[0] : nullptr;
  double sum = eng_vdwl;
  for (int n = 0; n < 3 * nall; n++)
    sum += f[n] + x[n];    // a lost position may leave its force at zero
  int bad = !std::isfinite(sum);
  if (engine_->min_distance() < COINCIDENT) bad = 2;
  MPI_Allreduce(MPI_IN_PLACE, &bad, 1, MPI_INT, MPI_MAX, world);
  if (!bad) return;
  const std::string step = std::to_string(update->ntimestep);
  if (bad == 2) {
    const std::string pair = closest_pair();
    error->all(FLERR, "pair_style uq: " + pair + " apart at step " + step +
                          ": no potential has a meaning there; the frame is in " +
                          write_frame("uq_coincident." + step + ".dump"));
  }

  // A bad position spoils the forces of its neighbours: it is the one to name.
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
      bias_.expired() ? "" : " (uncertainty " + std::to_string(uncertainty_) + ")";
  error->all(FLERR, "pair_style uq: " + which + " is not finite at step " + step + sigma +
                        "; the frame is in " + write_frame("uq_nonfinite." + step + ".dump"));
}

// "atoms 3 and 7 are 0.0001 Angstrom", of all ranks.
std::string PairUQ::closest_pair() const {
  double mine = COINCIDENT;
  tagint ids[2] = {MAXTAGINT, MAXTAGINT};
  for (int n = 0; n < list->inum; n++) {
    const int i = list->ilist[n];
    for (int k = 0; k < list->numneigh[i]; k++) {
      const int j = list->firstneigh[i][k] & NEIGHMASK;
      const double dx = atom->x[j][0] - atom->x[i][0], dy = atom->x[j][1] - atom->x[i][1],
                   dz = atom->x[j][2] - atom->x[i][2];
      const double distance = std::sqrt(dx * dx + dy * dy + dz * dz);
      if (!(distance < mine) || !acts_on(atom->type[i]) || !acts_on(atom->type[j])) continue;
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

std::string PairUQ::write_frame(const std::string &name) const {
  input->one("write_dump all custom " + name + " id type x y z modify sort id");
  return name;
}
