// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/formats/safetensors.h"

#include "core/error.h"
#include "core/formats/sha256.h"
#include "core/formats/text.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

using namespace uq;
using Json = nlohmann::json;

// Names of the entries of the checksum, and what it is a sum of, as in pyuq/io/identity.py.
static constexpr char CHECKSUM[] = "pyuq_checksum", CHECKSUM_OF[] = "pyuq_checksum_of";
static constexpr char RULE[] =
    "SHA-256 of all bytes of this file, the 64 digits of the checksum as zeros";

static uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; i--) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

bool SafeTensors::recognises(std::string_view bytes) {
  return bytes.size() > 9 && bytes[8] == '{' && little_endian(bytes) <= bytes.size() - 8;
}

void SafeTensors::fail(const std::string &message) const {
  std::string printable;    // the header's own words may be any bytes
  for (char c : message) printable += c >= ' ' && c <= '~' ? c : '?';
  throw Error(file_ + ": " + printable);
}

static uint64_t size_of(const std::string &dtype) {
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") return 2;
  if (dtype == "I8" || dtype == "U8" || dtype == "BOOL") return 1;
  return 0;
}

// The header of one tensor; `data` is everything behind the header. Throws nlohmann exceptions on
// wrong types.
static SafeTensors::Tensor read_tensor(const SafeTensors &file, const std::string &name,
                                       const Json &entry, std::string_view data, uint64_t &begin) {
  SafeTensors::Tensor tensor;
  tensor.dtype = entry.at("dtype").get<std::string>();
  uint64_t size = size_of(tensor.dtype);
  if (!size)
    file.fail("tensor " + excerpt(name) + " has the unknown dtype " + excerpt(tensor.dtype));
  const auto length = [&](const Json &j) {
    if (!j.is_number_unsigned())
      file.fail("tensor " + excerpt(name) + ": a size is not a whole number");
    return j.get<uint64_t>();
  };
  for (const Json &j : entry.at("shape")) {
    const uint64_t n = length(j);
    if (n && size > data.size() / n)
      file.fail("tensor " + excerpt(name) + " is larger than the file");
    size *= n;
    tensor.shape.push_back(n);
  }
  const Json &offsets = entry.at("data_offsets");
  if (offsets.size() != 2) file.fail("tensor " + excerpt(name) + ": expected two data_offsets");
  begin = length(offsets.at(0));
  const uint64_t end = length(offsets.at(1));
  if (begin > end || end > data.size() || end - begin != size)
    file.fail("tensor " + excerpt(name) + ": data_offsets " + std::to_string(begin) + ".." +
              std::to_string(end) + " do not fit its " + std::to_string(size) +
              " bytes in a data part of " + std::to_string(data.size()));
  tensor.bytes = data.substr(begin, size);
  return tensor;
}

SafeTensors::SafeTensors(const std::string &file, std::string_view bytes) : file_(file) {
  static constexpr uint64_t longest_header = 100'000'000;
  if (bytes.size() < 10)
    fail("too short for a safetensors file, " + std::to_string(bytes.size()) + " bytes");
  const uint64_t length = little_endian(bytes);
  if (length > bytes.size() - 8 || length > longest_header)
    fail("the header is said to have " + std::to_string(length) + " bytes, the file has " +
         std::to_string(bytes.size()) + "; truncated, or not a safetensors file");
  read(bytes.substr(8, length), bytes.substr(8 + length));
  check_sum(bytes.substr(0, 8 + length), bytes.substr(8 + length));
}

std::string SafeTensors::format_of(std::string_view bytes) {
  if (!recognises(bytes)) return "";
  const std::string_view header = bytes.substr(8, little_endian(bytes));
  const auto shallow = [](int depth, Json::parse_event_t, Json &) { return depth <= 4; };
  const Json root = Json::parse(header.begin(), header.end(), shallow, false);
  const Json metadata = root.is_object() ? root.value("__metadata__", Json()) : Json();
  const Json format = metadata.is_object() ? metadata.value("format", Json()) : Json();
  return format.is_string() ? format.get<std::string>() : "";
}

// `head`: up to the end of the header.
void SafeTensors::check_sum(std::string_view head, std::string_view data) {
  static const std::string remedy =
      "; put back a copy of it or make it again (if it was changed on purpose: write it without "
      "the entries pyuq_checksum and pyuq_checksum_of)";
  const bool sum = metadata_.count(CHECKSUM), rule = metadata_.count(CHECKSUM_OF);
  has_checksum_ = sum && rule;
  if (!sum && !rule) return;
  if (!has_checksum_)
    fail(std::string("damaged: it has the entry ") + (sum ? CHECKSUM : CHECKSUM_OF) + " but not " +
         (sum ? CHECKSUM_OF : CHECKSUM) + remedy);
  const std::string &said = metadata_.at(CHECKSUM);
  if (metadata_.at(CHECKSUM_OF) != RULE)
    fail("damaged, or of a newer pyuq: " + std::string(CHECKSUM_OF) + " is " +
         excerpt(metadata_.at(CHECKSUM_OF)) + ", expected '" + RULE + "'" + remedy);
  const auto digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  size_t start = std::string_view::npos;
  if (said.size() == 64 && std::all_of(said.begin(), said.end(), digit))
    for (const char *space : {"", " "}) {
      const std::string text = "\"" + std::string(CHECKSUM) + "\":" + space + "\"" + said + "\"";
      const size_t found = head.find(text);
      if (found != head.npos) start = found + text.size() - 65;
    }
  if (start == head.npos)
    fail("damaged: " + std::string(CHECKSUM) + " is " + excerpt(said) +
         ", expected 64 hexadecimal digits" + remedy);
  const std::string found = sha256({head.substr(0, start), std::string_view(std::string(64, '0')),
                                    head.substr(start + 64), data});
  if (found != said)
    fail("damaged, or changed since it was written: its content has the sum " +
         found.substr(0, 12) + "..., its " + CHECKSUM + " is " + said.substr(0, 12) + "..." +
         remedy);
}

void SafeTensors::read(std::string_view header, std::string_view data) {
  std::vector<std::pair<uint64_t, uint64_t>> spans;
  try {
    const auto shallow = [this](int depth, Json::parse_event_t, Json &) {
      if (depth > 4) fail("the header is nested more deeply than safetensors allow");
      return true;
    };
    const Json root = Json::parse(header.begin(), header.end(), shallow);
    if (!root.is_object()) fail("the header is not a JSON object");
    for (const auto &[name, entry] : root.items()) {
      if (name == "__metadata__") {
        metadata_ = entry.get<std::map<std::string, std::string>>();
        continue;
      }
      uint64_t begin = 0;
      const Tensor &tensor = tensors_[name] = read_tensor(*this, name, entry, data, begin);
      spans.emplace_back(begin, begin + tensor.bytes.size());
    }
  } catch (const Json::exception &e) {
    fail(std::string("unreadable safetensors header: ") + e.what());
  }
  std::sort(spans.begin(), spans.end());
  uint64_t end = 0;
  for (const auto &span : spans) {
    if (span.first != end)
      fail("tensors overlap or leave a gap at byte " + std::to_string(end) + " of the data");
    end = span.second;
  }
  if (end != data.size())
    fail("the tensors end at byte " + std::to_string(end) + " of a data part of " +
         std::to_string(data.size()));
}

const SafeTensors::Tensor &SafeTensors::tensor(const std::string &name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) fail("the tensor '" + name + "' is missing");
  return found->second;
}

// A tensor of doubles of this shape.
const SafeTensors::Tensor &SafeTensors::check(const std::string &name,
                                              const std::vector<uint64_t> &shape) const {
  const Tensor &t = tensor(name);
  if (t.dtype != "F64") fail("the tensor '" + name + "' has dtype " + t.dtype + ", expected F64");
  if (t.shape != shape) {
    std::string found, wanted;
    for (uint64_t n : t.shape) found += " " + std::to_string(n);
    for (uint64_t n : shape) wanted += " " + std::to_string(n);
    fail("the tensor '" + name + "' has shape [" + found + " ], expected [" + wanted + " ]");
  }
  return t;
}

std::vector<double> SafeTensors::doubles(const std::string &name, uint64_t rows, uint64_t columns,
                                         const std::vector<int> &some_rows,
                                         const std::vector<int> &some_columns) const {
  const Tensor &t = check(name, {rows, columns});
  std::vector<double> values;
  const uint64_t nrows = some_rows.empty() ? rows : some_rows.size();
  values.reserve(nrows * some_columns.size());
  for (uint64_t i = 0; i < nrows; i++) {
    const uint64_t row = some_rows.empty() ? i : some_rows[i];
    for (const int column : some_columns) {
      double value;
      std::memcpy(&value, t.bytes.data() + (row * columns + column) * sizeof(double),
                  sizeof(double));
      if (!std::isfinite(value))
        fail("the tensor '" + name + "' holds a number that is not finite");
      values.push_back(value);
    }
  }
  return values;
}

std::vector<double> SafeTensors::doubles(const std::string &name,
                                         const std::vector<uint64_t> &shape) const {
  const Tensor &t = check(name, shape);
  std::vector<double> values(t.bytes.size() / sizeof(double));
  if (!values.empty()) std::memcpy(values.data(), t.bytes.data(), t.bytes.size());
  for (double value : values)
    if (!std::isfinite(value)) fail("the tensor '" + name + "' holds a number that is not finite");
  return values;
}

std::string SafeTensors::metadata(const std::string &key) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) fail("the metadata entry '" + key + "' is missing");
  return found->second;
}
