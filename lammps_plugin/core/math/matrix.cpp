// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/math/matrix.h"

#include "core/simd/dispatch.h"

namespace uq {
UQ_SELECT_KERNELS(MatrixKernels, matrix_kernels, matrix)
}
