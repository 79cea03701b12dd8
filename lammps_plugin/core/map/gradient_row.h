// SPDX-License-Identifier: GPL-2.0-or-later
// Rows of design matrices: what a quantity q of one atom, taken as an energy, does to the owners
// around it: the force on each, 3 numbers (the centre's first), then the 6 of the virial.

#ifndef UQ_GRADIENT_ROW_H
#define UQ_GRADIENT_ROW_H

namespace uq {

// Adds g = ∂q/∂r_j of the neighbour at displacement d: `there` is the force on its owner,
// `virial` comes as xx yy zz yz xz xy.
inline void add_gradient(double dx, double dy, double dz, double gx, double gy, double gz,
                         double *row, double *there, double *virial) {
  there[0] -= gx;
  there[1] -= gy;
  there[2] -= gz;
  row[0] += gx;
  row[1] += gy;
  row[2] += gz;
  virial[0] -= dx * gx;
  virial[1] -= dy * gy;
  virial[2] -= dz * gz;
  virial[3] -= dy * gz;
  virial[4] -= dx * gz;
  virial[5] -= dx * gy;
}

}    // namespace uq

#endif
