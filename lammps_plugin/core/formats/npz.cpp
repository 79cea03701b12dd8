// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/formats/npz.h"

#include "core/error.h"
#include "core/formats/text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

using namespace uq;

namespace {

uint32_t crc32(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t;
    for (uint32_t n = 0; n < 256; n++) {
      uint32_t c = n;
      for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
      t[n] = c;
    }
    return t;
  }();
  uint32_t c = 0xFFFFFFFFu;
  for (const char byte : bytes) c = table[(c ^ static_cast<unsigned char>(byte)) & 255] ^ (c >> 8);
  return c ^ 0xFFFFFFFFu;
}

class Reader {
 public:
  Reader(const std::string &file, std::string_view bytes) : file_(file), bytes_(bytes) {}

  // The directory at the end of the archive lists its members.
  std::map<std::string, NpzArray> read() const {
    static constexpr std::string_view mark("PK\5\6", 4);
    const size_t end = bytes_.rfind(mark);
    if (end == bytes_.npos) fail("it has no zip directory: truncated, or not a .npz archive");
    const uint64_t count = number(end + 10, 2);
    uint64_t at = number(end + 16, 4);
    std::map<std::string, NpzArray> arrays;
    for (uint64_t k = 0; k < count; k++) {
      if (number(at, 4) != 0x02014b50) fail("its zip directory is damaged");
      const uint64_t method = number(at + 10, 2), checksum = number(at + 16, 4),
                     size = number(at + 24, 4), length = number(at + 28, 2),
                     extra = number(at + 30, 2), comment = number(at + 32, 2),
                     local = number(at + 42, 4);
      std::string name(part(at + 46, length));
      at += 46 + length + extra + comment;
      if (method != 0)
        fail("the array " + excerpt(name) + " is compressed; expected it as numpy.savez writes it");
      if (number(local, 4) != 0x04034b50) fail("the array " + excerpt(name) + " is damaged");
      const uint64_t begin = local + 30 + number(local + 26, 2) + number(local + 28, 2);
      const std::string_view data = part(begin, size);
      if (crc32(data) != checksum)
        fail("the array " + excerpt(name) + " does not have the checksum that the archive gives");
      if (name.size() > 4 && name.substr(name.size() - 4) == ".npy") name.resize(name.size() - 4);
      if (!arrays.emplace(name, array(name, data)).second)
        fail("the array " + excerpt(name) + " appears twice");
    }
    return arrays;
  }

 private:
  const std::string &file_;
  std::string_view bytes_;

  [[noreturn]] void fail(const std::string &message) const { throw Error(file_ + ": " + message); }

  std::string_view part(uint64_t at, uint64_t size) const {
    if (at > bytes_.size() || size > bytes_.size() - at)
      fail("it ends after " + std::to_string(bytes_.size()) + " bytes, within an array");
    return bytes_.substr(at, size);
  }
  // Little-endian, of so many bytes.
  uint64_t number(uint64_t at, int size) const {
    const std::string_view digits = part(at, size);
    uint64_t value = 0;
    for (int k = size - 1; k >= 0; k--) value = value << 8 | static_cast<unsigned char>(digits[k]);
    return value;
  }

  // The value of a key in the header of a .npy, which is a Python dictionary.
  static std::string_view value(std::string_view header, std::string_view key) {
    size_t at = header.find(key);
    if (at == header.npos || (at = header.find(':', at)) == header.npos) return {};
    at = std::min(header.find_first_not_of(" ", at + 1), header.size());
    const size_t end = header[at] == '(' ? header.find(')', at) : header.find_first_of(",}", at);
    return header.substr(at, end - at);
  }

  NpzArray array(const std::string &name, std::string_view data) const {
    const auto damaged = [&]() { fail("the array " + excerpt(name) + " is not a .npy array"); };
    if (data.size() < 12 || data.substr(1, 5) != "NUMPY") damaged();
    const size_t wide = data[6] == 1 ? 2 : 4;    // bytes of the header's length
    uint64_t length = 0;
    for (size_t k = wide; k-- > 0;) length = length << 8 | static_cast<unsigned char>(data[8 + k]);
    if (length > data.size() - 8 - wide) damaged();
    const std::string_view header = data.substr(8 + wide, length),
                           numbers = data.substr(8 + wide + length),
                           type = value(header, "'descr'"), shape = value(header, "'shape'");
    if (type != "'<f8'")
      fail("the array " + excerpt(name) + " has the type " + excerpt(type) + ", expected '<f8'");
    const bool columns_first = value(header, "'fortran_order'") == "True";
    NpzArray result;
    uint64_t size = 1;
    for (size_t at = 0; (at = shape.find_first_of("0123456789", at)) != shape.npos;) {
      const size_t end = std::min(shape.find_first_not_of("0123456789", at), shape.size());
      if (end - at > 9) damaged();
      result.shape.push_back(std::stoull(std::string(shape.substr(at, end - at))));
      if (result.shape.back() > 0 && size > numbers.size() / result.shape.back()) damaged();
      size *= result.shape.back();
      at = end;
    }
    if (size * sizeof(double) != numbers.size()) damaged();
    result.values.resize(size);
    if (size > 0) std::memcpy(result.values.data(), numbers.data(), numbers.size());
    for (const double x : result.values)
      if (!std::isfinite(x))
        fail("the array " + excerpt(name) + " holds a number that is not finite");
    if (columns_first && result.shape.size() == 2) {
      const std::vector<double> columns = result.values;
      const uint64_t n = result.shape[0], m = result.shape[1];
      for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < m; j++) result.values[i * m + j] = columns[j * n + i];
    }
    return result;
  }
};

}    // namespace

std::map<std::string, NpzArray> uq::read_npz(const std::string &file, std::string_view bytes) {
  return Reader(file, bytes).read();
}
