// SPDX-License-Identifier: GPL-2.0-or-later
// The nep.txt of GPUMD and NEP_CPU: a keyword on each of the first lines, then one number on each
// line. Versions differ in the header only; what the present ones no longer write is read too.

#include "core/families/nep/parameters.h"

#include "core/error.h"
#include "core/formats/text.h"
#include "core/math/elements.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <tuple>

using namespace uq;
using namespace uq::nep;

namespace {

// Lines with content, split into words.
class Lines {
 public:
  Lines(const std::string &file, std::string_view text) : file_(file), text_(text) {}

  // Reads the next line; false at the end of the file.
  bool next() {
    while (pos_ < text_.size()) {
      const size_t end = std::min(text_.find('\n', pos_), text_.size());
      const std::string_view line = text_.substr(pos_, end - pos_);
      pos_ = end + 1;
      line_++;
      split(line);
      if (!words_.empty()) return true;
    }
    return false;
  }

  // The next line, which must begin with a keyword and hold low .. high numbers.
  void expect(std::string_view key, size_t low, size_t high) {
    if (!next()) fail("the file ends where '" + std::string(key) + "' is expected");
    if (words_[0] != key)
      fail("found " + excerpt(words_[0]) + ", expected '" + std::string(key) + "'");
    if (size() < low || size() > high)
      fail("'" + std::string(key) + "' has " + std::to_string(size()) + " numbers, expected " +
           std::to_string(low) + (low < high ? " to " + std::to_string(high) : ""));
  }

  size_t size() const { return words_.size() - 1; }    // numbers behind the keyword
  std::string_view word(size_t n) const { return words_[n]; }
  double number(size_t n) const { return to_number(file_, line_, words_[n]); }
  int integer(size_t n, int low, int high) const {
    return to_integer(file_, line_, words_[n], low, high);
  }
  std::string element(size_t n) const {
    check_element(file_, line_, words_[n]);
    return std::string(words_[n]);
  }
  // A length, Å.
  double length(size_t n) const {
    const double value = number(n);
    if (value < 0.0 || value > 100.0)
      fail("found " + excerpt(words_[n]) + ", expected a length between 0 and 100 Å");
    return value;
  }

  // A line that holds one number and nothing else.
  double single(const char *what) {
    if (!next()) fail(std::string("the file ends where ") + what + " are expected");
    if (words_.size() != 1)
      fail("found " + std::to_string(words_.size()) + " words, expected one number (" + what + ")");
    return number(0);
  }
  std::vector<double> singles(size_t n, const char *what) {
    std::vector<double> values;    // grows as numbers are found: a false header asks for no memory
    for (size_t i = 0; i < n; i++) values.push_back(single(what));
    return values;
  }

  [[noreturn]] void fail(const std::string &message) const { fail_at(file_, line_, message); }
  void warn(const std::string &message, Parameters &potential) const {
    potential.warnings.push_back(file_ + ":" + std::to_string(line_) + ": " + message);
  }

 private:
  const std::string &file_;
  std::string_view text_;
  size_t pos_ = 0;
  int line_ = 0;
  std::vector<std::string_view> words_;

  void split(std::string_view line) {
    static constexpr std::string_view blanks = " \t\r";
    words_.clear();
    for (size_t at = 0; (at = line.find_first_not_of(blanks, at)) != line.npos;) {
      const size_t end = std::min(line.find_first_of(blanks, at), line.size());
      words_.push_back(line.substr(at, end - at));
      at = end;
    }
  }
};

struct Header {
  int version = 0;
  int gpumd = 0;    // 100 major + minor of the GPUMD that wrote the file; 0: not told
  bool zbl = false, flexible = false;
  double zbl_factor = 0.0;           // typewise: r_out = min((R_i + R_j) factor, r_out)
  double zbl_inner = 0.0;            // and r_in = this times r_out
  double r_in = 0.0, r_out = 0.0;    // Å
};

// Covalent radii of H .. Pu, 0.01 Å: P. Pyykkö, M. Atsumi, Chem. Eur. J. 15, 186 (2009), those of
// metals less 10 %, as S. Grimme et al., J. Chem. Phys. 132, 154104 (2010).
constexpr int radii[] = {
    32,  46,  120, 94,  77,  75,  71,  63,  64,  67,  140, 125, 113, 104, 110, 102, 99,  96,  176,
    154, 133, 122, 121, 110, 107, 104, 100, 99,  101, 109, 112, 109, 115, 110, 114, 117, 189, 167,
    147, 139, 132, 124, 115, 113, 113, 108, 115, 123, 128, 126, 126, 123, 132, 131, 209, 176, 162,
    147, 158, 157, 156, 155, 151, 152, 151, 150, 149, 149, 148, 153, 146, 137, 131, 123, 118, 116,
    111, 112, 113, 132, 130, 130, 136, 131, 138, 142, 201, 181, 167, 158, 152, 153, 154, 155};

// The radius that typewise cutoffs are made of: 4/3 of the covalent radius, to six digits.
double typewise_radius(const Lines &lines, const std::string &element) {
  const int z = atomic_number(element);
  if (z < 1 || z > static_cast<int>(std::size(radii)))
    lines.fail("element " + excerpt(element) +
               " has no radius for typewise cutoffs, expected H to Pu");
  const double radius = radii[z - 1] / 75.0, unit = radius < 1.0 ? 1e-6 : 1e-5;
  return std::round(radius / unit) * unit;
}

void read_species(Lines &lines, Header &header, Parameters &potential) {
  if (!lines.next()) lines.fail("the file is empty, expected nep3, nep4 or nep5");
  const std::string_view kind = lines.word(0),
                         suffix = kind.substr(std::min<size_t>(4, kind.size()));
  header.version = kind.size() > 3 ? kind[3] - '0' : 0;
  if (kind.substr(0, 3) != "nep" || header.version < 3 || header.version > 5)
    lines.fail("found " + excerpt(kind) + ", expected nep3, nep4 or nep5");
  for (const char *other : {"dipole", "polarizability", "temperature", "charge"})
    if (suffix.find(other) != suffix.npos)
      lines.fail(excerpt(kind) + " is a " + other +
                 " model, which pyuq does not evaluate; expected a plain potential (nep" +
                 std::to_string(header.version) + " or nep" + std::to_string(header.version) +
                 "_zbl)");
  header.zbl = suffix == "_zbl";
  if (!header.zbl && !suffix.empty())
    lines.fail("found " + excerpt(kind) + ", expected nep" + std::to_string(header.version) +
               " or nep" + std::to_string(header.version) + "_zbl");
  if (lines.size() < 1) lines.fail("the number of elements is missing");
  const int n = lines.integer(1, 1, max_species);
  if (lines.size() != 1 + static_cast<size_t>(n))
    lines.fail("found " + std::to_string(lines.size() - 1) + " elements, expected " +
               std::to_string(n));
  for (int i = 0; i < n; i++) {
    const std::string name = lines.element(2 + i);
    if (std::count(potential.elements.begin(), potential.elements.end(), name))
      lines.fail("element " + excerpt(name) + " appears twice");
    potential.elements.push_back(name);
  }
}

void read_zbl(Lines &lines, Header &header, const Parameters &potential) {
  lines.expect("zbl", 2, 3);
  for (const std::string &element : potential.elements)
    if (atomic_number(element) < 1)
      lines.fail("ZBL repulsion needs chemical elements; found " + excerpt(element));
  header.r_in = lines.length(1);
  header.r_out = lines.length(2);
  header.flexible = header.r_in == 0.0 && header.r_out == 0.0;
  if (!header.flexible && header.r_in >= header.r_out)
    lines.fail("zbl from " + excerpt(lines.word(1)) + " to " + excerpt(lines.word(2)) +
               ", expected an inner radius below the outer one");
  if (lines.size() == 3) header.zbl_factor = lines.number(3);
}

// `cutoff`: radial and angular, common or one pair for each species; sizes of neighbour lists
// behind them do not matter here. Eight words (2024): factors of typewise cutoffs at the end.
void read_cutoffs(Lines &lines, Header &header, Parameters &potential) {
  const int n = potential.nspecies();
  const size_t each = 2 * static_cast<size_t>(n) + 2;
  lines.expect("cutoff", 2, std::max<size_t>(7, each));
  const size_t found = lines.size();
  if (found != 2 && found != 4 && found != 7 && found != each)
    lines.fail("'cutoff' has " + std::to_string(found) + " numbers, expected 2, 4, 7 or " +
               std::to_string(each));
  const bool typewise = found == 7;
  std::vector<double> radius(n, 0.0);
  if (typewise && (lines.number(5) > 0.0 || lines.number(6) > 0.0))
    for (int i = 0; i < n; i++) radius[i] = typewise_radius(lines, potential.elements[i]);
  const auto fill = [&](size_t column, std::vector<double> &cutoffs) {
    for (int i = 0; i < n; i++)
      for (int j = 0; j < n; j++) {
        const size_t step = found == each ? 2 : 0;
        double cutoff = 0.5 * (lines.length(column + step * i) + lines.length(column + step * j));
        if (typewise && lines.number(4 + column) > 0.0)
          cutoff = std::min(cutoff, (radius[i] + radius[j]) * lines.number(4 + column));
        if (cutoff <= 0.0) lines.fail("found a cutoff of 0, expected a length above it");
        cutoffs.push_back(cutoff);
      }
  };
  fill(1, potential.radial_cutoff);
  fill(2, potential.angular_cutoff);
  if (typewise && lines.number(7) > 0.0) {
    header.zbl_factor = lines.number(7);
    header.zbl_inner = 0.5;
  }
}

// MAJOR.MINOR, and what may follow behind a further dot, as 100 major + minor.
int gpumd_version(const std::string &file, const std::string &text) {
  if (text.empty()) return 0;
  int parts[2] = {-1, -1};
  std::istringstream stream(text);
  char dot = 0;
  if (!(stream >> parts[0] >> dot >> parts[1]) || dot != '.' || parts[0] < 2 || parts[0] > 99 ||
      parts[1] < 0 || parts[1] > 99 || (!stream.eof() && stream.peek() != '.'))
    throw Error(file + ": gpumd = " + excerpt(text) +
                ", expected the version of GPUMD that wrote the file, such as 5.3");
  return 100 * parts[0] + parts[1];
}

// What the fourth flag means, by who wrote `l_max L a b c d`. GPUMD 5.3 (May 2026) writes always
// five numbers, a = 1 or 0 (2 of a training input of before) and d for 1122. From 5.4 on a = 2 or
// 0, numbers behind the third only where they are needed, and d for 123. Earlier versions write
// three.
Higher fourth_flag(const Lines &lines, const Header &header, Parameters &potential) {
  if (header.gpumd) return header.gpumd == 503 ? Q1122 : Q123;
  const int a = lines.integer(2, 0, 2);
  if (lines.size() != 5 || a == 2 || lines.integer(5, 0, 1) == 0) return Q123;
  const std::string hint = "; name the version behind the file, FILE:gpumd=5.3 or FILE:gpumd=5.4";
  if (a == 0)
    lines.fail("the fourth flag of 'l_max' is 1: GPUMD 5.3 writes it for q_1122, GPUMD 5.4 and "
               "later for q_123, and nothing in this file tells which" +
               hint);
  lines.warn("'l_max' has 1 as its second number and a fourth flag, as GPUMD 5.3 writes it: the "
             "flag is read as q_1122" +
                 hint + " (q_123)",
             potential);
  return Q1122;
}

// `l_max L` and flags of the higher invariants; that of 222 is 1 or 2.
void read_angular(Lines &lines, const Header &header, Parameters &potential) {
  lines.expect("l_max", 1, 7);
  potential.lmax = lines.integer(1, 0, max_l);
  const size_t most = header.gpumd == 0 || header.gpumd >= 504 ? 7 : header.gpumd == 503 ? 5 : 3;
  if (lines.size() > most)
    lines.fail("'l_max' has " + std::to_string(lines.size()) + " numbers, expected at most " +
               std::to_string(most) + " of the version of GPUMD that you named");
  for (size_t n = 2; n <= lines.size(); n++) {
    const bool set = lines.integer(n, 0, n == 2 ? 2 : 1) > 0;
    const Higher invariant = n == 5 ? fourth_flag(lines, header, potential) : Higher(n - 2);
    potential.higher[invariant] = set;
  }
  static constexpr int needs[nhigher] = {2, 1, 2, 3, 3, 4, 2};
  for (int h = 0; h < nhigher; h++)
    if (potential.higher[h] && potential.lmax < needs[h])
      lines.fail("l_max is " + excerpt(lines.word(1)) + ", expected " + std::to_string(needs[h]) +
                 " or more for the invariant asked for behind it");
}

void read_networks(Lines &lines, int version, Parameters &potential) {
  const size_t n = potential.neurons, dim = potential.dim();
  for (int i = 0; i < potential.nspecies(); i++) {
    if (version == 3 && i > 0) {    // one for all
      potential.networks.push_back(potential.networks[0]);
      continue;
    }
    Network network;
    network.w0 = lines.singles(n * dim, "weights of the hidden layer");
    network.b0 = lines.singles(n, "biases of the hidden layer");
    network.w1 = lines.singles(n, "weights of the output");
    if (version == 5) network.bias = lines.single("biases of the elements");
    potential.networks.push_back(std::move(network));
  }
  const double common = lines.single("the bias of the output");
  for (Network &network : potential.networks) network.bias += common;
}

void read_screening(Lines &lines, const Header &header, Parameters &potential) {
  const int n = potential.nspecies();
  std::vector<double> radius(n, 0.0);
  const bool typewise = !header.flexible && header.zbl_factor > 0.0;
  for (int i = 0; typewise && i < n; i++) radius[i] = typewise_radius(lines, potential.elements[i]);
  potential.zbl.assign(static_cast<size_t>(n) * n, Screening::universal(header.r_in, header.r_out));
  for (int i = 0; i < n; i++)
    for (int j = i; j < n; j++) {
      Screening &pair = potential.zbl[i * n + j];
      if (typewise) {
        pair.r_out = std::min((radius[i] + radius[j]) * header.zbl_factor, header.r_out);
        pair.r_in = header.zbl_inner * pair.r_out;
      }
      if (header.flexible) {
        const char *what = "ten numbers of the repulsion of each pair of elements";
        pair.r_in = lines.single(what);
        pair.r_out = lines.single(what);
        if (pair.r_in < 0.0 || pair.r_out <= pair.r_in || pair.r_out > 100.0)
          lines.fail("found repulsion up to " + std::to_string(pair.r_out) +
                     " Å, expected an outer radius above the inner one and below 100 Å");
        for (int p = 0; p < 4; p++) {
          pair.a[p] = lines.single(what);
          pair.b[p] = lines.single(what);
        }
      }
      potential.zbl[j * n + i] = pair;
    }
}

}    // namespace

int Hyperparameters::ninvariants() const {
  return lmax + static_cast<int>(std::count(higher.begin(), higher.end(), true));
}

bool Hyperparameters::operator==(const Hyperparameters &other) const {
  const auto all = [](const Hyperparameters &h) {
    return std::tie(h.elements, h.radial_cutoff, h.angular_cutoff, h.nradial, h.nangular,
                    h.radial_base, h.angular_base, h.lmax, h.higher, h.zbl);
  };
  return all(*this) == all(other);
}

Parameters nep::read_nep(const std::string &file, std::string_view text, const std::string &gpumd) {
  Lines lines(file, text);
  Parameters potential;
  Header header;
  header.gpumd = gpumd_version(file, gpumd);
  read_species(lines, header, potential);
  if (header.zbl) read_zbl(lines, header, potential);
  read_cutoffs(lines, header, potential);
  lines.expect("n_max", 2, 2);
  potential.nradial = lines.integer(1, 0, max_channels - 1) + 1;
  potential.nangular = lines.integer(2, 0, max_channels - 1) + 1;
  lines.expect("basis_size", 2, 2);
  potential.radial_base = lines.integer(1, 0, max_channels - 1) + 1;
  potential.angular_base = lines.integer(2, 0, max_channels - 1) + 1;
  read_angular(lines, header, potential);
  lines.expect("ANN", 2, 2);
  potential.neurons = lines.integer(1, 1, max_neurons);
  if (lines.integer(2, 0, max_neurons) > 0)
    lines.fail("ANN has a second hidden layer of " + std::string(lines.word(2)) +
               " neurons, which pyuq does not evaluate; expected 0, one hidden layer");

  read_networks(lines, header.version, potential);
  const size_t pairs = static_cast<size_t>(potential.nspecies()) * potential.nspecies();
  potential.radial_coefficients = lines.singles(pairs * potential.nradial * potential.radial_base,
                                                "coefficients of radial functions");
  potential.angular_coefficients = lines.singles(
      pairs * potential.nangular * potential.angular_base, "coefficients of angular functions");
  potential.scaler = lines.singles(potential.dim(), "scalers of the descriptors");
  if (header.zbl) read_screening(lines, header, potential);
  if (lines.next())
    lines.fail("found " + excerpt(lines.word(0)) + " behind the last number, expected the end");
  return potential;
}
