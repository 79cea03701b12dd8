// SPDX-License-Identifier: GPL-2.0-or-later
// Strict reader of the safetensors format: 8 bytes little-endian header length, JSON header, then
// the tensors without gaps or overlaps to the very end of the file. Files of pyuq carry a checksum,
// see pyuq/io/identity.py, which writes and checks the same.

#ifndef UQ_FILES_SAFETENSORS_H
#define UQ_FILES_SAFETENSORS_H

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace uq {

class SafeTensors {
 public:
  struct Tensor {
    std::string dtype;
    std::vector<uint64_t> shape;
    std::string_view bytes;    // points into the file's bytes
  };

  // `bytes` must outlive this object. Throws uq::Error naming `file`, also where the content is not
  // what the checksum says. A file without checksum is of an older version, or by another program.
  SafeTensors(const std::string &file, std::string_view bytes);

  static bool recognises(std::string_view bytes);
  // The metadata entry `format` of a file that may be damaged; empty where there is none.
  static std::string format_of(std::string_view bytes);

  bool has_checksum() const { return has_checksum_; }

  bool has(const std::string &name) const { return tensors_.count(name) > 0; }
  const Tensor &tensor(const std::string &name) const;
  // A finite F64 tensor of exactly this shape.
  std::vector<double> doubles(const std::string &name, const std::vector<uint64_t> &shape) const;
  // The same, of a matrix that has `rows` rows and `columns` columns: the given rows (empty: all)
  // and columns of it.
  std::vector<double> doubles(const std::string &name, uint64_t rows, uint64_t columns,
                              const std::vector<int> &some_rows,
                              const std::vector<int> &some_columns) const;
  std::string metadata(const std::string &key) const;    // must exist

  [[noreturn]] void fail(const std::string &message) const;

 private:
  void read(std::string_view header, std::string_view data);
  void check_sum(std::string_view head, std::string_view data);
  const Tensor &check(const std::string &name, const std::vector<uint64_t> &shape) const;

  std::string file_;
  bool has_checksum_ = false;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}    // namespace uq

#endif
