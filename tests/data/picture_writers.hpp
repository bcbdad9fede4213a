// Picture files of every variant that the readers must take, written by libpng and TurboJPEG themselves.
#pragma once

#include <turbojpeg.h>

#include <array>
#include <cstdint>
#include <vector>

#include "dtrain/data.hpp"

namespace dtrain {

/// A smooth picture: red grows to the right, green downwards, blue along the diagonal.
Picture gradient_picture(std::int64_t width, std::int64_t height);
/// Every pixel the same.
Picture flat_picture(std::int64_t width, std::int64_t height, std::array<std::uint8_t, 3> colour);
/// Bytes of a fixed pseudo-random sequence.
Picture noise_picture(std::int64_t width, std::int64_t height, std::uint64_t seed);

struct JpegSpec {
  int width = 0;
  int height = 0;
  TJPF format = TJPF_RGB;  ///< of `pixels`
  TJSAMP subsampling = TJSAMP_444;
  int quality = 100;
  int flags = 0;
};
std::vector<std::uint8_t> write_jpeg(const JpegSpec& spec, const std::vector<std::uint8_t>& pixels);

struct PngSpec {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  int bit_depth = 8;
  int colour_type = 2;  ///< 0 gray, 2 RGB, 3 palette, 4 gray + alpha, 6 RGBA
  bool is_interlaced = false;
  std::vector<std::array<std::uint8_t, 3>> palette = {};
  std::vector<std::uint8_t> palette_alpha = {};  ///< tRNS of a palette
  std::array<std::uint8_t, 3> significant_bits = {};  ///< sBIT of red (or gray), green and blue; 0: no such chunk
};
/// rows: packed rows as stored in the file, 16-bit samples big-endian.
std::vector<std::uint8_t> write_png(const PngSpec& spec, const std::vector<std::uint8_t>& rows);
std::vector<std::uint8_t> write_png(const Picture& picture);

}  // namespace dtrain
