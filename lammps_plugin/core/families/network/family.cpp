// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/network/network.h"
#include "core/families/registry.h"

using namespace uq;

// Each sample of the weights is a member.
static std::vector<FamilyMember> load(const FamilySource &source) {
  const network::Parameters potential = network::read_network(source.name, source.bytes);
  std::vector<FamilyMember> members;
  for (const network::Weights &sample : potential.samples)
    members.push_back(
        {std::make_shared<network::Network>(network::Parameters{potential.shape, {sample}}), {}});
  return members;
}

namespace uq {
namespace network {
extern const Family registration = {"network", "a pyuq network", recognises_network,       load,
                                    false,     nullptr,          "pyuq bnn export --apart"};
}
}    // namespace uq
