// SPDX-License-Identifier: GPL-2.0-or-later
// fix uq/rom: dynamics in a reduced basis of displacements, under the stock integrators.

#ifndef LMP_FIX_UQ_ROM_H
#define LMP_FIX_UQ_ROM_H

#include "fix.h"

#include "core/rom/basis.h"

#include <array>
#include <string>
#include <vector>

namespace LAMMPS_NS {

class FixUQROM : public Fix {
 public:
  FixUQROM(class LAMMPS *, int, char **);
  ~FixUQROM() override;
  int setmask() override;
  void init() override;
  void setup_pre_exchange() override;
  void setup(int) override;
  void min_setup(int) override;
  void post_force(int) override;
  bigint dof(int) override;
  double compute_scalar() override;
  double compute_vector(int) override;
  double memory_usage() override;
  void write_restart(FILE *) override;
  void restart(char *) override;

  void grow_arrays(int) override;
  void copy_arrays(int, int, int) override;
  void set_arrays(int) override;
  int pack_exchange(int, double *) override;
  int unpack_exchange(int, double *) override;
  int pack_restart(int, double *) override;
  void unpack_restart(int, int) override;
  int size_restart(int) override;
  int maxsize_restart() override;

 private:
  enum Kind { UNKNOWN, REDUCED, FREE };

  // What each atom carries along, one row of atoms_: its kind, x⁰ (Å, unwrapped), and its rows of
  // Q, [3][n].
  enum { KIND, REFERENCE, ROWS = REFERENCE + 3 };
  double **atoms_ = nullptr;

  std::string file_;
  std::string hash_;    // sha256 of the file
  int modes_;           // n
  bigint natoms_ = 0;
  bigint nfree_ = 0;
  std::array<double, 9> cell_{};    // rows a b c, Å
  bool restarted_ = false;

  // Sums over the atoms in the basis at the latest force evaluation: Qᵀ M^(-1/2) f, followed by
  // |M^(-1/2) f|².
  std::vector<double> sums_;

  // Modal coordinates at one time step: y (Å (g/mol)^½), ẏ, |M^½ (x - x⁰)|², summed over ranks.
  std::vector<double> modal_;
  bigint modal_step_ = -1;

  uq::ReducedBasis read_basis(int modes);
  void distribute(const uq::ReducedBasis &basis);
  void align_reference();
  void check_cell() const;
  void check_fixes() const;
  double mass(int i) const;
  void project(double **v, bool forces, std::vector<double> &sums) const;
  void displacement(int i, double *dx) const;
  void update_modal();
  double modal_energy();
};

}    // namespace LAMMPS_NS

#endif
