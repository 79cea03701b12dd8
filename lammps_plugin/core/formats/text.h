// SPDX-License-Identifier: GPL-2.0-or-later
// Small things that all text readers share: where an error happened, and numbers independent of the
// locale.

#ifndef UQ_FILES_TEXT_H
#define UQ_FILES_TEXT_H

#include <string>
#include <string_view>

namespace uq {

// Throws uq::Error "file:line: message".
[[noreturn]] void fail_at(const std::string &file, int line, const std::string &message);

// A piece of a file as it may appear in a message: short, printable.
std::string excerpt(std::string_view text);

// Names of elements are short and of letters and digits; otherwise fail_at().
void check_element(const std::string &file, int line, std::string_view name);

// The whole of `text` as a finite number or an integer in [low, high]; otherwise fail_at().
double to_number(const std::string &file, int line, std::string_view text);
int to_integer(const std::string &file, int line, std::string_view text, int low, int high);

}    // namespace uq

#endif
