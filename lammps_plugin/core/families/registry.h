// SPDX-License-Identifier: GPL-2.0-or-later
// The families of potentials that can be read. Everything else knows feature maps only: a family
// adds its folder and one line to registry.cpp (docs/develop/add-a-family.md).

#ifndef UQ_REGISTRY_H
#define UQ_REGISTRY_H

#include "core/families/load_options.h"
#include "core/map/feature_map.h"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace uq {

// A file to read, as a family gets it.
struct FamilySource {
  std::string name;           // for messages
  std::string_view bytes;     // of the file
  std::string active_name;    // of the second file (see Family::companion); empty: none
  std::string_view active;
  const LoadOptions &options;
};

struct FamilyMember {
  std::shared_ptr<const FeatureMap> map;
  std::vector<std::string> warnings;    // what a user should know of how the file was read
};

struct Family {
  // What FeatureMap::family() says.
  const char *name;
  // Its files, for the error about one of no family, such as ".yace, .ace".
  const char *files;
  // Whether bytes, of any content, are a file of the family.
  bool (*recognises)(std::string_view bytes);
  // The models that a file holds, at least one: several are samples of one model, which fuse() can
  // join. Throws uq::Error naming file, line, value found and what was expected.
  std::vector<FamilyMember> (*load)(const FamilySource &source);
  // Whether LoadOptions::gpumd means something for it; otherwise one that is given is an error.
  bool takes_version = false;
  // Path of a second file (an active set) that belongs to this one if it exists; empty: none.
  std::string (*companion)(const std::string &path) = nullptr;
  // How to part a file of several samples, for the error of a posterior beside it.
  const char *part_samples = nullptr;
};

// Null: a file of no known family.
const Family *family_of(std::string_view bytes);
std::string known_files();    // of all families, for messages

// From the first line on that is neither empty nor a comment (#) nor the start of a YAML document.
std::string_view first_content(std::string_view text);
bool starts_with(std::string_view text, std::string_view key);

}    // namespace uq

#endif
