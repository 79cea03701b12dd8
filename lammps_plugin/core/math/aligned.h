// SPDX-License-Identifier: GPL-2.0-or-later
// A growing array of doubles aligned for the widest vectors. Growing does not keep the contents but
// leaves zeros: kernels read padding that nobody writes, and what a heap holds there, often
// pointers, are subnormal numbers, with which arithmetic takes a hundred times as long.

#ifndef UQ_MATH_ALIGNED_H
#define UQ_MATH_ALIGNED_H

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

namespace uq {

class AlignedArray {
 public:
  AlignedArray() = default;
  explicit AlignedArray(size_t n) { reserve(n); }

  void reserve(size_t n) {
    if (n <= size_) return;
    data_.reset(static_cast<double *>(::operator new(n * sizeof(double), alignment)));
    size_ = n;
    std::fill_n(data_.get(), n, 0.0);
  }
  void zero(size_t n) {
    reserve(n);
    std::fill_n(data_.get(), n, 0.0);
  }
  double *data() { return data_.get(); }
  const double *data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t alignment{64};
  struct Delete {
    void operator()(double *p) const { ::operator delete(p, alignment); }
  };
  std::unique_ptr<double, Delete> data_;
  size_t size_ = 0;
};

// Calls n numbers into the cache that will be read or written soon.
inline void prefetch(const double *p, size_t n) {
  constexpr size_t line = 8;
  for (size_t k = 0; k < n; k += line) __builtin_prefetch(p + k);
}

}    // namespace uq

#endif
