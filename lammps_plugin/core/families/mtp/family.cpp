// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/mtp/mtp.h"
#include "core/families/registry.h"

using namespace uq;

static bool recognises(std::string_view bytes) {
  return starts_with(first_content(bytes), "MTP");
}

static std::vector<FamilyMember> load(const FamilySource &source) {
  return {{std::make_shared<mtp::Mtp>(
               mtp::read_mtp(source.name, source.bytes, source.options.elements)),
           {}}};
}

namespace uq {
namespace mtp {
extern const Family registration = {"mtp", ".mtp", recognises, load};
}
}    // namespace uq
