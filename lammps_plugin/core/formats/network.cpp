// SPDX-License-Identifier: GPL-2.0-or-later
// Reader of pyuq-network files.

#include "core/families/network/parameters.h"

#include "core/formats/safetensors.h"
#include "core/formats/text.h"
#include "core/math/elements.h"

#include <cmath>
#include <cstdlib>
#include <iterator>
#include <set>
#include <sstream>
#include <tuple>

using namespace uq;
using namespace uq::network;

static constexpr int most = 4096;    // of any count in the file

bool Hyperparameters::operator==(const Hyperparameters &o) const {
  const auto all = [](const Hyperparameters &h) {
    return std::tie(h.elements, h.cutoff, h.lmax, h.layers, h.channels, h.hidden, h.bessels,
                    h.envelope, h.noise_hidden, h.frequencies, h.repulsion);
  };
  return all(*this) == all(o);
}

std::vector<PathDegrees> network::paths(const Hyperparameters &shape, int layer) {
  std::vector<PathDegrees> found;
  for (int l1 = 0; l1 <= (layer == 0 ? 0 : shape.lmax); l1++)
    for (int l2 = 0; l2 <= shape.lmax; l2++)
      for (int l3 = std::abs(l1 - l2); l3 <= std::min(l1 + l2, shape.highest(layer)); l3++)
        if ((l1 + l2 + l3) % 2 == 0) found.push_back({l1, l2, l3});
  return found;
}

static int whole(const SafeTensors &file, const std::string &key, int low, int high) {
  const std::string text = file.metadata(key);
  char *end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end || value < low || value > high)
    file.fail("metadata " + key + " is '" + text + "', expected a whole number from " +
              std::to_string(low) + " to " + std::to_string(high));
  return static_cast<int>(value);
}

// Where the repulsion of each pair of species begins to be switched off, and where it ends.
static void read_repulsion(const SafeTensors &file, Hyperparameters &s) {
  const uint64_t n = s.nspecies();
  const std::vector<double> ranges = file.doubles("repulsion", {n, n, 2});
  for (uint64_t i = 0; i < n; i++)
    for (uint64_t j = 0; j < n; j++) {
      const double *pair = &ranges[2 * (i * n + j)], *mirror = &ranges[2 * (j * n + i)];
      if (!(pair[0] >= 0.0) || !(pair[0] < pair[1]) || !(pair[1] <= s.cutoff))
        file.fail("repulsion of " + s.elements[i] + "-" + s.elements[j] + " from " +
                  std::to_string(pair[0]) + " to " + std::to_string(pair[1]) +
                  " Å, expected 0 <= from < to <= the cutoff " + std::to_string(s.cutoff));
      if (pair[0] != mirror[0] || pair[1] != mirror[1])
        file.fail("repulsion of " + s.elements[i] + "-" + s.elements[j] +
                  " is not the same in both orders");
      s.repulsion.push_back(Screening::universal(pair[0], pair[1]));
    }
}

static Hyperparameters read_shape(const SafeTensors &file) {
  Hyperparameters s;
  std::istringstream stream(file.metadata("elements"));
  s.elements.assign(std::istream_iterator<std::string>(stream), {});
  const std::set<std::string> different(s.elements.begin(), s.elements.end());
  if (s.elements.empty() || different.size() != s.elements.size())
    file.fail("metadata elements is '" + file.metadata("elements") +
              "', expected different chemical symbols");
  for (const std::string &element : s.elements)
    if (!atomic_number(element)) file.fail("unknown element " + excerpt(element));
  const std::string cutoff = file.metadata("cutoff");
  s.cutoff = std::atof(cutoff.c_str());
  if (!(s.cutoff > 0.0) || !(s.cutoff < 1000.0))
    file.fail("metadata cutoff is '" + cutoff + "', expected a distance in Å");
  s.lmax = whole(file, "lmax", 1, max_l);
  s.layers = whole(file, "layers", 1, 64);
  s.channels = whole(file, "channels", 1, most);
  s.hidden = whole(file, "hidden", 1, most);
  s.bessels = whole(file, "bessels", 1, most);
  s.envelope = whole(file, "envelope", 2, 64);
  s.noise_hidden = whole(file, "noise_hidden", 0, most);
  s.frequencies = file.doubles("frequencies", {static_cast<uint64_t>(s.bessels)});
  if (file.has("repulsion")) read_repulsion(file, s);
  return s;
}

// Tensors are read for all samples at once and handed out one by one.
class SampleReader {
 public:
  SampleReader(const SafeTensors &file, uint64_t samples) : file_(file), samples_(samples) {}

  template <class Member>
  void read(std::vector<Weights> &out, const std::string &name, std::vector<int> shape,
            const Member &member) const {
    std::vector<uint64_t> wanted = {samples_};
    size_t size = 1;
    for (int n : shape) {
      wanted.push_back(n);
      size *= n;
    }
    const std::vector<double> all = file_.doubles(name, wanted);
    for (size_t k = 0; k < samples_; k++)
      member(out[k]).assign(all.begin() + k * size, all.begin() + (k + 1) * size);
  }

 private:
  const SafeTensors &file_;
  uint64_t samples_;
};

static void read_layer(const SampleReader &reader, const Hyperparameters &s, int t,
                       std::vector<Weights> &samples) {
  using W = Weights;
  using V = std::vector<double>;
  const std::string prefix = "layers." + std::to_string(t) + ".";
  const std::vector<PathDegrees> there = paths(s, t);
  const int c = s.channels, npaths = static_cast<int>(there.size());
  reader.read(samples, prefix + "radial1", {s.bessels, s.hidden},
              [&](W &w) -> V & { return w.layers[t].radial1; });
  reader.read(samples, prefix + "radial2", {s.hidden, npaths, c},
              [&](W &w) -> V & { return w.layers[t].radial2; });
  for (int l = 0; l <= s.lmax; l++) {
    const std::string degree = std::to_string(l);
    int to = 0;
    for (const PathDegrees &p : there) to += p.l3 == l;
    if (l <= s.highest(t))
      reader.read(samples, prefix + "linear2." + degree, {to, c, s.outputs(t, l)},
                  [&](W &w) -> V & { return w.layers[t].linear2[l]; });
    if (t == 0) continue;
    reader.read(samples, prefix + "linear1." + degree, {c, c},
                [&](W &w) -> V & { return w.layers[t].linear1[l]; });
    if (l <= s.highest(t))
      reader.read(samples, prefix + "self." + degree, {s.nspecies(), c, s.outputs(t, l)},
                  [&](W &w) -> V & { return w.layers[t].self[l]; });
  }
}

static void read_noise(const SampleReader &reader, const Hyperparameters &s,
                       std::vector<Weights> &samples) {
  using V = std::vector<double>;
  const std::string prefix = "force_noise.";
  reader.read(samples, prefix + "0.weight", {s.channels, s.noise_hidden},
              [](Weights &w) -> V & { return w.noise.first; });
  reader.read(samples, prefix + "0.bias", {s.noise_hidden},
              [](Weights &w) -> V & { return w.noise.first_bias; });
  reader.read(samples, prefix + "1.weight", {s.noise_hidden},
              [](Weights &w) -> V & { return w.noise.second; });
  reader.read(samples, prefix + "1.bias", {},
              [](Weights &w) -> V & { return w.noise.second_bias; });
}

bool network::recognises_network(std::string_view bytes) {
  return SafeTensors::format_of(bytes) == "pyuq-network";
}

Parameters network::read_network(const std::string &name, std::string_view bytes) {
  const SafeTensors file(name, bytes);
  if (file.metadata("format_version") != "1" || file.metadata("units") != "metal")
    file.fail("pyuq-network version " + file.metadata("format_version") + " in units " +
              file.metadata("units") + ", expected version 1 in metal");
  Parameters potential;
  potential.shape = read_shape(file);
  const Hyperparameters &s = potential.shape;
  const SafeTensors::Tensor &sources = file.tensor("sources");
  if (sources.shape.size() != 3 || sources.shape[0] < 1 || sources.shape[0] > most)
    file.fail("the tensor 'sources' must have shape [samples, species, channels]");
  const SampleReader reader(file, sources.shape[0]);
  potential.samples.resize(sources.shape[0]);
  for (Weights &w : potential.samples) w.layers.resize(s.layers);
  reader.read(potential.samples, "sources", {s.nspecies(), s.channels},
              [](Weights &w) -> std::vector<double> & { return w.sources; });
  for (int t = 0; t < s.layers; t++) read_layer(reader, s, t, potential.samples);
  reader.read(potential.samples, "readout", {s.nspecies(), s.channels + 1},
              [](Weights &w) -> std::vector<double> & { return w.readout; });
  if (s.noise_hidden) read_noise(reader, s, potential.samples);
  return potential;
}
