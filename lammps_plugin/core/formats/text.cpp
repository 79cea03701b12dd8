// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/formats/text.h"

#include "core/error.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

using namespace uq;

void uq::fail_at(const std::string &file, int line, const std::string &message) {
  throw Error(file + ":" + std::to_string(line) + ": " + message);
}

std::string uq::excerpt(std::string_view text) {
  static constexpr size_t longest = 40;
  std::string s = "'";
  for (char c : text.substr(0, longest)) s += c >= ' ' && c <= '~' ? c : '?';
  return s + (text.size() > longest ? "...'" : "'");
}

void uq::check_element(const std::string &file, int line, std::string_view name) {
  const bool plain = !name.empty() && name.size() <= 8 &&
                     std::all_of(name.begin(), name.end(),
                                 [](unsigned char c) { return c < 128 && std::isalnum(c); });
  if (!plain)
    fail_at(file, line,
            "found the element " + excerpt(name) + ", expected a short name of letters and digits");
}

double uq::to_number(const std::string &file, int line, std::string_view text) {
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range && end == text.data() + text.size()) {
    // An underflow is a zero; an overflow is not a number to compute with.
    if (text.find("e-") != text.npos || text.find("E-") != text.npos) return 0.0;
  }
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    fail_at(file, line, "found " + excerpt(text) + ", expected a finite number");
  return value;
}

int uq::to_integer(const std::string &file, int line, std::string_view text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high)
    fail_at(file, line,
            "found " + excerpt(text) + ", expected an integer between " + std::to_string(low) +
                " and " + std::to_string(high));
  return value;
}
