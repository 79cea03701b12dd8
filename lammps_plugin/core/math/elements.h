// SPDX-License-Identifier: GPL-2.0-or-later

#ifndef UQ_MATH_ELEMENTS_H
#define UQ_MATH_ELEMENTS_H

#include <string>

namespace uq {

// Atomic number of a chemical symbol; 0 if there is none.
int atomic_number(const std::string &symbol);

}    // namespace uq

#endif
