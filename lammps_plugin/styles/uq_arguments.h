// SPDX-License-Identifier: GPL-2.0-or-later
// Keywords and values of a command. An error names the command, the keyword, the value found and
// what was expected.

#ifndef LMP_UQ_ARGUMENTS_H
#define LMP_UQ_ARGUMENTS_H

#include <string>

namespace LAMMPS_NS {

class UQArguments {
 public:
  // From arg[first] on; keywords: all that the command knows, separated by blanks.
  UQArguments(class LAMMPS *lmp, const char *command, const char *keywords, int first, int narg,
              char **arg)
      : lmp_(lmp), command_(command), keywords_(keywords), arg_(arg), at_(first), narg_(narg) {}

  // Moves to the next keyword, which is one of those known.
  bool next();
  bool is(const char *key) const { return key_ == key; }

  // The values of the keyword, or of `what`, one after the other.
  std::string word();
  bool choice(const char *no, const char *yes);
  double positive() { return number(true); }
  double not_negative() { return number(false); }
  double factor();    // above 1
  int count() { return integer("a whole number from 1"); }
  int integer(const char *expected, const char *zero = nullptr);    // zero: a word for 0
  int position(const char *what);    // a count that stands first in the command, without keyword

  [[noreturn]] void fail(const std::string &value, const std::string &expected) const;

 private:
  class LAMMPS *lmp_;
  std::string command_, keywords_, key_;
  char **arg_;
  int at_, narg_;

  double number(bool above);
};

}    // namespace LAMMPS_NS

#endif
