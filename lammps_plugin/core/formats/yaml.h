// SPDX-License-Identifier: GPL-2.0-or-later
// The part of YAML that potential files use: block and flow mappings and sequences, plain and
// quoted scalars, comments; a key may be a flow sequence. Anchors, tags, multi-line scalars and
// documents are refused. Depth is bounded, memory is a small multiple of the text.

#ifndef UQ_FILES_YAML_H
#define UQ_FILES_YAML_H

#include <string>
#include <string_view>
#include <vector>

namespace uq {

struct YamlNode {
  enum class Kind { Scalar, Sequence, Mapping };

  Kind kind = Kind::Scalar;
  int line = 0;                   // where it starts, from 1
  std::string_view text;          // of a scalar as written, escapes left; points into the text
  std::vector<YamlNode> items;    // of a sequence; of a mapping: key, value, key, value, ...
};

// `text` must outlive the result. Throws uq::Error with file and line.
YamlNode parse_yaml(const std::string &file, std::string_view text);

// Access with checks; every failure is an uq::Error that names file, line, the value found and what
// was expected.
class YamlView {
 public:
  YamlView(const std::string &file, const YamlNode &node) : file_(&file), node_(&node) {}

  int line() const { return node_->line; }
  bool is_mapping() const { return node_->kind == YamlNode::Kind::Mapping; }
  bool is_scalar() const { return node_->kind == YamlNode::Kind::Scalar; }
  bool has(std::string_view key) const;
  YamlView operator[](std::string_view key) const;    // of a mapping; must exist
  size_t size() const;                                // of a sequence, or of a mapping in pairs
  YamlView item(size_t i) const;                      // of a sequence
  YamlView key(size_t i) const;                       // of a mapping
  YamlView value(size_t i) const;

  std::string text() const;
  double number() const;                   // finite
  int integer(int low, int high) const;    // in [low, high]
  std::vector<double> numbers() const;
  std::vector<int> integers(int low, int high) const;

  [[noreturn]] void fail(const std::string &message) const;

 private:
  const std::string *file_;
  const YamlNode *node_;

  const std::vector<YamlNode> &sequence() const;
  const YamlNode *find(std::string_view key) const;
};

}    // namespace uq

#endif
