// SPDX-License-Identifier: GPL-2.0-or-later
// Reader of moment tensor potentials in the format of MLIP: `key = value` with nested lists in
// braces, a table of radial coefficients, and in .almtp files a binary active set behind the text.

#include "error.h"
#include "files/text.h"
#include "mtp/potential.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

using namespace uq;
using namespace uq::mtp;

namespace {

// Words of the text: separated by blanks, = and commas; each brace is a word of its own.
class Words {
 public:
  Words(const std::string &file, std::string_view text) : file_(file), text_(text) {}

  [[noreturn]] void fail(const std::string &message) const { fail_at(file_, line_, message); }

  // Empty at the end of the text.
  std::string_view next() {
    skip();
    size_t end = at_;
    if (end < text_.size() && brace(text_[end])) return text_.substr(at_++, 1);
    while (end < text_.size() && !blank(text_[end]) && !brace(text_[end])) end++;
    const std::string_view word = text_.substr(at_, end - at_);
    at_ = end;
    return word;
  }
  std::string_view peek() {
    const size_t at = at_;
    const int line = line_;
    const std::string_view word = next();
    at_ = at;
    line_ = line;
    return word;
  }
  bool ends() {
    skip();
    return at_ == text_.size();
  }
  void skip_line() { at_ = std::min(text_.find('\n', at_), text_.size()); }
  std::string_view rest() const { return text_.substr(at_); }

  void expect(std::string_view wanted) {
    const std::string_view word = next();
    if (word != wanted) fail("found " + excerpt(word) + ", expected " + std::string(wanted));
  }
  double number() { return to_number(file_, line_, next()); }
  int integer(int low, int high) { return to_integer(file_, line_, next(), low, high); }

 private:
  std::string file_;
  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;

  static bool brace(char c) { return c == '{' || c == '}'; }
  static bool blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '=' || c == ',';
  }
  void skip() {
    for (; at_ < text_.size() && blank(text_[at_]); at_++) line_ += text_[at_] == '\n';
  }
};

class Reader {
 public:
  Reader(const std::string &file, std::string_view text, const std::vector<std::string> &elements)
      : words_(file, text) {
    potential_.file = file;
    potential_.elements = elements;
  }

  Potential read() {
    words_.expect("MTP");
    words_.expect("version");
    if (const auto version = words_.next(); version != "1.1.0")
      words_.fail("version " + excerpt(version) + ", expected 1.1.0");
    while (!words_.ends() && words_.peek()[0] != '#') entry(words_.next());
    check();
    if (!words_.ends()) active_set();
    return std::move(potential_);
  }

 private:
  Words words_;
  Potential potential_;
  int nspecies_ = 0, nbasic_ = -1, nproducts_ = -1, nscalars_ = -1;
  std::set<std::string, std::less<>> seen_;

  void entry(std::string_view key);
  bool count(std::string_view key);
  void radial_type();
  void radial_table();
  std::string new_label(const std::string &pair, const std::vector<std::string> &labels);
  void basic_moments();
  void products();
  void mapping();
  void check();
  void active_set();
  std::vector<double> numbers(int n, const std::string &what);
};

// A list of n numbers in braces.
std::vector<double> Reader::numbers(int n, const std::string &what) {
  std::vector<double> values;
  words_.expect("{");
  while (words_.peek() != "}") {
    if (words_.ends()) words_.fail("the list " + what + " has no end");
    values.push_back(words_.number());
  }
  words_.next();
  if (static_cast<int>(values.size()) != n)
    words_.fail(what + " has " + std::to_string(values.size()) + " numbers, expected " +
                std::to_string(n));
  return values;
}

void Reader::entry(std::string_view key) {
  if (!seen_.emplace(key).second && key != "scaling")
    words_.fail("the entry " + excerpt(key) + " appears twice");
  if (key == "potential_name" || key == "potential_tag") return words_.skip_line();
  if (count(key)) return;
  if (key == "scaling") {
    potential_.scaling *= words_.number();    // of the potential and of the radial basis
  } else if (key == "radial_basis_type") {
    radial_type();
  } else if (key == "min_dist" || key == "min_val" || key == "min") {
    potential_.rmin = words_.number();
  } else if (key == "max_dist" || key == "max_val" || key == "max") {
    potential_.rmax = words_.number();
  } else if (key == "radial_coeffs") {
    radial_table();
  } else if (key == "alpha_index_basic") {
    basic_moments();
  } else if (key == "alpha_index_times") {
    products();
  } else if (key == "alpha_moment_mapping") {
    mapping();
  } else if (key == "species_coeffs") {
    potential_.species_coeffs = numbers(nspecies_, "species_coeffs");
  } else if (key == "moment_coeffs") {
    potential_.moment_coeffs = numbers(nscalars_, "moment_coeffs");
  } else if (key == "magnetic_basis_type" || key.find("mag") != key.npos) {
    words_.fail("magnetic moment tensor potentials (" + std::string(key) + ") are not supported");
  } else {
    words_.fail("unknown entry " + excerpt(key));
  }
}

// Entries that hold one integer.
bool Reader::count(std::string_view key) {
  if (key == "species_count") {
    nspecies_ = words_.integer(1, max_species);
    if (potential_.nspecies() != nspecies_)
      words_.fail("the file has " + std::to_string(nspecies_) + " species without names, but " +
                  std::to_string(potential_.nspecies()) +
                  " were given: name them all in the file's order, as in FILE:Mg,Bi,Sb");
    for (const std::string &name : potential_.elements)
      if (name.empty() ||
          std::count(potential_.elements.begin(), potential_.elements.end(), name) > 1)
        words_.fail("found " + excerpt(name) +
                    " among the names of the species, expected a name "
                    "of its own for each");
  } else if (key == "radial_basis_size" || key == "size") {
    potential_.nbasis = words_.integer(1, max_radial);
  } else if (key == "radial_funcs_count") {
    potential_.nradial = words_.integer(1, max_radial);
  } else if (key == "alpha_moments_count") {
    potential_.nmoments = words_.integer(1, max_moments);
  } else if (key == "alpha_index_basic_count") {
    nbasic_ = words_.integer(1, max_moments);
  } else if (key == "alpha_index_times_count") {
    nproducts_ = words_.integer(0, max_products);
  } else if (key == "alpha_scalar_moments") {
    nscalars_ = words_.integer(0, max_moments);
  } else {
    return false;
  }
  return true;
}

void Reader::radial_type() {
  const std::string_view type = words_.next();
  if (type != "RBChebyshev" && type != "RBChebyshev_repuls")
    words_.fail("radial_basis_type " + excerpt(type) +
                " is not supported, expected RBChebyshev or RBChebyshev_repuls");
  potential_.repulsive = type == "RBChebyshev_repuls";
}

// For each ordered pair a line `centre-neighbour` and a list for each radial function. MLIP-3
// labels species as its training set did, 1 and 2 or 13 and 29 for instance: their order counts.
void Reader::radial_table() {
  Potential &p = potential_;
  if (!nspecies_ || !p.nbasis || !p.nradial)
    words_.fail("radial_coeffs stands before species_count, radial_basis_size or "
                "radial_funcs_count");
  std::vector<std::string> labels;    // of the species, from the first row of pairs
  for (int pair = 0; pair < nspecies_ * nspecies_; pair++) {
    const std::string name(words_.next());
    const int i = pair / nspecies_, j = pair % nspecies_;
    if (i == 0) labels.push_back(new_label(name, labels));
    if (name != labels[i] + "-" + labels[j])
      words_.fail("found " + excerpt(name) + ", expected " + labels[i] + "-" + labels[j]);
    for (int mu = 0; mu < p.nradial; mu++) {
      const std::vector<double> row = numbers(p.nbasis, "radial_coeffs of " + name);
      p.radial.insert(p.radial.end(), row.begin(), row.end());
    }
  }
}

// The label of the next species out of `first-next`.
std::string Reader::new_label(const std::string &pair, const std::vector<std::string> &labels) {
  const size_t dash = std::min(pair.find('-'), pair.size());
  const std::string next = pair.substr(std::min(dash + 1, pair.size()));
  const bool number = !next.empty() && next.find_first_not_of("0123456789") == next.npos;
  if (!number || std::count(labels.begin(), labels.end(), next)) {
    const std::string wanted = labels.empty() ? "0-0" : labels[0] + "- and another species";
    words_.fail("found " + excerpt(pair) + ", expected " + wanted);
  }
  return next;
}

void Reader::basic_moments() {
  words_.expect("{");
  while (words_.peek() == "{") {
    words_.next();
    BasicMoment m;
    m.mu = words_.integer(0, std::max(0, potential_.nradial - 1));
    for (int *power : {&m.a, &m.b, &m.c}) *power = words_.integer(0, max_degree);
    if (m.a + m.b + m.c > max_degree)
      words_.fail("a basic moment has degree " + std::to_string(m.a + m.b + m.c) +
                  ", expected at most " + std::to_string(max_degree));
    words_.expect("}");
    potential_.basic.push_back(m);
  }
  words_.expect("}");
  if (static_cast<int>(potential_.basic.size()) != nbasic_)
    words_.fail("alpha_index_basic has " + std::to_string(potential_.basic.size()) +
                " entries, expected alpha_index_basic_count = " + std::to_string(nbasic_));
}

void Reader::products() {
  const int nbasic = static_cast<int>(potential_.basic.size()), n = potential_.nmoments;
  if (nbasic == 0 || n < nbasic)
    words_.fail("found " + std::to_string(nbasic) + " basic moments and alpha_moments_count = " +
                std::to_string(n) + " before alpha_index_times, expected 1 <= basic <= count");
  words_.expect("{");
  while (words_.peek() == "{") {
    words_.next();
    Product t;
    t.p = words_.integer(0, n - 1);
    t.q = words_.integer(0, n - 1);
    t.weight = words_.number();
    t.target = words_.integer(nbasic, n - 1);
    words_.expect("}");
    potential_.products.push_back(t);
  }
  words_.expect("}");
  if (static_cast<int>(potential_.products.size()) != nproducts_)
    words_.fail("alpha_index_times has " + std::to_string(potential_.products.size()) +
                " entries, expected alpha_index_times_count = " + std::to_string(nproducts_));
  if (n - nbasic > nproducts_)
    words_.fail("alpha_moments_count = " + std::to_string(n) + ", but only " +
                std::to_string(nproducts_) + " products make moments");
  // A moment must be complete before it enters a product.
  std::vector<int> last(n, -1);
  for (int t = 0; t < nproducts_; t++) last[potential_.products[t].target] = t;
  for (int t = 0; t < nproducts_; t++)
    for (int m : {potential_.products[t].p, potential_.products[t].q})
      if (last[m] >= t)
        words_.fail("entry " + std::to_string(t) + " of alpha_index_times uses moment " +
                    std::to_string(m) + " before it is complete");
}

void Reader::mapping() {
  words_.expect("{");
  while (words_.peek() != "}") {
    if (words_.ends()) words_.fail("the list alpha_moment_mapping has no end");
    potential_.scalars.push_back(words_.integer(0, potential_.nmoments - 1));
  }
  words_.next();
  if (static_cast<int>(potential_.scalars.size()) != nscalars_)
    words_.fail("alpha_moment_mapping has " + std::to_string(potential_.scalars.size()) +
                " entries, expected alpha_scalar_moments = " + std::to_string(nscalars_));
}

void Reader::check() {
  const Potential &p = potential_;
  for (const char *key : {"species_count", "radial_basis_type", "radial_funcs_count",
                          "alpha_index_basic", "alpha_index_times", "alpha_moment_mapping"})
    if (!seen_.count(key)) words_.fail(std::string("the entry ") + key + " is missing");
  for (const char *key : {"radial_coeffs", "species_coeffs", "moment_coeffs"})
    if (!seen_.count(key))
      words_.fail(std::string("the potential is untrained: it has no ") + key + "; train it first");
  if (!(p.rmin < p.rmax) || !(p.rmax > 0.0) || p.rmax > 1000.0)
    words_.fail("min_dist = " + std::to_string(p.rmin) + " and max_dist = " +
                std::to_string(p.rmax) + " Å, expected min_dist < max_dist, 0 < max_dist <= 1000");
  if (!std::isfinite(p.scaling)) words_.fail("the scaling is not finite");
}

// #MVS_v1.1, five weights, #, A and (Aᵀ)⁻¹ as little-endian doubles; what follows is a record of
// the selected configurations.
void Reader::active_set() {
  words_.expect("#MVS_v1.1");
  double weight[4];
  const char *const keys[] = {"energy_weight", "force_weight", "stress_weight", "site_en_weight"};
  for (int k = 0; k < 4; k++) {
    words_.expect(keys[k]);
    weight[k] = words_.number();
  }
  words_.expect("weight_scaling");
  words_.integer(0, 16);
  words_.skip_line();
  std::string_view rest = words_.rest();
  if (rest.substr(0, 2) != "\n#")
    words_.fail("expected a line that starts with # and the active set");
  rest.remove_prefix(2);
  const Potential &p = potential_;
  const size_t n = p.radial.size() + p.species_coeffs.size() + p.moment_coeffs.size();
  if (rest.size() / sizeof(double) / 2 / n < n)
    words_.fail("the active set ends after " + std::to_string(rest.size()) +
                " bytes, expected 2 matrices of " + std::to_string(n) + " rows");
  if (weight[3] == 0.0) return;    // grades of whole configurations only
  potential_.active_inverse.resize(n * n);
  std::memcpy(potential_.active_inverse.data(), rest.data() + n * n * sizeof(double),
              n * n * sizeof(double));
  for (double &x : potential_.active_inverse) {
    if (!std::isfinite(x)) words_.fail("the active set holds a number that is not finite");
    x *= weight[3];
  }
}

}    // namespace

Potential mtp::read_mtp(const std::string &file, std::string_view text,
                        const std::vector<std::string> &elements) {
  return Reader(file, text, elements).read();
}
