// SPDX-License-Identifier: GPL-2.0-or-later

#include "type_elements.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "utils.h"

#include "core/math/elements.h"

#include <algorithm>
#include <set>
#include <tuple>

using namespace LAMMPS_NS;

void TypeElements::set(const int *map, char **elements) {
  elements_.assign(atom->ntypes + 1, "");
  for (int type = 1; type <= atom->ntypes; type++)
    if (map[type] >= 0) elements_[type] = elements[map[type]];
}

std::string TypeElements::rule() const {
  return "the last " + std::to_string(atom->ntypes) +
         " argument(s) are the elements of the atom types, those before them files";
}

void TypeElements::refuse_repetition(const std::vector<UQModelFile> &files) const {
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

std::vector<int> TypeElements::species_of_types(const uq::Model &model) const {
  const std::vector<std::string> &known = model.map->elements();
  std::vector<int> species(elements_.size(), -1);
  for (size_t type = 1; type < elements_.size(); type++) {
    if (elements_[type].empty()) continue;
    const auto found = std::find(known.begin(), known.end(), elements_[type]);
    if (found == known.end()) {
      std::string list;
      for (const std::string &e : known) list += " " + e;
      error->all(FLERR, "pair_coeff: element " + elements_[type] + " of atom type " +
                            std::to_string(type) + " is not in " + model.name + ", which knows" +
                            list + "; NULL skips a type; " + rule());
    }
    species[type] = static_cast<int>(found - known.begin());
  }
  return species;
}

void TypeElements::print(const std::vector<uq::Model> &models) const {
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
  for (size_t type = 1; type < elements_.size(); type++) {
    std::string number = std::to_string(type);
    number.insert(0, number.size() < 11 ? 11 - number.size() : 0, ' ');
    text += number + "  " + (elements_[type].empty() ? "NULL (skipped)" : elements_[type]) + "\n";
  }
  utils::logmesg(lmp, text);
}

void TypeElements::warn_of_masses() {
  std::vector<std::string> names;
  std::vector<double> masses;
  for (size_t type = 1; type < elements_.size() && atom->mass; type++)
    if (!elements_[type].empty()) {
      names.push_back(elements_[type]);
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
