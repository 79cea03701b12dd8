// SPDX-License-Identifier: GPL-2.0-or-later
// The one exception type of the core. The message says what was wrong, the value found, what was
// expected.

#ifndef UQ_ERROR_H
#define UQ_ERROR_H

#include <stdexcept>
#include <string>

namespace uq {

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string &what) : std::runtime_error(what) {}
};

}    // namespace uq

#endif
