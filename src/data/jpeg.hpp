// JPEG files to RGB pictures and back, through libjpeg-turbo. Baseline and progressive; gray, YCbCr,
// RGB, CMYK and YCCK. A damaged or truncated file is an error, never a half-gray picture.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dtrain/data.hpp"

namespace dtrain {

/// Extents from the header; `bytes` may be a prefix of the file. Errors: DataError.
PictureSize jpeg_size(std::span<const std::uint8_t> bytes, const std::string& name);

/// Decodes at full size, or at 1/2, 1/4 or 1/8 as the hint allows. The part that the hint calls needed has the bits that it has
/// when all of the picture is decoded. Errors: DataError: damaged, truncated, too large.
void decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& name, const Dataset::ChooseHint& choose_hint,
                 Picture& picture);

/// Largest of 1, 2, 4, 8 by which a picture may be divided (rounding up) without going below the hint; 1 where an extent of
/// the hint is 0.
std::int64_t jpeg_denominator(const PictureSize& stored, const DecodeHint& hint);

struct JpegEncoding {
  int quality = 90;           ///< 1 to 100
  bool halves_chroma = true;  ///< 4:2:0, else 4:4:4
  bool is_progressive = false;
};
/// Encodes an RGB picture.
std::vector<std::uint8_t> encode_jpeg(const Picture& picture, const JpegEncoding& encoding);

}  // namespace dtrain
