// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/registry.h"

#include <algorithm>

// The families, a line each: FAMILY(name) stands for core/families/name, whose family.cpp defines
// `const Family uq::name::registration`.
#define UQ_FAMILIES                                                                                \
  FAMILY(network)                                                                                  \
  FAMILY(nep)                                                                                      \
  FAMILY(ace)                                                                                      \
  FAMILY(mtp)

namespace uq {
#define FAMILY(name)                                                                               \
  namespace name {                                                                                 \
  extern const Family registration;                                                                \
  }
UQ_FAMILIES
#undef FAMILY
}    // namespace uq

using namespace uq;

#define FAMILY(name) &name::registration,
static const Family *const families[] = {UQ_FAMILIES};
#undef FAMILY

const Family *uq::family_of(std::string_view bytes) {
  for (const Family *family : families)
    if (family->recognises(bytes)) return family;
  return nullptr;
}

std::string uq::known_files() {
  std::string list;
  for (const Family *family : families)
    list += (list.empty() ? "" : ", ") + std::string(family->files);
  return list;
}

std::string_view uq::first_content(std::string_view text) {
  size_t start = 0;
  while (start < text.size()) {
    const std::string_view line = text.substr(start, text.find('\n', start) - start);
    const size_t content = line.find_first_not_of(" \t\r");
    if (content != line.npos && line[content] != '#' && line.substr(content, 3) != "---") break;
    start += line.size() + 1;
  }
  return text.substr(std::min(start, text.size()));
}

bool uq::starts_with(std::string_view text, std::string_view key) {
  return text.substr(0, key.size()) == key;
}
