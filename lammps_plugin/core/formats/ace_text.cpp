// SPDX-License-Identifier: GPL-2.0-or-later
// The legacy plain-text .ace format: keys and numbers in a fixed order, one bond block for each
// pair of elements.

#include "core/families/ace/parameters.h"
#include "core/formats/text.h"

#include <cmath>

using namespace uq;
using namespace uq::ace;

namespace {

// Words between separators; `expect` steps over keys word by word.
class Words {
 public:
  Words(const std::string &file, std::string_view text) : file_(file), text_(text) {}

  std::string_view next() {
    skip();
    const size_t start = pos_;
    while (pos_ < text_.size() && !separator(text_[pos_])) pos_++;
    if (pos_ == start) fail_at(file_, line_, "the file ends where more is expected");
    return text_.substr(start, pos_ - start);
  }

  void expect(std::string_view key) {
    size_t at = 0;
    while (at < key.size()) {
      const size_t end = std::min(key.find(' ', at), key.size());
      const std::string_view word = key.substr(at, end - at), found = next();
      if (found != word)
        fail_at(file_, line_, "found " + excerpt(found) + ", expected '" + std::string(key) + "'");
      at = end + 1;
    }
  }

  // Whether the next word is this one.
  bool at(std::string_view word) {
    skip();
    const std::string_view rest = text_.substr(pos_);
    return rest.substr(0, word.size()) == word &&
           (rest.size() == word.size() || separator(rest[word.size()]));
  }

  double number() { return (skip(), to_number(file_, line_, next())); }
  int integer(int low, int high) { return (skip(), to_integer(file_, line_, next(), low, high)); }
  int line() const { return line_; }

 private:
  const std::string &file_;
  std::string_view text_;
  size_t pos_ = 0;
  int line_ = 1;

  static bool separator(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '=' || c == ':' || c == '(' ||
           c == ')' || c == '<' || c == '>';
  }

  void skip() {
    while (pos_ < text_.size() && (separator(text_[pos_]) || text_[pos_] == '#')) {
      if (text_[pos_] == '#') {
        while (pos_ < text_.size() && text_[pos_] != '\n') pos_++;
        continue;
      }
      if (text_[pos_] == '\n') line_++;
      pos_++;
    }
  }
};

void read_bonds(const std::string &file, Words &words, int lmax, Parameters &potential) {
  Bond bond;
  bond.lmax = lmax;
  words.expect("radbasename");
  const std::string name(words.next());
  bond.basis = radial_basis(file, words.line(), name);
  if (bond.basis == RadialBasis::Table)
    fail_at(file, words.line(), "radbasename ACE.jl belongs to .yace files, not to .ace");
  words.expect("nradbase");
  bond.nbase = words.integer(1, max_channels);
  words.expect("nradmax");
  bond.nradmax = words.integer(0, max_channels);
  words.expect("cutoffmax");
  words.number();
  words.expect("deltaSplineBins");
  potential.spline_step = words.number();
  potential.bonds.assign(potential.elements.size() * potential.elements.size(), bond);
  words.expect("core repulsion parameters");
  for (Bond &b : potential.bonds) {
    b.prehc = words.number();
    b.lambdahc = words.number();
  }
  words.expect("radparameter");
  for (Bond &b : potential.bonds) b.lambda = words.number();
  words.expect("cutoff");
  for (Bond &b : potential.bonds) b.rcut = words.number();
  words.expect("dcut");
  for (Bond &b : potential.bonds) b.dcut = words.number();
  words.expect("crad");
  for (Bond &b : potential.bonds) {
    std::vector<double> file_order;    // [k][n][l]
    for (int i = 0; i < b.nbase * b.nradmax * (b.lmax + 1); i++)
      file_order.push_back(words.number());
    for (int n = 0; n < b.nradmax; n++)
      for (int l = 0; l <= b.lmax; l++)
        for (int k = 0; k < b.nbase; k++)
          b.crad.push_back(file_order[(static_cast<size_t>(k) * b.nradmax + n) * (b.lmax + 1) + l]);
  }
}

void read_function(const std::string &file, Words &words, Parameters &potential) {
  words.expect("ctilde_basis_func rank");
  Function f;
  f.rank = words.integer(1, max_rank);
  words.expect("ndens");
  const int ndensity = words.integer(1, max_densities);
  words.expect("mu0");
  Species &species = potential.species[words.integer(0, potential.nelements() - 1)];
  if (ndensity != static_cast<int>(species.densities.size()))
    fail_at(file, words.line(),
            "ndens = " + std::to_string(ndensity) + " differs from the embedding's " +
                std::to_string(species.densities.size()));
  words.expect("mu");
  for (int t = 0; t < f.rank; t++) f.mus.push_back(words.integer(0, potential.nelements() - 1));
  words.expect("n");
  for (int t = 0; t < f.rank; t++) f.ns.push_back(words.integer(1, max_channels) - 1);
  words.expect("l");
  for (int t = 0; t < f.rank; t++) f.ls.push_back(words.integer(0, max_l));
  words.expect("num_ms");
  const int combinations = words.integer(0, 1 << 24);
  for (int c = 0; c < combinations; c++) {
    for (int t = 0; t < f.rank; t++) f.ms.push_back(words.integer(-f.ls[t], f.ls[t]));
    for (int p = 0; p < ndensity; p++) f.coefficients.push_back(words.number());
  }
  species.functions.push_back(std::move(f));
}

}    // namespace

Parameters ace::read_ace(const std::string &file, std::string_view text) {
  Words words(file, text);
  Parameters potential;
  words.expect("nelements");
  const int ne = words.integer(1, max_elements);
  words.expect("elements");
  for (int i = 0; i < ne; i++) potential.elements.emplace_back(words.next());
  words.expect("lmax");
  const int lmax = words.integer(0, max_l);
  Species species;    // without a name of its embedding, which only a linear one may leave out
  const bool named = words.at("embedding-function");
  if (named) {
    words.expect("embedding-function");
    const std::string name(words.next());
    species.embedding = embedding(file, words.line(), name);
  }
  const int nparameters = words.integer(2, 2 * max_densities);
  words.expect("FS parameters");
  for (int p = 0; p < nparameters / 2; p++) {
    species.densities.emplace_back();
    species.densities.back().weight = words.number();
    species.densities.back().exponent = words.number();
    if (!named && species.densities.back().exponent != 1.0)
      fail_at(file, words.line(),
              "the embedding is not linear, but no line 'embedding-function:' names it; expected "
              "FinnisSinclair or FinnisSinclairShiftedScaled");
  }
  words.expect("core energy-cutoff parameters");
  potential.species.assign(ne, species);
  for (int i = 0; i < ne; i++) {    // one pair of numbers for each element, or for all
    Species &s = potential.species[i];
    const bool all = i > 0 && (words.at("E0") || words.at("radbasename"));
    s.rho_core_cutoff = all ? potential.species[0].rho_core_cutoff : words.number();
    s.drho_core_cutoff = all ? potential.species[0].drho_core_cutoff : words.number();
  }
  if (words.at("E0")) {    // else all are zero
    words.expect("E0");
    for (Species &s : potential.species) s.e0 = words.number();
  }
  read_bonds(file, words, lmax, potential);
  words.expect("rankmax");
  words.integer(1, max_rank);
  words.expect("ndensitymax");
  words.integer(1, max_densities);
  words.expect("num_c_tilde_max");
  words.integer(0, 1 << 30);
  words.expect("num_ms_combinations_max");
  words.integer(0, 1 << 30);
  for (const char *key : {"total_basis_size_rank1", "total_basis_size"}) {
    words.expect(key);
    std::vector<int> counts;
    for (int i = 0; i < ne; i++) counts.push_back(words.integer(0, 1 << 24));
    for (int i = 0; i < ne; i++)
      for (int k = 0; k < counts[i]; k++) read_function(file, words, potential);
  }
  check(file, potential);
  return potential;
}
