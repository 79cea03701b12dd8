// SPDX-License-Identifier: GPL-2.0-or-later
// What whoever loads a model may ask for.

#ifndef UQ_LOAD_OPTIONS_H
#define UQ_LOAD_OPTIONS_H

#include <string>
#include <vector>

namespace uq {

// Radial functions of an ACE: exact ones; the splines of the reference evaluator; or splines only
// for functions that do not vanish at their cutoff, where the energy would jump.
enum class Radial { Automatic, Direct, Spline };

struct LoadOptions {
  Radial radial = Radial::Automatic;
  // Names of the species, in file order, for formats that store none (MTP); others ignore it.
  std::vector<std::string> elements;
  // They were given for this very file: other names in it are an error.
  bool named = false;
  // Version of GPUMD that wrote a nep.txt, such as "5.3"; empty: the file tells.
  std::string gpumd;
  // The species that will occur: of a posterior only their blocks are kept. Empty: all.
  std::vector<std::string> occurring;
};

}    // namespace uq

#endif
