// Resizing of 8-bit RGB images, bit for bit as PIL's Image.resize(filter, box) does it. Bilinear and bicubic are antialiased: a
// triangle, or Keys' cubic with a = −1/2, as wide as the reduction asks for, rows first, then columns, each rounded to 8 bits.
// Integer arithmetic, so every machine gives the same image. Nearest takes the pixel under the centre.
#pragma once

#include <cstdint>
#include <vector>

#include "dtrain/data.hpp"

namespace dtrain {

/// Pixels owned by someone else, interleaved RGB.
struct PictureView {
  const std::uint8_t* rgb = nullptr;
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::int64_t stride_bytes = 0;  ///< from a row to the next
};

/// Part of a picture in pixels, fractions allowed.
struct SourceBox {
  double left = 0.0;
  double top = 0.0;
  double right = 0.0;
  double bottom = 0.0;
};

/// Part of the resized picture.
struct Window {
  std::int64_t left = 0;
  std::int64_t top = 0;
  std::int64_t width = 0;
  std::int64_t height = 0;
};

/// Weights of the filter along one direction: pixel i of the window is the sum over t of weights[i·taps + t] · src[first[i] +
/// t], in units of 2^−kWeightBits.
struct FilterTaps {
  std::int64_t taps = 0;  ///< per pixel, unused ones are 0 and lie inside the source where it is large enough
  std::vector<std::int32_t> first;
  std::vector<std::int32_t> count;
  std::vector<std::int32_t> weights;
};
inline constexpr int kWeightBits = 32 - 8 - 2;

/// One direction of a resize: [begin, end) of a source of `extent` pixels becomes `scaled` pixels, of which
/// [window_begin, window_begin + window_count) are wanted.
struct Span1d {
  std::int64_t extent = 0;
  double begin = 0.0;
  double end = 0.0;
  std::int64_t scaled = 0;
  std::int64_t window_begin = 0;
  std::int64_t window_count = 0;
};
/// interpolation: bilinear or bicubic.
FilterTaps plan_taps(const Span1d& span, Interpolation interpolation = Interpolation::bilinear);

/// Resizes `box` of `src` to `scaled` and writes the pixels of `window` (inside `scaled`) to dst, rows dst_stride_bytes
/// apart. Pixels of src outside the box take part in the filter at its edges; pass a narrower view to keep them out.
void resample(const PictureView& src, const SourceBox& box, const PictureSize& scaled, const Window& window, std::uint8_t* dst,
              std::int64_t dst_stride_bytes, Interpolation interpolation = Interpolation::bilinear);

}  // namespace dtrain
