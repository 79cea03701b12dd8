// SPDX-License-Identifier: GPL-2.0-or-later
// SHA-256 as in FIPS 180-4, sections 5.1.1, 5.3.3 and 6.2.2. The constants are made from their
// definition: the first 32 bits of the fractional parts of the square and cube roots of the first
// primes.

#include "core/formats/sha256.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

using namespace uq;

namespace {

using Words = std::array<uint32_t, 8>;

struct Constants {
  std::array<uint32_t, 64> k;
  Words h;

  Constants() {
    int count = 0;
    for (int n = 2; count < 64; n++) {
      bool prime = true;
      for (int d = 2; d * d <= n; d++) prime = prime && n % d != 0;
      if (!prime) continue;
      if (count < 8) h[count] = fraction(std::sqrt(static_cast<long double>(n)));
      k[count++] = fraction(std::cbrt(static_cast<long double>(n)));
    }
  }

  static uint32_t fraction(long double x) {
    return static_cast<uint32_t>(static_cast<uint64_t>((x - std::floor(x)) * 4294967296.0L));
  }
};

uint32_t rotate(uint32_t x, int n) {
  return x >> n | x << (32 - n);
}

void compress(const Constants &c, const unsigned char *block, Words &hash) {
  uint32_t w[64];
  for (int t = 0; t < 16; t++)
    w[t] = static_cast<uint32_t>(block[4 * t]) << 24 |
           static_cast<uint32_t>(block[4 * t + 1]) << 16 |
           static_cast<uint32_t>(block[4 * t + 2]) << 8 | block[4 * t + 3];
  for (int t = 16; t < 64; t++) {
    const uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
    const uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
    w[t] = w[t - 16] + s0 + w[t - 7] + s1;
  }
  Words v = hash;
  for (int t = 0; t < 64; t++) {
    const uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
    const uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
    const uint32_t t1 = v[7] + s1 + choice + c.k[t] + w[t];
    const uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
    const uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
    for (int i = 7; i > 0; i--) v[i] = v[i - 1];
    v[4] += t1;
    v[0] = t1 + s0 + majority;
  }
  for (int i = 0; i < 8; i++) hash[i] += v[i];
}

}    // namespace

std::string uq::sha256(std::string_view bytes) {
  return sha256({bytes});
}

std::string uq::sha256(std::initializer_list<std::string_view> pieces) {
  static const Constants constants;
  Words hash = constants.h;
  unsigned char held[128] = {};    // what of a block has come so far; at the end two blocks at most
  size_t nheld = 0;
  uint64_t total = 0;
  for (std::string_view piece : pieces) {
    total += piece.size();
    while (!piece.empty()) {
      if (nheld == 0 && piece.size() >= 64) {
        compress(constants, reinterpret_cast<const unsigned char *>(piece.data()), hash);
        piece.remove_prefix(64);
        continue;
      }
      const size_t taken = std::min(64 - nheld, piece.size());
      std::memcpy(held + nheld, piece.data(), taken);
      piece.remove_prefix(taken);
      nheld += taken;
      if (nheld == 64) {
        compress(constants, held, hash);
        nheld = 0;
      }
    }
  }

  const size_t ntail = nheld < 56 ? 64 : 128;
  std::fill(held + nheld, held + ntail, static_cast<unsigned char>(0));
  held[nheld] = 0x80;
  const uint64_t bits = 8 * total;
  for (int i = 0; i < 8; i++) held[ntail - 1 - i] = static_cast<unsigned char>(bits >> (8 * i));
  for (size_t i = 0; i < ntail; i += 64) compress(constants, held + i, hash);

  std::string hex;
  for (uint32_t word : hash)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
  return hex;
}
