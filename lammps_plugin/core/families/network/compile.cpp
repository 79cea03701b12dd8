// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/network/compile.h"

#include <cmath>
#include <functional>
#include <iterator>

using namespace uq;
using namespace uq::network;

static constexpr double pi = 3.14159265358979323846;

// Y_lm in the order of plan.h, Σ_m Y_lm² = 2l + 1.
static void harmonics(double x, double y, double z, double *out) {
  const double root3 = std::sqrt(3.0), root5 = std::sqrt(5.0), root15 = std::sqrt(15.0);
  const double values[max_components] = {1.0,
                                         root3 * x,
                                         root3 * y,
                                         root3 * z,
                                         root15 * x * z,
                                         root15 * x * y,
                                         root5 * (y * y - 0.5 * (x * x + z * z)),
                                         root15 * y * z,
                                         0.5 * root15 * (z * z - x * x)};
  std::copy(std::begin(values), std::end(values), out);
}

// The invariant tensor [m1][m2][m3] of Frobenius norm √(2 l3 + 1): the integral of three harmonics,
// exact by four Gauss-Legendre nodes in z and eight points in φ.
static std::vector<double> invariant_tensor(int l1, int l2, int l3) {
  static const double nodes[4] = {-0.86113631159405257522, -0.33998104358485626480,
                                  0.33998104358485626480, 0.86113631159405257522};
  static const double weights[4] = {0.34785484513745385737, 0.65214515486254614263,
                                    0.65214515486254614263, 0.34785484513745385737};
  const int n1 = 2 * l1 + 1, n2 = 2 * l2 + 1, n3 = 2 * l3 + 1;
  std::vector<double> tensor(n1 * n2 * n3, 0.0);
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < 8; k++) {
      const double rho = std::sqrt(1.0 - nodes[i] * nodes[i]), phi = k * pi / 4.0;
      double y[max_components];
      harmonics(rho * std::cos(phi), rho * std::sin(phi), nodes[i], y);
      for (int a = 0; a < n1; a++)
        for (int b = 0; b < n2; b++)
          for (int c = 0; c < n3; c++)
            tensor[(a * n2 + b) * n3 + c] +=
                weights[i] * y[l1 * l1 + a] * y[l2 * l2 + b] * y[l3 * l3 + c];
    }
  double norm = 0.0;
  for (double &t : tensor) {
    if (std::fabs(t) < 1e-12) t = 0.0;
    norm += t * t;
  }
  for (double &t : tensor) t *= std::sqrt(n3 / norm);
  return tensor;
}

NetworkPlan::NetworkPlan(const Hyperparameters &shape) {
  for (auto &plane : entry_)
    for (auto &row : plane)
      for (int &entry : row) entry = -1;
  for (int t = 0; t < shape.layers; t++) {
    LayerPlan layer;
    layer.lmax = shape.highest(t);
    layer.width = width_of(t == 0 ? shape.hidden : shape.channels);
    const std::vector<PathDegrees> found = network::paths(shape, t);
    layer.functions = t == 0 ? 1 : static_cast<int>(found.size());
    for (const PathDegrees &p : found) layer.to[p.l3] += t == 0 ? shape.nspecies() : 1;
    for (int l = 0; l <= layer.lmax; l++) {
      layer.first[l] = layer.slots;
      layer.slots += (2 * l + 1) * layer.to[l];
    }
    int used[max_l + 1] = {};
    for (const PathDegrees &p : found)
      layer.paths.push_back(
          {p.l1, p.l2, p.l3, entry_of(p), layer.first[p.l3] + used[p.l3]++, layer.to[p.l3]});
    layers.push_back(layer);
  }
}

// First entry [m3][m1] of the edge coupling of a path.
int NetworkPlan::entry_of(const PathDegrees &path) {
  int &entry = entry_[path.l1][path.l2][path.l3];
  if (path.l2 == 0 || entry >= 0) return path.l2 == 0 ? -1 : entry;
  entry = entries;
  const int n1 = 2 * path.l1 + 1, n2 = 2 * path.l2 + 1, n3 = 2 * path.l3 + 1;
  const std::vector<double> tensor = invariant_tensor(path.l1, path.l2, path.l3);
  for (int c = 0; c < n3; c++)
    for (int a = 0; a < n1; a++, entries++)
      for (int b = 0; b < n2; b++)
        if (const double factor = tensor[(a * n2 + b) * n3 + c]; factor != 0.0)
          terms.push_back({factor, entries, path.l2 * path.l2 + b});
  return entry;
}

// [in blocks][in][out blocks][out] in the file's order → padded to in_wide, out_wide in each block.
static Matrix matrix(int in_blocks, int in, int in_wide, int out_blocks, int out, int out_wide,
                     const std::function<double(int, int, int, int)> &element) {
  Matrix m;
  m.in = in_blocks * in_wide;
  m.out = out_blocks * out_wide;
  m.in_width = width_of(m.in);
  m.out_width = width_of(m.out);
  m.forward.zero(static_cast<size_t>(m.in) * m.out_width);
  m.backward.zero(static_cast<size_t>(m.out) * m.in_width);
  for (int p = 0; p < in_blocks; p++)
    for (int i = 0; i < in; i++)
      for (int q = 0; q < out_blocks; q++)
        for (int o = 0; o < out; o++) {
          const size_t row = p * in_wide + i, column = q * out_wide + o;
          const double value = element(p, i, q, o);
          m.forward.data()[row * m.out_width + column] = value;
          m.backward.data()[column * m.in_width + row] = value;
        }
  return m;
}

// [species][hidden] → outputs: Σ_u V2[hidden][l][u] g_species[u] W2[u][output], path (0, l, l).
static Matrix first_mixing(const Hyperparameters &s, const Weights &weights, int l) {
  const LayerWeights &w = weights.layers[0];
  const int c = s.channels, outputs = s.outputs(0, l), npaths = s.highest(0) + 1;
  return matrix(s.nspecies(), s.hidden, width_of(s.hidden), outputs / c, c, width_of(c),
                [&](int z, int h, int q, int o) {
                  double sum = 0.0;
                  for (int u = 0; u < c; u++)
                    sum += w.radial2[(h * npaths + l) * c + u] * weights.sources[z * c + u] *
                           w.linear2[l][u * outputs + q * c + o];
                  return sum;
                });
}

Sample::Sample(const Hyperparameters &s, const NetworkPlan &plan, const Weights &weights)
    : channels_(s.channels), readout_(weights.readout), noise_(weights.noise) {
  const int c = s.channels, wide = width_of(c);
  layers_.resize(s.layers);
  for (int t = 0; t < s.layers; t++) {
    const LayerWeights &w = weights.layers[t];
    Layer &layer = layers_[t];
    const int npaths = static_cast<int>(plan.layers[t].paths.size());
    layer.radial1 = matrix(1, s.bessels, s.bessels, 1, s.hidden, s.hidden,
                           [&](int, int i, int, int o) { return w.radial1[i * s.hidden + o]; });
    if (t == 0) {
      for (int l = 0; l <= plan.layers[0].lmax; l++) layer.linear2[l] = first_mixing(s, weights, l);
      continue;
    }
    layer.radial2 = matrix(1, s.hidden, s.hidden, npaths, c, wide, [&](int, int i, int q, int o) {
      return w.radial2[(i * npaths + q) * c + o];
    });
    for (int l = 0; l <= s.lmax; l++)
      layer.linear1[l] = matrix(1, c, wide, 1, c, wide,
                                [&](int, int i, int, int o) { return w.linear1[l][i * c + o]; });
    for (int l = 0; l <= plan.layers[t].lmax; l++) {
      const int outputs = s.outputs(t, l), blocks = outputs / c;
      layer.linear2[l] =
          matrix(plan.layers[t].to[l], c, wide, blocks, c, wide, [&](int p, int i, int q, int o) {
            return w.linear2[l][(p * c + i) * outputs + q * c + o];
          });
      for (int z = 0; z < s.nspecies(); z++)
        layer.self[l].push_back(matrix(1, c, wide, blocks, c, wide, [&](int, int i, int q, int o) {
          return w.self[l][(z * c + i) * outputs + q * c + o];
        }));
    }
  }
}

double Sample::noise(const double *scalars) const {
  const size_t hidden = noise_.second.size();
  double log_sigma = noise_.second_bias[0];
  for (size_t k = 0; k < hidden; k++) {
    double z = noise_.first_bias[k];
    for (int u = 0; u < channels_; u++) z += scalars[u] * noise_.first[u * hidden + k];
    log_sigma += noise_.second[k] * z / (1.0 + std::exp(-z));
  }
  return std::exp(2.0 * log_sigma);
}
