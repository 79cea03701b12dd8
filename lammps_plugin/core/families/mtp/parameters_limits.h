// SPDX-License-Identifier: GPL-2.0-or-later
// Limits on what a file may ask for; the published levels up to 28 stay far below.

#ifndef UQ_MTP_POTENTIAL_LIMITS_H
#define UQ_MTP_POTENTIAL_LIMITS_H

namespace uq {
namespace mtp {

constexpr int max_species = 128;
constexpr int max_radial = 64;    // radial functions, and radial basis functions
constexpr int max_degree = 16;    // of the monomials of a basic moment
constexpr int max_moments = 65535;
constexpr int max_products = 1 << 24;

}    // namespace mtp
}    // namespace uq

#endif
