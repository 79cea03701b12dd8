// SPDX-License-Identifier: GPL-2.0-or-later

#ifndef UQ_FILES_SHA256_H
#define UQ_FILES_SHA256_H

#include <initializer_list>
#include <string>
#include <string_view>

namespace uq {

// SHA-256 of the bytes, 64 lower-case hexadecimal digits (FIPS 180-4).
std::string sha256(std::string_view bytes);

// The same of pieces that follow each other, without a copy of them all.
std::string sha256(std::initializer_list<std::string_view> pieces);

}    // namespace uq

#endif
