// SPDX-License-Identifier: GPL-2.0-or-later
// Model = feature map + readout, and how one is loaded.

#ifndef UQ_MODEL_H
#define UQ_MODEL_H

#include "core/families/load_options.h"
#include "core/map/feature_map.h"
#include "core/posterior/active_set.h"
#include "core/posterior/readout.h"

#include <memory>
#include <string>
#include <vector>

namespace uq {

struct Model {
  std::string name;                         // of the file, for messages
  std::shared_ptr<const FeatureMap> map;    // models of one map differ in the readout
  Readout readout;
  ActiveSet active;    // of a linear fit; empty: none
  // What a user should know of how the file was read, each with its name; who loads a model tells
  // them.
  std::vector<std::string> warnings;

  bool has_grades() const { return !active.empty() || map->has_grades(); }
};

// A model as users name it: FILE, FILE:El1,El2 with the names of its species, FILE:gpumd=5.3 with
// the version that wrote it.
struct ModelName {
  std::string path;
  std::vector<std::string> elements;
  std::string gpumd;
};

// Splits at the last colon; what follows it belongs to the path where it cannot be one of the
// above.
ModelName split_model_name(const std::string &argument);

// The bytes of a model: the file that was named and, where one lies beside it, its posterior
// (NAME.uq beside NAME.yace) and its active set by pacemaker (NAME.asi beside NAME.yaml). Kept
// apart from parsing so that one MPI rank can read and broadcast.
struct ModelFiles {
  std::string name;
  std::string model;
  std::string posterior_name;    // empty: none
  std::string posterior;
  std::string active_name;    // empty: none
  std::string active;
};

// Reads the bytes. Throws uq::Error.
ModelFiles read_model_files(const std::string &path);

// Recognises the format from the content. A posterior that was made for another model is refused.
// Throws uq::Error naming file, line, value found and what was expected.
Model load_model(const ModelFiles &files, const LoadOptions &options = {});

// The same, with the samples of a network file as models of their own (load_model() makes them one
// map with as many readout samples).
std::vector<Model> load_members(const ModelFiles &files, const LoadOptions &options = {});

// Several models as one with their mean readouts, as fuse() does with maps; without a map where
// they have no work in common.
Model fuse(const std::vector<const Model *> &models);

}    // namespace uq

#endif
