// SPDX-License-Identifier: GPL-2.0-or-later
// Limits on what a file may ask for; far beyond any real potential.

#ifndef UQ_ACE_POTENTIAL_LIMITS_H
#define UQ_ACE_POTENTIAL_LIMITS_H

namespace uq {
namespace ace {

constexpr int max_rank = 8;
constexpr int max_l = 24;
constexpr int max_channels = 256;
constexpr int max_elements = 120;
constexpr int max_densities = 64;

}    // namespace ace
}    // namespace uq

#endif
