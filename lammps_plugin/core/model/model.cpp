// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/model/model.h"

#include "core/error.h"
#include "core/families/ace/ace.h"
#include "core/families/mtp/mtp.h"
#include "core/families/nep/nep.h"
#include "core/families/network/network.h"
#include "core/formats/npz.h"
#include "core/formats/safetensors.h"
#include "core/formats/sha256.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

using namespace uq;
namespace fs = std::filesystem;

static std::string read_bytes(const std::string &path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) throw Error(path + ": no such file");
  std::ifstream file(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file.good() && !file.eof()) throw Error(path + ": cannot be read");
  return bytes;
}

ModelName uq::split_model_name(const std::string &argument) {
  static constexpr std::string_view version = "gpumd=";
  ModelName name;
  const size_t colon = argument.rfind(':');
  name.path = argument.substr(0, colon);
  if (colon == argument.npos) return name;
  const std::string rest = argument.substr(colon + 1);
  if (rest.substr(0, version.size()) == version) {
    name.gpumd = rest.substr(version.size());
  } else if (rest.find_first_of("/.") != rest.npos) {
    name.path = argument;
  } else {
    for (size_t from = 0, comma = 0; comma != rest.npos; from = comma + 1) {
      comma = rest.find(',', from);
      name.elements.push_back(rest.substr(from, comma - from));
    }
  }
  return name;
}

ModelFiles uq::read_model_files(const std::string &path) {
  ModelFiles files;
  files.name = path;
  files.model = read_bytes(path);
  const std::string posterior = fs::path(path).replace_extension(".uq").string();
  std::error_code error;
  const bool native =
      !SafeTensors::recognises(files.model) || network::recognises_network(files.model);
  if (native && posterior != path && fs::exists(posterior, error)) {
    files.posterior_name = posterior;
    files.posterior = read_bytes(posterior);
  }
  const std::string suffix = fs::path(path).extension().string(),
                    active = fs::path(path).replace_extension(".asi").string();
  if ((suffix == ".yaml" || suffix == ".yml") && fs::exists(active, error)) {
    files.active_name = active;
    files.active = read_bytes(active);
  }
  return files;
}

static void refuse_version(const std::string &name, const LoadOptions &options) {
  if (!options.gpumd.empty())
    throw Error(name + ": gpumd=" + options.gpumd +
                " names the version that wrote a nep.txt, which this file is not: leave it out");
}

// The active set of pacemaker that lies beside a B-basis.
static void add_active_set(const std::string &name, std::string_view text, const ModelFiles &files,
                           const LoadOptions &options, ace::Ace &map) {
  auto functions = std::make_unique<ace::Ace>(ace::read_projections(name, text), options);
  std::map<std::string, NpzArray> arrays = read_npz(files.active_name, files.active);
  std::vector<double> inverses;
  for (size_t z = 0; z < map.elements().size(); z++) {
    const std::string &element = map.elements()[z];
    const uint64_t n = functions->count(static_cast<int>(z));
    const auto found = arrays.find(element);
    if (found == arrays.end())
      throw Error(files.active_name + ": it has no array " + element + ", an element of " + name);
    const std::vector<uint64_t> &shape = found->second.shape;
    if (shape != std::vector<uint64_t>{n, n}) {
      std::string text;
      for (uint64_t length : shape) text += (text.empty() ? "" : " x ") + std::to_string(length);
      throw Error(files.active_name + ": the active set of " + element + " is " + text +
                  ", expected " + std::to_string(n) + " x " + std::to_string(n) +
                  ", the functions of " + name +
                  "; a larger one is that of the full non-linear energy, which pyuq does not "
                  "evaluate: make a linear one with `pace_activeset`, without -f");
    }
    inverses.insert(inverses.end(), found->second.values.begin(), found->second.values.end());
  }
  ActiveSet active(*functions, std::move(inverses));
  map.set_active(std::move(functions), std::move(active));
}

// The feature map of a native file, recognised by how its first line of content starts, and what is
// to be told of it.
static void load_map(const std::string &name, std::string_view text, const ModelFiles &files,
                     const LoadOptions &options, Model &model) {
  const auto add = [&](std::vector<std::string> warnings) {
    for (std::string &warning : warnings) model.warnings.push_back(std::move(warning));
  };
  const auto load_ace = [&](ace::Parameters potential) {
    add(ace::warnings(name, potential, options.radial));
    auto map = std::make_unique<ace::Ace>(std::move(potential), options);
    if (!files.active_name.empty()) add_active_set(name, text, files, options, *map);
    model.map = std::move(map);
  };
  size_t start = 0;
  const auto line_at = [&](size_t from) { return text.substr(from, text.find('\n', from) - from); };
  while (start < text.size()) {
    const std::string_view line = line_at(start);
    const size_t content = line.find_first_not_of(" \t\r");
    if (content != line.npos && line[content] != '#' && line.substr(content, 3) != "---") break;
    start += line.size() + 1;
  }
  const std::string_view first = text.substr(std::min(start, text.size()));
  const auto starts = [&](std::string_view key) { return first.substr(0, key.size()) == key; };
  const bool network = network::recognises_network(text), nep = !network && starts("nep") &&
                                                                first.size() > 3 &&
                                                                first[3] >= '0' && first[3] <= '9';
  if (!nep) refuse_version(name, options);
  if (network) {
    model.map = std::make_unique<network::Network>(network::read_network(name, text));
    return;
  }
  if (nep) {
    nep::Parameters potential = nep::read_nep(name, text, options.gpumd);
    add(std::move(potential.warnings));
    model.map = std::make_unique<nep::Nep>(potential);
    return;
  }
  if (starts("nelements")) return load_ace(ace::read_ace(name, text));
  for (const char *key : {"elements:", "E0:", "deltaSplineBins:", "embeddings:", "bonds:",
                          "functions:", "global:", "species:", "metadata:", "auxdata:", "lmax:"})
    if (starts(key)) return load_ace(ace::read_yace(name, text));
  if (!starts("MTP"))
    throw Error(name +
                ":1: not a potential of a known format; expected .yace, .ace, nep.txt or .mtp, a "
                "pyuq network or a pyuq posterior (.uq)");
  model.map = std::make_unique<mtp::Mtp>(mtp::read_mtp(name, text, options.elements));
}

static std::string joined(const std::vector<std::string> &words) {
  std::string s;
  for (const std::string &w : words) s += (s.empty() ? "" : " ") + w;
  return s;
}

static std::vector<std::string> words(const std::string &text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

// The weights of the species that occur, ascending; empty: all.
static std::vector<int> occurring_weights(const FeatureMap &map,
                                          const std::vector<std::string> &occurring) {
  std::vector<bool> used(map.nreadout(), occurring.empty());
  for (size_t z = 0; z < map.elements().size(); z++)
    if (std::count(occurring.begin(), occurring.end(), map.elements()[z])) {
      const int species = static_cast<int>(z), first = map.offset(species);
      std::fill(used.begin() + first, used.begin() + first + map.count(species), true);
    }
  std::vector<int> kept;
  for (int i = 0; i < map.nreadout(); i++)
    if (used[i]) kept.push_back(i);
  if (static_cast<int>(kept.size()) == map.nreadout()) kept.clear();
  return kept;
}

// A posterior carries its own feature map (ACE: with unit coefficients) and the names of its
// species.
static Model load_posterior(const std::string &name, std::string_view bytes,
                            const ModelFiles &files, const LoadOptions &options) {
  const SafeTensors file(name, bytes);
  if (file.metadata("format") != "pyuq-posterior" || file.metadata("format_version") != "1")
    file.fail("format " + file.metadata("format") + " version " + file.metadata("format_version") +
              ", expected pyuq-posterior version 1");
  if (file.metadata("units") != "metal")
    file.fail("units " + file.metadata("units") + ", expected metal");
  const SafeTensors::Tensor &native = file.tensor("model");
  if (native.dtype != "U8")
    file.fail("the tensor 'model' has dtype " + native.dtype + ", expected U8");

  Model model;
  model.name = name;
  LoadOptions named = options;
  const std::vector<std::string> elements = words(file.metadata("elements"));
  if (!elements.empty()) named.elements = elements;    // else: unnamed, as in the model's own file
  load_map(name + "(model)", native.bytes, files, named, model);
  if (file.metadata("family") != model.map->family() ||
      (!elements.empty() && elements != model.map->elements()))
    file.fail("metadata says " + file.metadata("family") + " of " + file.metadata("elements") +
              ", the model is " + model.map->family() + " of " + joined(model.map->elements()));
  if (const auto *network = dynamic_cast<const network::Network *>(model.map.get());
      network && network->nsamples() > 1)
    file.fail(
        "the posterior of one readout beside a network of " + std::to_string(network->nsamples()) +
        " samples, whose spread it does not know; remove it, or give each sample a file and a "
        "posterior of its own (pyuq bnn export --apart)");
  const uint64_t m = model.map->nreadout();
  model.readout = Readout(file.doubles("mean", {m}));
  if (file.has("active_inverse")) {
    uint64_t n = 0;
    for (size_t z = 0; z < model.map->elements().size(); z++) {
      const uint64_t count = model.map->count(static_cast<int>(z));
      n += count * count;
    }
    model.active = ActiveSet(*model.map, file.doubles("active_inverse", {n}));
  }
  const std::vector<int> kept = occurring_weights(*model.map, options.occurring);
  if (file.has("covariance")) {
    std::vector<double> covariance = kept.empty() ? file.doubles("covariance", {m, m})
                                                  : file.doubles("covariance", m, m, kept, kept);
    // A file with a checksum was checked whole when it was written.
    const size_t width = kept.empty() ? m : kept.size();
    const std::string fault = covariance_fault(width, covariance, !file.has_checksum());
    if (!fault.empty())
      file.fail("the tensor 'covariance' " + fault +
                ": no covariance; write the file with `pyuq fit` or `pyuq posterior`");
    model.readout.set_covariance(std::move(covariance), kept);
  } else {
    const SafeTensors::Tensor &samples = file.tensor("samples");
    if (samples.shape.size() != 2 || samples.shape[0] < 1 || samples.shape[0] > 1'000'000)
      file.fail("the tensor 'samples' must have shape [number of samples, " + std::to_string(m) +
                "]");
    const int k = static_cast<int>(samples.shape[0]);
    if (kept.empty())
      model.readout.set_samples(k, file.doubles("samples", {samples.shape[0], m}));
    else
      model.readout.set_samples(k, file.doubles("samples", samples.shape[0], m, {}, kept), kept);
  }
  return model;
}

// Several samples of a network: as many weight vectors, each with weights for one sample's
// features.
static void add_samples(const network::Network &map, Readout &readout) {
  if (map.nsamples() == 1) return;
  std::vector<double> samples;
  for (int k = 0; k < map.nsamples(); k++) {
    const std::vector<double> weights = map.sample_weights(k);
    samples.insert(samples.end(), weights.begin(), weights.end());
  }
  readout.set_samples(map.nsamples(), std::move(samples));
}

Model uq::load_model(const ModelFiles &files, const LoadOptions &options) {
  const bool network = network::recognises_network(files.model);
  if (SafeTensors::recognises(files.model) && !network)
    return load_posterior(files.name, files.model, files, options);
  if (!files.posterior_name.empty()) {
    const SafeTensors posterior(files.posterior_name, files.posterior);
    const std::string expected = posterior.metadata("model_sha256"), found = sha256(files.model);
    if (expected != found)
      posterior.fail("the posterior of another model: it wants sha256 " + expected.substr(0, 12) +
                     "..., " + files.name + " has " + found.substr(0, 12) +
                     "...; refit, or remove the .uq file");
    return load_posterior(files.posterior_name, files.posterior, files, options);
  }
  Model model;
  model.name = files.name;
  load_map(files.name, files.model, files, options, model);
  model.readout = Readout(model.map->weights());
  if (network) add_samples(static_cast<const network::Network &>(*model.map), model.readout);
  return model;
}

static void check_names(const std::vector<Model> &members, const std::vector<std::string> &given) {
  for (const Model &member : members)
    if (member.map->elements() != given)
      throw Error(member.name + ": its species are " + joined(member.map->elements()) + ", not " +
                  joined(given) + ": leave the names behind the colon out");
}

std::vector<Model> uq::load_members(const ModelFiles &files, const LoadOptions &options) {
  std::vector<Model> members;
  if (network::recognises_network(files.model) && files.posterior_name.empty()) {
    refuse_version(files.name, options);
    const network::Parameters potential = network::read_network(files.name, files.model);
    for (size_t k = 0; k < potential.samples.size(); k++) {
      Model member;
      member.name = files.name;
      if (potential.samples.size() > 1) member.name += " (sample " + std::to_string(k + 1) + ")";
      member.map = std::make_unique<network::Network>(
          network::Parameters{potential.shape, {potential.samples[k]}});
      member.readout = Readout(member.map->weights());
      members.push_back(std::move(member));
    }
  } else {
    members.push_back(load_model(files, options));
  }
  if (options.named) check_names(members, options.elements);
  return members;
}

Model uq::fuse(const std::vector<const Model *> &models) {
  std::vector<const FeatureMap *> maps;
  for (const Model *model : models) maps.push_back(model->map.get());
  Model fused;
  fused.map = fuse(maps);
  if (!fused.map) return fused;
  std::vector<double> weights(fused.map->nreadout());
  for (size_t z = 0; z < fused.map->elements().size(); z++) {
    const int species = static_cast<int>(z);
    int at = fused.map->offset(species);
    for (const Model *model : models) {
      const int count = model->map->count(species);
      std::copy_n(model->readout.mean().data() + model->map->offset(species), count, &weights[at]);
      at += count;
    }
  }
  fused.name = models[0]->name + " and others";
  fused.readout = Readout(weights);
  return fused;
}
