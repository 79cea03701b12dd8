// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/error.h"
#include "core/families/ace/ace.h"
#include "core/families/registry.h"
#include "core/formats/npz.h"

#include <filesystem>
#include <map>

using namespace uq;
using namespace uq::ace;

static bool legacy(std::string_view bytes) {
  return starts_with(first_content(bytes), "nelements");
}

static bool recognises(std::string_view bytes) {
  if (legacy(bytes)) return true;
  const std::string_view first = first_content(bytes);
  for (const char *key : {"elements:", "E0:", "deltaSplineBins:", "embeddings:", "bonds:",
                          "functions:", "global:", "species:", "metadata:", "auxdata:", "lmax:"})
    if (starts_with(first, key)) return true;
  return false;
}

// The active set of pacemaker that lies beside a B-basis.
static std::string companion(const std::string &path) {
  const std::filesystem::path file(path);
  const bool basis = file.extension() == ".yaml" || file.extension() == ".yml";
  return basis ? std::filesystem::path(path).replace_extension(".asi").string() : "";
}

static void add_active_set(const FamilySource &source, Ace &map) {
  auto functions =
      std::make_unique<Ace>(read_projections(source.name, source.bytes), source.options);
  std::map<std::string, NpzArray> arrays = read_npz(source.active_name, source.active);
  std::vector<double> inverses;
  for (size_t z = 0; z < map.elements().size(); z++) {
    const std::string &element = map.elements()[z];
    const uint64_t n = functions->count(static_cast<int>(z));
    const auto found = arrays.find(element);
    if (found == arrays.end())
      throw Error(source.active_name + ": it has no array " + element + ", an element of " +
                  source.name);
    const std::vector<uint64_t> &shape = found->second.shape;
    if (shape != std::vector<uint64_t>{n, n}) {
      std::string text;
      for (uint64_t length : shape) text += (text.empty() ? "" : " x ") + std::to_string(length);
      throw Error(source.active_name + ": the active set of " + element + " is " + text +
                  ", expected " + std::to_string(n) + " x " + std::to_string(n) +
                  ", the functions of " + source.name +
                  "; a larger one is that of the full non-linear energy, which pyuq does not "
                  "evaluate: make a linear one with `pace_activeset`, without -f");
    }
    inverses.insert(inverses.end(), found->second.values.begin(), found->second.values.end());
  }
  ActiveSet active(*functions, std::move(inverses));
  map.set_active(std::move(functions), std::move(active));
}

static std::vector<FamilyMember> load(const FamilySource &source) {
  Parameters potential = legacy(source.bytes) ? read_ace(source.name, source.bytes)
                                              : read_yace(source.name, source.bytes);
  std::vector<std::string> warnings = ace::warnings(source.name, potential, source.options.radial);
  auto map = std::make_shared<Ace>(std::move(potential), source.options);
  if (!source.active_name.empty()) add_active_set(source, *map);
  return {{std::move(map), std::move(warnings)}};
}

namespace uq {
namespace ace {
extern const Family registration = {"ace", ".yace, .ace", recognises, load, false, companion};
}
}    // namespace uq
