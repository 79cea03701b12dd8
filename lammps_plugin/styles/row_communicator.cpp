// SPDX-License-Identifier: GPL-2.0-or-later

#include "row_communicator.h"

#include "comm.h"
#include "lammps.h"

#include <algorithm>

using namespace LAMMPS_NS;

void RowCommunicator::forward(int width, double *values) {
  rows_[0] = values;
  width_ = width;
  lmp_->comm->forward_comm(pair_, width);
}

void RowCommunicator::reverse(int width, double *a, double *b) {
  rows_[0] = a;
  rows_[1] = b;
  width_ = width;
  lmp_->comm->reverse_comm(pair_, b ? 2 * width : width);
}

int RowCommunicator::pack_forward(int n, const int *sendlist, double *buf) const {
  const size_t width = width_;
  for (int k = 0; k < n; k++) std::copy_n(rows_[0] + width * sendlist[k], width, buf + width * k);
  return static_cast<int>(width * n);
}

void RowCommunicator::unpack_forward(int n, int first, const double *buf) {
  const size_t width = width_;
  std::copy_n(buf, width * n, rows_[0] + width * first);
}

int RowCommunicator::pack_reverse(int n, int first, double *buf) const {
  const size_t width = width_;
  double *out = buf;
  for (const double *values : rows_)
    if (values) out = std::copy_n(values + width * first, width * n, out);
  return static_cast<int>(out - buf);
}

void RowCommunicator::unpack_reverse(int n, const int *sendlist, const double *buf) {
  const size_t width = width_;
  for (double *values : rows_)
    if (values)
      for (int k = 0; k < n; k++)
        for (size_t c = 0; c < width; c++) values[width * sendlist[k] + c] += *buf++;
}
