// The safetensors format as reader and writer share it, and dtrain's checksum in it.
// A file: length N of the header (8 bytes, little-endian) · header (N bytes of JSON, padded with spaces) · data. The header
// names for each tensor its dtype, its shape and its range [begin, end) of the data; "__metadata__" holds texts. Source:
// github.com/huggingface/safetensors, README (format).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include "dtrain/parameters.hpp"

namespace dtrain {

inline constexpr std::size_t kLengthBytes = 8;
inline constexpr std::string_view kMetadataKey = "__metadata__";

// Note [Which files must have a checksum]
// A file that dtrain wrote has metadata "dtrain.version" and "dtrain.checksum": 16 hexadecimal digits of the hash over the
// header, with these digits as zeros, chained with the hash over each tensor's bytes in the order of the data. Metadata with
// any key that begins with "dtrain." must hold both and the checksum must be right: one flipped bit in either key's name leaves
// the other to demand it. The length N needs no checksum, since the ranges must cover the data exactly.
inline constexpr std::string_view kOwnPrefix = "dtrain.";
inline constexpr std::string_view kVersionKey = "dtrain.version";
inline constexpr std::string_view kVersion = "1";
inline constexpr std::string_view kChecksumKey = "dtrain.checksum";
inline constexpr std::string_view kChecksumOpening = "\"dtrain.checksum\":\"";  ///< the digits follow
inline constexpr std::size_t kChecksumDigits = 16;

inline std::string checksum_text(std::uint64_t hash) {
  std::array<char, kChecksumDigits + 1> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(hash));
  return digits.data();
}

/// Hash over a header whose checksum digits are zeros.
inline std::uint64_t hash_header(std::string_view header) { return hash_bytes(std::as_bytes(std::span(header))); }

}  // namespace dtrain
