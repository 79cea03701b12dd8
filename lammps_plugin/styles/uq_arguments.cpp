// SPDX-License-Identifier: GPL-2.0-or-later

#include "uq_arguments.h"

#include "error.h"
#include "lammps.h"
#include "utils.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <limits>

using namespace LAMMPS_NS;

bool UQArguments::next() {
  if (at_ >= narg_) return false;
  key_ = arg_[at_++];
  if ((" " + keywords_ + " ").find(" " + key_ + " ") == std::string::npos)
    lmp_->error->all(FLERR,
                     command_ + ": unknown keyword " + key_ + ", expected one of " + keywords_);
  return true;
}

std::string UQArguments::word() {
  if (at_ >= narg_) lmp_->error->all(FLERR, command_ + ": keyword " + key_ + " lacks its value");
  return arg_[at_++];
}

void UQArguments::fail(const std::string &value, const std::string &expected) const {
  lmp_->error->all(FLERR, command_ + ": " + key_ + " is " + value + ", expected " + expected);
}

bool UQArguments::choice(const char *no, const char *yes) {
  const std::string value = word();
  if (value != no && value != yes)
    fail(value, "`" + std::string(no) + "` or `" + std::string(yes) + "`");
  return value == yes;
}

double UQArguments::number(bool above) {
  const std::string value = word();
  const char *const expected = above ? "a number above 0" : "a number of 0 or more";
  if (!utils::is_double(value)) fail(value, expected);
  const double x = std::strtod(value.c_str(), nullptr);
  if (!std::isfinite(x) || x < 0.0 || (above && x == 0.0)) fail(value, expected);
  return x;
}

double UQArguments::factor() {
  const double x = number(true);
  if (x <= 1.0) fail(arg_[at_ - 1], "a number above 1");
  return x;
}

int UQArguments::integer(const char *expected, const char *zero) {
  const std::string value = word();
  if (zero && value == zero) return 0;
  errno = 0;
  const long n = utils::is_integer(value) ? std::strtol(value.c_str(), nullptr, 10) : 0;
  if (n < 1 || errno || n > std::numeric_limits<int>::max()) fail(value, expected);
  return static_cast<int>(n);
}

int UQArguments::position(const char *what) {
  key_ = what;
  return count();
}
