// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/math/elements.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace {

constexpr const char *SYMBOLS[] = {
    "H",  "He", "Li", "Be", "B",  "C",  "N",  "O",  "F",  "Ne", "Na", "Mg", "Al", "Si", "P",
    "S",  "Cl", "Ar", "K",  "Ca", "Sc", "Ti", "V",  "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn",
    "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y",  "Zr", "Nb", "Mo", "Tc", "Ru", "Rh",
    "Pd", "Ag", "Cd", "In", "Sn", "Sb", "Te", "I",  "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd",
    "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W",  "Re",
    "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th",
    "Pa", "U",  "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md", "No", "Lr", "Rf", "Db",
    "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"};

// Standard atomic weights, g/mol; of elements without stable isotopes one isotope's.
constexpr double MASSES[] = {
    1.008,     4.002602,  6.94,      9.0121831, 10.81,     12.011,    14.007,    15.999,
    18.998403, 20.1797,   22.989769, 24.305,    26.981538, 28.085,    30.973762, 32.06,
    35.45,     39.948,    39.0983,   40.078,    44.955908, 47.867,    50.9415,   51.9961,
    54.938044, 55.845,    58.933194, 58.6934,   63.546,    65.38,     69.723,    72.63,
    74.921595, 78.971,    79.904,    83.798,    85.4678,   87.62,     88.90584,  91.224,
    92.90637,  95.95,     97.90721,  101.07,    102.9055,  106.42,    107.8682,  112.414,
    114.818,   118.71,    121.76,    127.6,     126.90447, 131.293,   132.90545, 137.327,
    138.90547, 140.116,   140.90766, 144.242,   144.91276, 150.36,    151.964,   157.25,
    158.92535, 162.5,     164.93033, 167.259,   168.93422, 173.054,   174.9668,  178.49,
    180.94788, 183.84,    186.207,   190.23,    192.217,   195.084,   196.96657, 200.592,
    204.38,    207.2,     208.9804,  208.98243, 209.98715, 222.01758, 223.01974, 226.02541,
    227.02775, 232.0377,  231.03588, 238.02891, 237.04817, 244.06421, 243.06138, 247.07035,
    247.07031, 251.07959, 252.083,   257.09511, 258.09843, 259.101,   262.11,    267.122,
    268.126,   271.134,   270.133,   269.1338,  278.156,   281.165,   281.166,   285.177,
    286.182,   289.19,    289.194,   293.204,   293.208,   294.214};

constexpr double HYDROGEN = 1.008, TRITIUM = 3.1, REPARTITIONED = 4.1;    // g/mol
constexpr double ISOTOPES = 0.25;     // part of its mass by which an isotope may be off
constexpr double SAME = 0.003;        // off by less: the mass of that element
constexpr double DIFFERENT = 0.01;    // off by more: not the mass of its own element

double mass_of(const std::string &symbol) {
  const int number = uq::atomic_number(symbol);
  return number ? MASSES[number - 1] : 0.0;
}

bool close(double mass, double expected, double tolerance) {
  return std::abs(mass - expected) <= tolerance * expected;
}

bool is_isotope(const std::string &symbol, double mass) {
  if (symbol == "H") return mass > 0.99 && mass < TRITIUM;
  return close(mass, mass_of(symbol), ISOTOPES);
}

// Which of the elements has this mass, or else any; empty: none.
std::string owner_of(double mass, const std::vector<std::string> &elements) {
  for (const std::string &element : elements)
    if (close(mass, mass_of(element), SAME)) return element;
  for (size_t n = 0; n < std::size(MASSES); n++)
    if (close(mass, MASSES[n], SAME)) return SYMBOLS[n];
  return "";
}

std::string text(double x) {
  char number[32];
  std::snprintf(number, sizeof(number), "%.6g", x);
  return number;
}

}    // namespace

int uq::atomic_number(const std::string &symbol) {
  int number = 1;
  for (const char *s : SYMBOLS) {
    if (symbol == s) return number;
    number++;
  }
  return 0;
}

uq::MassCheck uq::check_masses(const std::vector<std::string> &elements,
                               const std::vector<double> &masses) {
  double hydrogen = 0.0;    // the heaviest
  for (size_t i = 0; i < elements.size(); i++)
    if (elements[i] == "H") hydrogen = std::max(hydrogen, masses[i]);
  // Up to four hydrogen atoms have taken their mass from the atom that they are bonded to.
  const double taken = hydrogen < REPARTITIONED ? 4.0 * std::max(hydrogen - HYDROGEN, 0.0) : 0.0;

  MassCheck check;
  for (size_t i = 0; i < elements.size(); i++) {
    const double mass = masses[i], expected = mass_of(elements[i]);
    if (expected == 0.0 || mass <= 0.0 || close(mass, expected, DIFFERENT)) continue;
    const std::string owner = owner_of(mass, elements);
    const bool other = std::find(elements.begin(), elements.end(), owner) != elements.end() &&
                       owner != elements[i];
    if (is_isotope(elements[i], mass) && !other) continue;
    const bool repartitioned =
        elements[i] == "H" ? mass < REPARTITIONED && mass > HYDROGEN
                           : mass < expected && mass > std::max(expected - taken - 0.01, TRITIUM);
    check.wrong = check.wrong || !repartitioned;
    check.message += (check.message.empty() ? "" : "; ") + elements[i] + " has mass " + text(mass) +
                     (owner.empty() || owner == elements[i] ? "" : ", which is that of " + owner) +
                     ", expected about " + text(expected);
  }
  return check;
}
