// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/nep/nep.h"
#include "core/families/registry.h"

using namespace uq;

static bool recognises(std::string_view bytes) {
  const std::string_view first = first_content(bytes);
  return starts_with(first, "nep") && first.size() > 3 && first[3] >= '0' && first[3] <= '9';
}

static std::vector<FamilyMember> load(const FamilySource &source) {
  nep::Parameters potential = nep::read_nep(source.name, source.bytes, source.options.gpumd);
  std::vector<std::string> warnings = std::move(potential.warnings);
  return {{std::make_shared<nep::Nep>(potential), std::move(warnings)}};
}

namespace uq {
namespace nep {
extern const Family registration = {"nep", "nep.txt", recognises, load, true};
}
}    // namespace uq
