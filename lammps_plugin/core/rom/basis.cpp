// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/rom/basis.h"

#include "core/error.h"
#include "core/formats/safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_set>

using namespace uq;

// Largest deviation of a stored basis from orthonormal columns. Our own files keep 1e-12.
static constexpr double ORTHONORMAL = 1e-8;

template <class T>
static std::vector<T> integers(const SafeTensors &file, const std::string &name,
                               const std::string &dtype, uint64_t n) {
  const SafeTensors::Tensor &tensor = file.tensor(name);
  if (tensor.dtype != dtype || tensor.shape != std::vector<uint64_t>{n})
    file.fail("the tensor '" + name + "' must be " + dtype + " of shape [" + std::to_string(n) +
              "], one number for each atom");
  std::vector<T> values(n);
  std::memcpy(values.data(), tensor.bytes.data(), n * sizeof(T));
  return values;
}

// Gram matrix QᵀQ, [n][n].
static std::vector<double> gram(const std::vector<double> &q, int n) {
  std::vector<double> g(static_cast<size_t>(n) * n, 0.0);
  for (size_t row = 0; row < q.size(); row += n)
    for (int k = 0; k < n; k++) {
      const double a = q[row + k];
      if (a == 0.0) continue;
      for (int l = 0; l < n; l++) g[static_cast<size_t>(k) * n + l] += a * q[row + l];
    }
  return g;
}

// Q ← Q L^(-T) with QᵀQ = L Lᵀ: orthonormal columns of the same span, the first k columns of the
// span of the first k. False where the columns depend on each other.
static bool orthonormalize(std::vector<double> &q, int n) {
  std::vector<double> l = gram(q, n);
  for (int k = 0; k < n; k++) {
    double *row = &l[static_cast<size_t>(k) * n];
    const double size = row[k];
    for (int j = 0; j <= k; j++) {
      const double *other = &l[static_cast<size_t>(j) * n];
      double sum = row[j];
      for (int m = 0; m < j; m++) sum -= row[m] * other[m];
      if (j < k)
        row[j] = sum / other[j];
      else if (sum > 1e-12 * size)
        row[k] = std::sqrt(sum);
      else
        return false;
    }
  }
  for (size_t at = 0; at < q.size(); at += n)
    for (int k = 0; k < n; k++) {
      const double *row = &l[static_cast<size_t>(k) * n];
      for (int m = 0; m < k; m++) q[at + k] -= row[m] * q[at + m];
      q[at + k] /= row[k];
    }
  return true;
}

static void check_orthonormal(const SafeTensors &file, const std::vector<double> &q, int n) {
  const std::vector<double> g = gram(q, n);
  double worst = 0.0;
  for (int k = 0; k < n; k++)
    for (int l = 0; l < n; l++)
      worst = std::max(worst, std::abs(g[static_cast<size_t>(k) * n + l] - (k == l ? 1.0 : 0.0)));
  if (worst > ORTHONORMAL)
    file.fail("the columns of the basis are not orthonormal: WᵀW differs from 1 by " +
              std::to_string(worst) + "; write it with `pyuq srom`");
}

static std::vector<double> first_columns(std::vector<double> all, int columns, int n) {
  if (n == columns) return all;
  std::vector<double> some(all.size() / columns * n);
  for (size_t row = 0; row < all.size() / columns; row++)
    std::copy_n(&all[row * columns], n, &some[row * n]);
  return some;
}

ReducedBasis::ReducedBasis(const std::string &name, std::string_view bytes, int modes) {
  if (!SafeTensors::recognises(bytes))
    throw Error(name + ": not a basis file (safetensors); write one with `pyuq srom`");
  const SafeTensors file(name, bytes);
  if (file.metadata("format") != "pyuq-basis" || file.metadata("format_version") != "1")
    file.fail("format " + file.metadata("format") + " version " + file.metadata("format_version") +
              ", expected pyuq-basis version 1");
  if (file.metadata("units") != "metal")
    file.fail("units " + file.metadata("units") + ", expected metal");
  const std::string weighting = file.metadata("weighting");
  if (weighting != "mass" && weighting != "none")
    file.fail("weighting is " + weighting + ", expected `mass` or `none`");

  const std::vector<uint64_t> shape = file.tensor("basis").shape;
  constexpr uint64_t limit = std::numeric_limits<int>::max();
  if (shape.size() != 3 || shape[0] < 1 || shape[0] > limit || shape[1] != 3 || shape[2] < 1 ||
      shape[2] > 3 * shape[0])
    file.fail("the tensor 'basis' must have shape [atoms, 3, modes] with at most 3 modes an atom");
  const int columns = static_cast<int>(shape[2]);
  if (modes < 0 || modes > columns)
    file.fail("holds " + std::to_string(columns) + " modes, " + std::to_string(modes) +
              " were asked for");
  natoms = static_cast<int>(shape[0]);
  nmodes = modes ? modes : columns;
  const uint64_t n = shape[0];
  ids = integers<int64_t>(file, "ids", "I64", n);
  if (std::unordered_set<int64_t>(ids.begin(), ids.end()).size() != n)
    file.fail("an atom id occurs twice");
  masses = file.doubles("masses", {n});
  if (*std::min_element(masses.begin(), masses.end()) <= 0.0) file.fail("a mass is not above 0");
  reference = file.doubles("reference", {n, 3});
  const std::vector<double> vectors = file.doubles("cell", {3, 3});
  std::copy(vectors.begin(), vectors.end(), cell.begin());
  free = file.has("free") ? integers<uint8_t>(file, "free", "U8", n) : std::vector<uint8_t>(n, 0);

  rows = first_columns(file.doubles("basis", shape), columns, nmodes);
  for (int i = 0; i < natoms; i++) {
    double *row = &rows[static_cast<size_t>(i) * 3 * nmodes];
    if (free[i]) {
      if (std::any_of(row, row + 3 * nmodes, [](double x) { return std::abs(x) > ORTHONORMAL; }))
        file.fail("atom " + std::to_string(ids[i]) + " is free but takes part in a mode");
      std::fill_n(row, 3 * nmodes, 0.0);
    }
    if (weighting == "none")
      for (int k = 0; k < 3 * nmodes; k++) row[k] *= std::sqrt(masses[i]);
  }
  if (weighting == "none" && !orthonormalize(rows, nmodes))
    file.fail("the columns of the basis depend on each other");
  check_orthonormal(file, rows, nmodes);
}
