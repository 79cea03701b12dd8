// SPDX-License-Identifier: GPL-2.0-or-later
// The repulsion of nuclei at short distance, which carries no readout weight.

#ifndef UQ_MATH_ZBL_H
#define UQ_MATH_ZBL_H

namespace uq {

// Screened repulsion of a pair of species: K Z_i Z_j / r Σ_p a_p exp(-b_p r / screening length),
// switched off by a cosine between r_in and r_out.
struct Screening {
  double r_in = 0.0, r_out = 0.0;    // Å
  double a[4] = {}, b[4] = {};

  static Screening universal(double r_in, double r_out);
};

bool operator==(const Screening &s, const Screening &t);

class PairRepulsion {
 public:
  PairRepulsion() = default;
  PairRepulsion(const Screening &screening, int zi, int zj);    // atomic numbers

  double range() const { return screening_.r_out; }    // Å; zero beyond
  // Energy of the pair (eV) and its slope (eV/Å) at 0 < r < range().
  void evaluate(double r, double &energy, double &slope) const;

 private:
  Screening screening_;
  double charge_ = 0.0, per_length_ = 0.0;    // K Z_i Z_j, eV Å; 1/a, 1/Å
};

}    // namespace uq

#endif
