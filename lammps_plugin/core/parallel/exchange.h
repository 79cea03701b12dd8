// SPDX-License-Identifier: GPL-2.0-or-later
// Values of atoms between owners and ghosts, for feature maps whose atoms pass messages. Code that
// knows the ghosts implements it: LAMMPS's communication in the styles, an index map where one
// process holds all atoms. Every call is collective: a rank without atoms takes part.

#ifndef UQ_EXCHANGE_H
#define UQ_EXCHANGE_H

#include <cstddef>

namespace uq {

class Exchange {
 public:
  virtual ~Exchange() = default;
  // values [ntotal][width]: rows of ghosts become those of their owners.
  virtual void forward(int width, double *values) = 0;
  // Rows of ghosts are added to those of their owners; what they hold afterwards is undefined.
  virtual void reverse(int width, double *values) = 0;
};

// All owners are here: owner[ntotal], each atom's own index or that of the atom it is an image of.
class IndexExchange : public Exchange {
 public:
  IndexExchange(int ntotal, const int *owner) : ntotal_(ntotal), owner_(owner) {}

  void forward(int width, double *values) override {
    for (int i = 0; i < ntotal_; i++)
      for (int c = 0; owner_[i] != i && c < width; c++)
        values[at(i, width) + c] = values[at(owner_[i], width) + c];
  }
  void reverse(int width, double *values) override {
    for (int i = 0; i < ntotal_; i++)
      for (int c = 0; owner_[i] != i && c < width; c++)
        values[at(owner_[i], width) + c] += values[at(i, width) + c];
  }

 private:
  int ntotal_;
  const int *owner_;

  static size_t at(int i, int width) { return static_cast<size_t>(i) * width; }
};

}    // namespace uq

#endif
