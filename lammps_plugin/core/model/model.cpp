// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/model/model.h"

#include "core/error.h"
#include "core/families/registry.h"
#include "core/formats/safetensors.h"
#include "core/formats/sha256.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
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
  const Family *family = family_of(files.model);
  const bool native = family || !SafeTensors::recognises(files.model);
  if (native && posterior != path && fs::exists(posterior, error)) {
    files.posterior_name = posterior;
    files.posterior = read_bytes(posterior);
  }
  const std::string active = family && family->companion ? family->companion(path) : "";
  if (!active.empty() && fs::exists(active, error)) {
    files.active_name = active;
    files.active = read_bytes(active);
  }
  return files;
}

// The members of a native file, in native bytes.
static std::vector<Model> read_native(const std::string &name, std::string_view bytes,
                                      const ModelFiles &files, const LoadOptions &options) {
  const Family *family = family_of(bytes);
  if (!options.gpumd.empty() && !(family && family->takes_version))
    throw Error(name + ": gpumd=" + options.gpumd +
                " names the version that wrote a nep.txt, which this file is not: leave it out");
  if (!family)
    throw Error(name + ":1: not a potential of a known format; expected " + known_files() +
                " or a pyuq posterior (.uq)");
  std::vector<Model> models;
  for (FamilyMember &member :
       family->load({name, bytes, files.active_name, files.active, options})) {
    Model model;
    model.name = name;
    model.map = std::move(member.map);
    model.readout = Readout(model.map->weights());
    model.warnings = std::move(member.warnings);
    models.push_back(std::move(model));
  }
  return models;
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

  LoadOptions named = options;
  const std::vector<std::string> elements = words(file.metadata("elements"));
  if (!elements.empty()) named.elements = elements;    // else: unnamed, as in the model's own file
  std::vector<Model> members = read_native(name + "(model)", native.bytes, files, named);
  Model model = std::move(members[0]);
  model.name = name;
  if (file.metadata("family") != model.map->family() ||
      (!elements.empty() && elements != model.map->elements()))
    file.fail("metadata says " + file.metadata("family") + " of " + file.metadata("elements") +
              ", the model is " + model.map->family() + " of " + joined(model.map->elements()));
  if (members.size() > 1) {
    const char *part = family_of(native.bytes)->part_samples;
    file.fail("the posterior of one readout beside a " + std::string(model.map->family()) + " of " +
              std::to_string(members.size()) +
              " samples, whose spread it does not know; remove it, or give each sample a file and "
              "a posterior of its own" +
              (part ? " (" + std::string(part) + ")" : ""));
  }
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

// The samples of one model as one map and as many readout samples, each with weights for its own
// features alone.
static Model join_samples(const std::string &name, std::vector<Model> members) {
  std::vector<const FeatureMap *> maps;
  for (const Model &member : members) maps.push_back(member.map.get());
  Model model;
  model.name = name;
  model.map = fuse(maps);
  if (!model.map)
    throw Error(name + ": its " + std::to_string(members.size()) +
                " samples have no common map: read them as members of a committee");
  model.warnings = std::move(members[0].warnings);
  const size_t m = model.map->nreadout();
  std::vector<double> mean(m), samples(members.size() * m, 0.0);
  for (size_t z = 0; z < model.map->elements().size(); z++) {
    const int species = static_cast<int>(z);
    int at = model.map->offset(species);
    for (size_t k = 0; k < members.size(); k++) {
      const int count = maps[k]->count(species);
      const double *weights = members[k].readout.mean().data() + maps[k]->offset(species);
      for (int i = 0; i < count; i++, at++) {
        samples[k * m + at] = weights[i];
        mean[at] = weights[i] / static_cast<double>(members.size());
      }
    }
  }
  model.readout = Readout(std::move(mean));
  model.readout.set_samples(static_cast<int>(members.size()), std::move(samples));
  return model;
}

// One model from a posterior, the file itself or the one beside it, else those of the native file.
static std::vector<Model> read_members(const ModelFiles &files, const LoadOptions &options) {
  std::vector<Model> members;
  if (SafeTensors::recognises(files.model) && !family_of(files.model)) {
    members.push_back(load_posterior(files.name, files.model, files, options));
  } else if (!files.posterior_name.empty()) {
    const SafeTensors posterior(files.posterior_name, files.posterior);
    const std::string expected = posterior.metadata("model_sha256"), found = sha256(files.model);
    if (expected != found)
      posterior.fail("the posterior of another model: it wants sha256 " + expected.substr(0, 12) +
                     "..., " + files.name + " has " + found.substr(0, 12) +
                     "...; refit, or remove the .uq file");
    members.push_back(load_posterior(files.posterior_name, files.posterior, files, options));
  } else {
    members = read_native(files.name, files.model, files, options);
  }
  return members;
}

Model uq::load_model(const ModelFiles &files, const LoadOptions &options) {
  std::vector<Model> members = read_members(files, options);
  return members.size() == 1 ? std::move(members[0]) : join_samples(files.name, std::move(members));
}

static void check_names(const std::vector<Model> &members, const std::vector<std::string> &given) {
  for (const Model &member : members)
    if (member.map->elements() != given)
      throw Error(member.name + ": its species are " + joined(member.map->elements()) + ", not " +
                  joined(given) + ": leave the names behind the colon out");
}

std::vector<Model> uq::load_members(const ModelFiles &files, const LoadOptions &options) {
  std::vector<Model> members = read_members(files, options);
  for (size_t k = 0; k < members.size() && members.size() > 1; k++)
    members[k].name += " (sample " + std::to_string(k + 1) + ")";
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
