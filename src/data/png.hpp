// PNG files to RGB pictures through libpng: 1 to 16 bits, gray, palette, RGB, each with or without transparency, interlaced.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "dtrain/data.hpp"

namespace dtrain {

/// Extents from the header; `bytes` may be a prefix of the file. Errors: DataError.
PictureSize png_size(std::span<const std::uint8_t> bytes, const std::string& name);

/// Decodes to RGB: 16 bits keep the high byte (of the bits that an sBIT chunk says are significant, where samples use these
/// alone), transparency is dropped, gamma is ignored. Errors: DataError: damaged,
/// truncated, too large.
void decode_png(std::span<const std::uint8_t> bytes, const std::string& name, Picture& picture);

/// Bits that the largest sample of a 16-bit file without an sBIT chunk takes, 0 to 16; 0 for all other files.
/// Errors: DataError as decode_png.
int png_used_bits(std::span<const std::uint8_t> bytes, const std::string& name);

}  // namespace dtrain
