// SPDX-License-Identifier: GPL-2.0-or-later
// SHA-256 as in FIPS 180-4, sections 5.1.1, 5.3.3 and 6.2.2. The constants are made from their
// definition: the first 32 bits of the fractional parts of the square and cube roots of the first
// primes.

#include "sha256.h"

#include <array>
#include <cmath>
#include <cstdint>

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
  static const Constants constants;
  Words hash = constants.h;
  const auto *data = reinterpret_cast<const unsigned char *>(bytes.data());
  const size_t whole = bytes.size() / 64;
  for (size_t i = 0; i < whole; i++) compress(constants, data + 64 * i, hash);

  unsigned char tail[128] = {};
  const size_t left = bytes.size() % 64, ntail = left < 56 ? 64 : 128;
  for (size_t i = 0; i < left; i++) tail[i] = data[64 * whole + i];
  tail[left] = 0x80;
  const uint64_t bits = 8 * static_cast<uint64_t>(bytes.size());
  for (int i = 0; i < 8; i++) tail[ntail - 1 - i] = static_cast<unsigned char>(bits >> (8 * i));
  for (size_t i = 0; i < ntail; i += 64) compress(constants, tail + i, hash);

  std::string hex;
  for (uint32_t word : hash)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
  return hex;
}
