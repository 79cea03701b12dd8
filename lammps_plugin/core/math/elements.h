// SPDX-License-Identifier: GPL-2.0-or-later

#ifndef UQ_MATH_ELEMENTS_H
#define UQ_MATH_ELEMENTS_H

#include <string>
#include <vector>

namespace uq {

// Atomic number of a chemical symbol; 0 if there is none.
int atomic_number(const std::string &symbol);

// What speaks against these masses (g/mol) of these elements: one that is another's of them, or
// farther off than isotopes are. Isotopes, deuterium and tritium among them, pass. Hydrogen that
// has taken mass from its neighbours is worth a warning, not wrong.
struct MassCheck {
  std::string message;    // empty: nothing
  bool wrong = false;
};
MassCheck check_masses(const std::vector<std::string> &elements, const std::vector<double> &masses);

}    // namespace uq

#endif
