// SPDX-License-Identifier: GPL-2.0-or-later
// The element of each atom type, as pair_coeff names them, and what models make of them: species,
// the table that is printed, and warnings.

#ifndef LMP_TYPE_ELEMENTS_H
#define LMP_TYPE_ELEMENTS_H

#include "pointers.h"

#include "core/model/model.h"
#include "uq_files.h"

#include <string>
#include <vector>

namespace LAMMPS_NS {

class TypeElements : protected Pointers {
 public:
  explicit TypeElements(LAMMPS *lmp) : Pointers(lmp) {}

  // map [ntypes + 1]: type → index of elements, -1: NULL
  void set(const int *map, char **elements);

  std::string rule() const;    // which arguments of pair_coeff are elements, for errors
  // A model given twice would count twice in the mean and make the spread too small.
  void refuse_repetition(const std::vector<UQModelFile> &files) const;
  // LAMMPS type → species of the model, -1: NULL
  std::vector<int> species_of_types(const uq::Model &model) const;
  void print(const std::vector<uq::Model> &models) const;    // with the models' warnings
  // Elements in another order than the types of a data file: the numbers would be another
  // material's.
  void warn_of_masses();

 private:
  std::vector<std::string> elements_;    // [ntypes + 1]; "": NULL
  std::string masses_warned_;            // what has been said of them
};

}    // namespace LAMMPS_NS

#endif
