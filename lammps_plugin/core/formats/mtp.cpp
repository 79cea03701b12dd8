// SPDX-License-Identifier: GPL-2.0-or-later
// Reader of moment tensor potentials in the format of MLIP: `key = value` with nested lists in
// braces, a table of radial coefficients, and in .almtp files a binary active set behind the text.

#include "core/error.h"
#include "core/families/mtp/parameters.h"
#include "core/formats/text.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

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
  int line() const { return line_; }    // of the latest word

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

// Entries in the order of the file, each with its line; sizes are compared when all are known.
struct Entry {
  int line = 0;
  std::vector<double> values;
};

// A key under the name that the messages use: some have another one in other versions of MLIP.
std::string_view common_name(std::string_view key) {
  if (key == "min_val" || key == "min") return "min_dist";
  if (key == "max_val" || key == "max") return "max_dist";
  if (key == "size") return "radial_basis_size";
  return key;
}

class Reader {
 public:
  Reader(const std::string &file, std::string_view text, const std::vector<std::string> &elements)
      : file_(file), words_(file, text) {
    potential_.file = file;
    potential_.elements = elements;
  }

  Parameters read() {
    words_.expect("MTP");
    words_.expect("version");
    if (const auto version = words_.next(); version != "1.1.0")
      words_.fail("version " + excerpt(version) + ", expected 1.1.0");
    while (!words_.ends() && words_.peek()[0] != '#') entry(words_.next());
    check_presence();
    check_species();
    check_radial();
    check_moments();
    check_products();
    check_coefficients();
    if (!words_.ends()) active_set();
    return std::move(potential_);
  }

 private:
  // One block of radial coefficients: `centre-neighbour` and a list for each radial function.
  struct Pair {
    int line = 0;
    std::string label;
    std::vector<Entry> rows;
  };

  std::string file_;
  Words words_;
  Parameters potential_;
  std::map<std::string, int, std::less<>> lines_;    // of the entries, by name
  std::map<std::string, int, std::less<>> counts_;
  std::vector<Pair> pairs_;
  std::vector<int> moment_lines_, product_lines_;
  Entry mapping_, species_, moments_;

  void entry(std::string_view key);
  bool count(std::string_view key);
  void radial_type();
  void radial_table();
  std::string new_label(const Pair &pair, const std::vector<std::string> &labels) const;
  void basic_moments();
  void products();
  void check_presence() const;
  void check_species() const;
  void check_radial();
  void check_moments();
  void check_products() const;
  void check_coefficients();
  void active_set();
  Entry numbers(std::string_view what);

  int line(std::string_view key) const { return lines_.find(key)->second; }
  int count_of(const char *key) const { return counts_.find(key)->second; }
  [[noreturn]] void fail(int line, const std::string &message) const {
    fail_at(file_, line, message);
  }
  void compare(const std::string &what, int line, size_t found, const char *key) const {
    if (found != static_cast<size_t>(count_of(key)))
      fail(line, what + " has " + std::to_string(found) + " entries, expected " + key + " = " +
                     std::to_string(count_of(key)));
  }
};

// A list of numbers in braces.
Entry Reader::numbers(std::string_view what) {
  Entry list;
  words_.expect("{");
  list.line = words_.line();
  while (words_.peek() != "}") {
    if (words_.ends()) words_.fail("the list " + std::string(what) + " has no end");
    list.values.push_back(words_.number());
  }
  words_.next();
  return list;
}

void Reader::entry(std::string_view given) {
  // Two factors are multiplied: that of the potential, and one of the radial basis behind its type.
  const bool of_basis = given == "scaling" && lines_.count("radial_basis_type");
  const std::string key(of_basis ? "scaling of the radial basis" : common_name(given));
  if (const auto [at, first] = lines_.emplace(key, words_.line()); !first)
    words_.fail("the entry " + excerpt(key) + " appears twice, here and on line " +
                std::to_string(at->second));
  if (key == "potential_name" || key == "potential_tag") return words_.skip_line();
  if (count(key)) return;
  if (given == "scaling") {
    potential_.scaling *= words_.number();
  } else if (key == "radial_basis_type") {
    radial_type();
  } else if (key == "min_dist") {
    potential_.rmin = words_.number();
  } else if (key == "max_dist") {
    potential_.rmax = words_.number();
  } else if (key == "radial_coeffs") {
    radial_table();
  } else if (key == "alpha_index_basic") {
    basic_moments();
  } else if (key == "alpha_index_times") {
    products();
  } else if (key == "alpha_moment_mapping") {
    mapping_ = numbers(key);
  } else if (key == "species_coeffs") {
    species_ = numbers(key);
  } else if (key == "moment_coeffs") {
    moments_ = numbers(key);
  } else if (key.find("mag") != key.npos) {
    words_.fail("magnetic moment tensor potentials (" + key + ") are not supported");
  } else {
    words_.fail("unknown entry " + excerpt(key));
  }
}

// Entries that hold one integer.
bool Reader::count(std::string_view key) {
  static const std::map<std::string_view, std::pair<int, int>> limits = {
      {"species_count", {1, max_species}},           {"radial_basis_size", {1, max_radial}},
      {"radial_funcs_count", {1, max_radial}},       {"alpha_moments_count", {1, max_moments}},
      {"alpha_index_basic_count", {1, max_moments}}, {"alpha_index_times_count", {0, max_products}},
      {"alpha_scalar_moments", {0, max_moments}}};
  const auto found = limits.find(key);
  if (found == limits.end()) return false;
  counts_.emplace(key, words_.integer(found->second.first, found->second.second));
  return true;
}

void Reader::radial_type() {
  const std::string_view type = words_.next();
  if (type != "RBChebyshev" && type != "RBChebyshev_repuls")
    words_.fail("radial_basis_type " + excerpt(type) +
                " is not supported, expected RBChebyshev or RBChebyshev_repuls");
  potential_.repulsive = type == "RBChebyshev_repuls";
}

// For each ordered pair a line `centre-neighbour` and a list for each radial function.
void Reader::radial_table() {
  while (words_.peek().find('-') != std::string_view::npos) {
    Pair pair;
    pair.label = words_.next();
    pair.line = words_.line();
    while (words_.peek() == "{")
      pair.rows.push_back(numbers("radial_coeffs of " + excerpt(pair.label)));
    pairs_.push_back(std::move(pair));
  }
}

void Reader::basic_moments() {
  words_.expect("{");
  while (words_.peek() == "{") {
    words_.next();
    BasicMoment m;
    m.mu = words_.integer(0, max_radial - 1);
    for (int *power : {&m.a, &m.b, &m.c}) *power = words_.integer(0, max_degree);
    if (m.a + m.b + m.c > max_degree)
      words_.fail("a basic moment has degree " + std::to_string(m.a + m.b + m.c) +
                  ", expected at most " + std::to_string(max_degree));
    moment_lines_.push_back(words_.line());
    words_.expect("}");
    potential_.basic.push_back(m);
  }
  words_.expect("}");
}

void Reader::products() {
  words_.expect("{");
  while (words_.peek() == "{") {
    words_.next();
    Product t;
    t.p = words_.integer(0, max_moments - 1);
    t.q = words_.integer(0, max_moments - 1);
    t.weight = words_.number();
    t.target = words_.integer(0, max_moments - 1);
    product_lines_.push_back(words_.line());
    words_.expect("}");
    potential_.products.push_back(t);
  }
  words_.expect("}");
}

// ---------------------------------------------------------------------- when all is read

void Reader::check_presence() const {
  for (const char *key : {"radial_coeffs", "species_coeffs", "moment_coeffs"})
    if (!lines_.count(key))
      words_.fail(std::string("the potential is untrained: it has no ") + key + "; train it first");
  for (const char *key : {"species_count", "radial_basis_type", "min_dist", "max_dist",
                          "radial_basis_size", "radial_funcs_count", "alpha_moments_count",
                          "alpha_index_basic_count", "alpha_index_basic", "alpha_index_times_count",
                          "alpha_index_times", "alpha_scalar_moments", "alpha_moment_mapping"})
    if (!lines_.count(key)) words_.fail(std::string("the entry ") + key + " is missing");
}

void Reader::check_species() const {
  const std::vector<std::string> &names = potential_.elements;
  const int n = count_of("species_count");
  if (static_cast<size_t>(n) != names.size())
    fail(line("species_count"),
         "the file has " + std::to_string(n) + " species without names, but " +
             std::to_string(names.size()) +
             " were given: name them all in the file's order, as in FILE:Mg,Bi,Sb");
  for (const std::string &name : names)
    if (name.empty() || std::count(names.begin(), names.end(), name) > 1)
      fail(line("species_count"), "found " + excerpt(name) +
                                      " among the names of the species, expected a name of its own "
                                      "for each");
}

// MLIP-3 labels species as its training set did, 1 and 2 or 13 and 29 for instance: their order
// counts.
void Reader::check_radial() {
  Parameters &p = potential_;
  p.nbasis = count_of("radial_basis_size");
  p.nradial = count_of("radial_funcs_count");
  if (!(p.rmin < p.rmax) || !(p.rmax > 0.0) || p.rmax > 1000.0)
    fail(line("max_dist"), "min_dist = " + std::to_string(p.rmin) +
                               " and max_dist = " + std::to_string(p.rmax) +
                               " Å, expected min_dist < max_dist, 0 < max_dist <= 1000");
  if (!std::isfinite(p.scaling)) fail(line("scaling"), "the product of the two scalings overflows");
  const size_t n = p.nspecies();
  std::vector<std::string> labels;    // of the species, from the first row of pairs
  for (size_t k = 0; k < pairs_.size() && k < n * n; k++) {
    const Pair &pair = pairs_[k];
    const size_t i = k / n, j = k % n;
    if (i == 0) labels.push_back(new_label(pair, labels));
    if (pair.label != labels[i] + "-" + labels[j])
      fail(pair.line, "found " + excerpt(pair.label) + ", expected " + labels[i] + "-" + labels[j]);
    compare("radial_coeffs of " + excerpt(pair.label), pair.line, pair.rows.size(),
            "radial_funcs_count");
    for (const Entry &row : pair.rows) {
      compare("a list of radial_coeffs of " + excerpt(pair.label), row.line, row.values.size(),
              "radial_basis_size");
      p.radial.insert(p.radial.end(), row.values.begin(), row.values.end());
    }
  }
  if (pairs_.size() != n * n)
    fail(pairs_.empty() ? line("radial_coeffs") : pairs_.back().line,
         "radial_coeffs has " + std::to_string(pairs_.size()) +
             " pairs of species, expected species_count squared = " + std::to_string(n * n));
}

// The label of the next species out of `first-next`.
std::string Reader::new_label(const Pair &pair, const std::vector<std::string> &labels) const {
  const std::string next = pair.label.substr(pair.label.find('-') + 1);
  const bool number = !next.empty() && next.find_first_not_of("0123456789") == next.npos;
  if (!number || std::count(labels.begin(), labels.end(), next)) {
    const std::string wanted = labels.empty() ? "0-0" : labels[0] + "- and another species";
    fail(pair.line, "found " + excerpt(pair.label) + ", expected " + wanted);
  }
  return next;
}

void Reader::check_moments() {
  Parameters &p = potential_;
  compare("alpha_index_basic", line("alpha_index_basic"), p.basic.size(),
          "alpha_index_basic_count");
  for (size_t k = 0; k < p.basic.size(); k++)
    if (p.basic[k].mu >= p.nradial)
      fail(moment_lines_[k], "entry " + std::to_string(k) +
                                 " of alpha_index_basic uses radial function " +
                                 std::to_string(p.basic[k].mu) +
                                 ", expected an integer between 0 and radial_funcs_count - 1 = " +
                                 std::to_string(p.nradial - 1));
  p.nmoments = count_of("alpha_moments_count");
  if (static_cast<size_t>(p.nmoments) < p.basic.size())
    fail(line("alpha_moments_count"), "found " + std::to_string(p.basic.size()) +
                                          " basic moments and alpha_moments_count = " +
                                          std::to_string(p.nmoments) + ", expected basic <= count");
  compare("alpha_moment_mapping", mapping_.line, mapping_.values.size(), "alpha_scalar_moments");
  for (double moment : mapping_.values) {
    if (moment != std::floor(moment) || moment < 0.0 || moment >= p.nmoments)
      fail(mapping_.line, "alpha_moment_mapping holds " + std::to_string(moment) +
                              ", expected integers between 0 and alpha_moments_count - 1 = " +
                              std::to_string(p.nmoments - 1));
    p.scalars.push_back(static_cast<int>(moment));
  }
}

// A moment must be complete before it enters a product.
void Reader::check_products() const {
  const Parameters &p = potential_;
  const int nbasic = static_cast<int>(p.basic.size()), n = p.nmoments;
  compare("alpha_index_times", line("alpha_index_times"), p.products.size(),
          "alpha_index_times_count");
  if (static_cast<size_t>(n - nbasic) > p.products.size())
    fail(line("alpha_moments_count"), "alpha_moments_count = " + std::to_string(n) + ", but only " +
                                          std::to_string(p.products.size()) +
                                          " products make moments");
  const auto refuse = [&](size_t t, const std::string &what) {
    fail(product_lines_[t], "entry " + std::to_string(t) + " of alpha_index_times " + what);
  };
  std::vector<size_t> last(n, 0);    // the product that completes a moment, from 1
  for (size_t t = 0; t < p.products.size(); t++) {
    const Product &product = p.products[t];
    if (std::max(product.p, product.q) >= n || product.target >= n || product.target < nbasic)
      refuse(t, "is {" + std::to_string(product.p) + ", " + std::to_string(product.q) + ", .., " +
                    std::to_string(product.target) + "}, expected factors between 0 and " +
                    std::to_string(n - 1) + " and a result between " + std::to_string(nbasic) +
                    " and " + std::to_string(n - 1));
    last[product.target] = t + 1;
  }
  for (size_t t = 0; t < p.products.size(); t++)
    for (int m : {p.products[t].p, p.products[t].q})
      if (last[m] > t) refuse(t, "uses moment " + std::to_string(m) + " before it is complete");
}

void Reader::check_coefficients() {
  compare("species_coeffs", species_.line, species_.values.size(), "species_count");
  compare("moment_coeffs", moments_.line, moments_.values.size(), "alpha_scalar_moments");
  potential_.species_coeffs = std::move(species_.values);
  potential_.moment_coeffs = std::move(moments_.values);
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
  const Parameters &p = potential_;
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

Parameters mtp::read_mtp(const std::string &file, std::string_view text,
                         const std::vector<std::string> &elements) {
  return Reader(file, text, elements).read();
}
