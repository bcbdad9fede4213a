// PNG files to RGB pictures through libpng: 1 to 16 bits, gray, palette, RGB, each with or without transparency, interlaced.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "dtrain/data.hpp"

namespace dtrain {

/// Extents from the header; `bytes` may be a prefix of the file. Errors: DataError.
PictureSize png_size(std::span<const std::uint8_t> bytes, const std::string& name);

/// Decodes to RGB: 16 bits keep the high byte, transparency is dropped, gamma is ignored. Errors: DataError: damaged,
/// truncated, too large.
void decode_png(std::span<const std::uint8_t> bytes, const std::string& name, Picture& picture);

}  // namespace dtrain
