// SPDX-License-Identifier: GPL-2.0-or-later
// fix uq/deviation: spread of forces and virial over a committee in DeePMD's columns, and the
// frames in which it is large.

#ifndef LMP_FIX_UQ_DEVIATION_H
#define LMP_FIX_UQ_DEVIATION_H

#include "fix.h"

#include "uq_deviation.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class FixUQDeviation : public Fix {
 public:
  FixUQDeviation(class LAMMPS *, int, char **);
  ~FixUQDeviation() override;
  int setmask() override;
  void init() override;
  void setup(int) override;
  void end_of_step() override;
  double compute_vector(int) override;
  double memory_usage() override;
  void write_restart(FILE *) override;
  void restart(char *) override;
  void grow_arrays(int) override;
  void copy_arrays(int, int, int) override;
  void set_arrays(int) override;
  int pack_exchange(int, double *) override;
  int unpack_exchange(int, double *) override;

 private:
  class PairUQ *pair_ = nullptr;
  std::unique_ptr<UQDeviation> deviation_;

  std::string file_ = "model_devi.out", frames_file_ = "active.xyz";
  double relative_ = -1.0, relative_virial_ = -1.0;    // ε of relative deviations; negative: plain
  bool atomic_ = false;
  double threshold_;    // force units; infinite: no frames

  FILE *out_ = nullptr, *frames_ = nullptr;    // rank 0
  bigint written_ = -1;                        // latest step in the file; in restart files
  bool restarted_ = false;
  bool warned_ = false;         // of a model without spread
  double values_[7] = {0.0};    // max, min, mean of virial and forces as in the file; energy

  // An atom on its way to rank 0.
  struct Row {
    double tag, type, x[3], v[3], f[3], deviation;
  };

  void parse(int narg, char **arg);
  void evaluate();
  void force_values();
  void virial_values();
  FILE *open(const std::string &file);
  void write_line(const std::vector<Row> &rows);
  void write_frame(const std::vector<Row> &rows);
  std::vector<Row> gather() const;
};

}    // namespace LAMMPS_NS

#endif
