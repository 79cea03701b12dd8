// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/formats/yaml.h"

#include "core/formats/text.h"

#include <map>

using namespace uq;

namespace {

class Parser {
 public:
  Parser(const std::string &file, std::string_view text) : file_(file), text_(text) {}

  YamlNode parse() {
    skip_blank_lines();
    if (at_end()) fail("the file holds no data");
    begun_ = true;
    YamlNode root = block(0);
    skip_blank_lines();
    if (!at_end()) fail("unexpected indentation or text " + excerpt(rest_of_line()));
    return root;
  }

 private:
  static constexpr int max_depth = 32;

  const std::string &file_;
  std::string_view text_;
  size_t pos_ = 0;
  size_t line_start_ = 0;
  int line_ = 1;
  int depth_ = 0;
  bool begun_ = false;    // the document

  [[noreturn]] void fail(const std::string &message) const { fail_at(file_, line_, message); }

  struct Level {
    Parser &parser;
    explicit Level(Parser &p) : parser(p) {
      if (++parser.depth_ > max_depth)
        parser.fail("nested more deeply than " + std::to_string(max_depth));
    }
    ~Level() { parser.depth_--; }
  };

  bool at_end() const { return pos_ >= text_.size(); }
  char peek(size_t ahead = 0) const {
    return pos_ + ahead < text_.size() ? text_[pos_ + ahead] : '\0';
  }
  size_t column() const { return pos_ - line_start_; }
  bool at_space(size_t ahead = 0) const {
    return pos_ + ahead >= text_.size() || peek(ahead) == ' ' || peek(ahead) == '\n' ||
           peek(ahead) == '\r';
  }

  std::string_view rest_of_line() const {
    return text_.substr(pos_, text_.find_first_of("\r\n", pos_) - pos_);
  }

  void newline() {
    pos_++;
    line_++;
    line_start_ = pos_;
  }

  void skip_spaces() {
    while (peek() == ' ') pos_++;
    if (peek() == '\t') fail("a tab; indent and separate with spaces");
  }

  // To the end of the line if nothing but a comment is left of it.
  bool skip_to_line_end() {
    skip_spaces();
    if (peek() == '#')
      while (!at_end() && peek() != '\n') pos_++;
    if (peek() == '\r') pos_++;
    return at_end() || peek() == '\n';
  }

  // To the first character of the next line that holds something.
  void skip_blank_lines() {
    while (!at_end() && skip_to_line_end() && !at_end()) newline();
    const std::string_view mark = column() == 0 ? text_.substr(pos_, 3) : "";
    if (mark == "---") {
      if (begun_) fail("a second document; expected one");
      begun_ = true;
    } else if (mark != "..." || !begun_) {
      return;
    }
    pos_ += 3;
    skip_blank_lines();
    if (mark == "..." && !at_end()) fail("text behind the end of the document");
  }

  bool at_sequence_item() const { return peek() == '-' && at_space(1); }

  YamlNode new_node(YamlNode::Kind kind) const {
    YamlNode node;
    node.kind = kind;
    node.line = line_;
    return node;
  }

  // A block that starts here, at a column not less than `indent`.
  YamlNode block(size_t indent) {
    const Level level(*this);
    if (column() < indent) fail("expected an indented value");
    if (at_sequence_item()) return block_sequence();
    if (at_mapping_key()) return block_mapping();
    YamlNode value = inline_value();
    if (!skip_to_line_end()) fail("unexpected text " + excerpt(rest_of_line()));
    return value;
  }

  YamlNode block_sequence() {
    YamlNode node = new_node(YamlNode::Kind::Sequence);
    const size_t indent = column();
    while (!at_end() && column() == indent && at_sequence_item()) {
      pos_++;
      if (skip_to_line_end()) skip_blank_lines();
      if (at_end()) fail("the file ends where a value is expected");
      node.items.push_back(block(indent + 1));
      skip_blank_lines();
    }
    return node;
  }

  YamlNode block_mapping() {
    YamlNode node = new_node(YamlNode::Kind::Mapping);
    const size_t indent = column();
    while (!at_end() && column() == indent && !at_sequence_item()) {
      node.items.push_back(key());
      if (peek() != ':' || !at_space(1))
        fail("expected ': ' after a key, found " + excerpt(rest_of_line()));
      pos_++;
      if (skip_to_line_end()) {
        skip_blank_lines();
        if (at_end()) fail("the file ends where a value is expected");
        node.items.push_back(block(at_sequence_item() ? indent : indent + 1));
      } else {
        node.items.push_back(inline_value());
        if (!skip_to_line_end()) fail("unexpected text " + excerpt(rest_of_line()));
      }
      skip_blank_lines();
    }
    refuse_duplicates(node);
    return node;
  }

  // Whether this line reads `key: ...`.
  bool at_mapping_key() {
    if (peek() == '{') return false;
    const size_t pos = pos_, start = line_start_;
    const int line = line_;
    key();
    const bool found = line_ == line && peek() == ':' && at_space(1);
    pos_ = pos;
    line_start_ = start;
    line_ = line;
    return found;
  }

  // A key given twice has two values, of which readers take different ones.
  void refuse_duplicates(const YamlNode &mapping) const {
    std::map<std::string_view, int> lines;
    for (size_t i = 0; i < mapping.items.size(); i += 2) {
      const YamlNode &key = mapping.items[i];
      if (key.kind != YamlNode::Kind::Scalar) continue;
      const auto [at, first] = lines.emplace(key.text, key.line);
      if (!first)
        fail_at(file_, key.line,
                "the key " + excerpt(key.text) + " appears twice, here and on line " +
                    std::to_string(at->second));
    }
  }

  YamlNode key() {
    YamlNode node = peek() == '[' ? flow() : scalar(false);
    skip_spaces();
    return node;
  }

  YamlNode inline_value() { return peek() == '[' || peek() == '{' ? flow() : scalar(false); }

  // Plain or quoted; inside a flow collection a plain scalar also ends at , ] }.
  YamlNode scalar(bool in_flow) {
    YamlNode node = new_node(YamlNode::Kind::Scalar);
    const char first = peek();
    if (first == '"' || first == '\'') {
      const size_t start = ++pos_;
      while (!at_end() && peek() != first) {
        if (first == '"' && peek() == '\\') pos_++;
        if (peek() == '\n') line_start_ = pos_ + 1, line_++;
        pos_++;
      }
      if (at_end()) fail("a quoted text without end");
      node.text = text_.substr(start, pos_ - start);
      pos_++;
      return node;
    }
    if (first == '&' || first == '*' || first == '!' || first == '|' || first == '>' ||
        first == '?' || first == '%' || first == '@')
      fail("YAML feature " + excerpt(rest_of_line()) + " is not used in potential files");
    const size_t start = pos_;
    while (!at_end() && peek() != '\n' && peek() != '\r') {
      const char c = peek();
      if (c == ':' &&
          (at_space(1) || (in_flow && (peek(1) == ',' || peek(1) == ']' || peek(1) == '}'))))
        break;
      if (c == '#' && pos_ > start && text_[pos_ - 1] == ' ') break;
      if (in_flow && (c == ',' || c == ']' || c == '}' || c == '[' || c == '{')) break;
      pos_++;
    }
    size_t end = pos_;
    while (end > start && text_[end - 1] == ' ') end--;
    if (end == start) fail("expected a value, found " + excerpt(rest_of_line()));
    node.text = text_.substr(start, end - start);
    return node;
  }

  void skip_in_flow() {
    while (skip_to_line_end()) {
      if (at_end()) fail("the file ends inside [...] or {...}");
      newline();
    }
  }

  YamlNode flow() {
    const Level level(*this);
    if (peek() != '[' && peek() != '{') return scalar(true);
    const bool mapping = peek() == '{';
    const char close = mapping ? '}' : ']';
    YamlNode node = new_node(mapping ? YamlNode::Kind::Mapping : YamlNode::Kind::Sequence);
    pos_++;
    skip_in_flow();
    while (peek() != close) {
      node.items.push_back(flow());
      skip_in_flow();
      if (mapping) {
        if (peek() != ':') fail("expected ':' after a key, found " + excerpt(rest_of_line()));
        pos_++;
        skip_in_flow();
        node.items.push_back(flow());
        skip_in_flow();
      }
      if (peek() == ',') {
        pos_++;
        skip_in_flow();
      } else if (peek() != close) {
        fail(std::string("expected ',' or '") + close + "', found " + excerpt(rest_of_line()));
      }
    }
    pos_++;
    if (mapping) refuse_duplicates(node);
    return node;
  }
};

}    // namespace

YamlNode uq::parse_yaml(const std::string &file, std::string_view text) {
  return Parser(file, text).parse();
}

// ---------------------------------------------------------------------- YamlView

void YamlView::fail(const std::string &message) const {
  fail_at(*file_, node_->line, message);
}

const YamlNode *YamlView::find(std::string_view key) const {
  if (!is_mapping()) fail("expected a mapping with the key '" + std::string(key) + "'");
  for (size_t i = 0; i < node_->items.size(); i += 2)
    if (node_->items[i].kind == YamlNode::Kind::Scalar && node_->items[i].text == key)
      return &node_->items[i + 1];
  return nullptr;
}

bool YamlView::has(std::string_view key) const {
  return find(key) != nullptr;
}

YamlView YamlView::operator[](std::string_view key) const {
  const YamlNode *node = find(key);
  if (!node) fail("the key '" + std::string(key) + "' is missing");
  return YamlView(*file_, *node);
}

const std::vector<YamlNode> &YamlView::sequence() const {
  if (node_->kind != YamlNode::Kind::Sequence) fail("expected a list [...]");
  return node_->items;
}

size_t YamlView::size() const {
  return is_mapping() ? node_->items.size() / 2 : sequence().size();
}

YamlView YamlView::item(size_t i) const {
  return YamlView(*file_, sequence()[i]);
}

YamlView YamlView::key(size_t i) const {
  if (!is_mapping()) fail("expected a mapping");
  return YamlView(*file_, node_->items[2 * i]);
}

YamlView YamlView::value(size_t i) const {
  if (!is_mapping()) fail("expected a mapping");
  return YamlView(*file_, node_->items[2 * i + 1]);
}

std::string YamlView::text() const {
  if (node_->kind != YamlNode::Kind::Scalar)
    fail("expected a single value, found a list or a mapping");
  return std::string(node_->text);
}

double YamlView::number() const {
  if (node_->kind != YamlNode::Kind::Scalar) fail("expected a number, found a list or a mapping");
  return to_number(*file_, node_->line, node_->text);
}

int YamlView::integer(int low, int high) const {
  if (node_->kind != YamlNode::Kind::Scalar) fail("expected an integer, found a list or a mapping");
  return to_integer(*file_, node_->line, node_->text, low, high);
}

std::vector<double> YamlView::numbers() const {
  std::vector<double> values;
  for (const YamlNode &node : sequence()) values.push_back(YamlView(*file_, node).number());
  return values;
}

std::vector<int> YamlView::integers(int low, int high) const {
  std::vector<int> values;
  for (const YamlNode &node : sequence())
    values.push_back(YamlView(*file_, node).integer(low, high));
  return values;
}
