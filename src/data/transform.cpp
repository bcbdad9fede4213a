// From a sample to normalised floats: decode, crop, resize, mirror, normalise.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>

#include "crop_plan.hpp"
#include "dtrain/data.hpp"
#include "dtrain/error.hpp"
#include "resample.hpp"

namespace dtrain {
namespace {

/// An extent of a box, carried over from the stored to the decoded picture.
struct Edges {
  double begin = 0.0;
  double end = 0.0;
  std::int64_t first_pixel() const { return static_cast<std::int64_t>(begin); }
  std::int64_t end_pixel(std::int64_t extent) const { return std::min(static_cast<std::int64_t>(std::ceil(end)), extent); }
};

Edges decoded_edges(std::int64_t begin, std::int64_t count, std::int64_t stored, std::int64_t decoded) {
  if (stored == decoded) return {static_cast<double>(begin), static_cast<double>(begin + count)};
  const double scale = static_cast<double>(decoded) / static_cast<double>(stored);
  return {static_cast<double>(begin) * scale,
          std::min(static_cast<double>(begin + count) * scale, static_cast<double>(decoded))};
}

/// The plan's window of a decoded picture, black where it reaches beyond: (crop, crop, 3).
void render_window(const Picture& picture, const PictureSize& stored, const TransformPlan& plan, const TransformOptions& options,
                   std::uint8_t* dst) {
  const std::int64_t crop = options.crop;
  const Edges across = decoded_edges(plan.box.left, plan.box.width, stored.width, picture.width);
  const Edges down = decoded_edges(plan.box.top, plan.box.height, stored.height, picture.height);
  const std::int64_t left = across.first_pixel(), top = down.first_pixel();
  // The view ends at the box: pixels outside must not shine in (crop first, then resize).
  const PictureView view{picture.rgb.data() + (top * picture.width + left) * 3, across.end_pixel(picture.width) - left,
                         down.end_pixel(picture.height) - top, picture.width * 3};
  const SourceBox box{across.begin - static_cast<double>(left), down.begin - static_cast<double>(top),
                      across.end - static_cast<double>(left), down.end - static_cast<double>(top)};

  const std::int64_t begin_x = std::max<std::int64_t>(plan.window_left, 0);
  const std::int64_t begin_y = std::max<std::int64_t>(plan.window_top, 0);
  const Window window{begin_x, begin_y, std::min(plan.window_left + crop, plan.scaled.width) - begin_x,
                      std::min(plan.window_top + crop, plan.scaled.height) - begin_y};
  const bool covers_all = window.width == crop && window.height == crop;
  if (!covers_all) std::memset(dst, 0, static_cast<std::size_t>(crop * crop * 3));
  if (window.width <= 0 || window.height <= 0) return;
  resample(view, box, plan.scaled, window, dst + ((begin_y - plan.window_top) * crop + begin_x - plan.window_left) * 3,
           crop * 3, options.interpolation);
}

/// (v/255 − mean)/stddev for each byte, in the order of operations and the precision that torchvision has: equal bits.
using NormalisedBytes = std::array<float, 256>;
NormalisedBytes normalise_bytes(float mean, float stddev) {
  NormalisedBytes table;
  for (std::size_t v = 0; v < table.size(); ++v) table[v] = (static_cast<float>(v) / 255.0f - mean) / stddev;
  return table;
}

/// Luma as PIL's convert("L"): ITU-R 601 weights in units of 2^−16.
std::uint8_t luma(const std::uint8_t* rgb) {
  return static_cast<std::uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

/// Interleaved bytes to planes of floats. All planes are written in one pass over the pixels: each is loaded once.
void write_planes(const std::uint8_t* rgb, bool is_mirrored, const TransformOptions& options, float* dst) {
  const std::int64_t crop = options.crop;
  std::array<NormalisedBytes, 3> tables;
  for (std::size_t c = 0; c < static_cast<std::size_t>(options.channels); ++c)
    tables[c] = normalise_bytes(options.mean[c], options.stddev[c]);
  const std::int64_t step = is_mirrored ? -3 : 3;
  for (std::int64_t y = 0; y < crop; ++y) {
    const std::uint8_t* src = rgb + (y * crop + (is_mirrored ? crop - 1 : 0)) * 3;
    float* red = dst + y * crop;
    if (options.channels == 1) {
      for (std::int64_t x = 0; x < crop; ++x) red[x] = tables[0][luma(src + x * step)];
      continue;
    }
    float* green = red + crop * crop;
    float* blue = green + crop * crop;
    for (std::int64_t x = 0; x < crop; ++x, src += step) {
      red[x] = tables[0][src[0]];
      green[x] = tables[1][src[1]];
      blue[x] = tables[2][src[2]];
    }
  }
}

}  // namespace

void transform_picture(const Dataset& dataset, const SampleRequest& request, const TransformOptions& options, Picture& scratch,
                       std::span<float> dst) {
  check(options.channels == 1 || options.channels == 3, "pictures have 1 or 3 channels");
  check(options.crop >= 1 && options.resize >= 0, "crop is positive and resize is not negative");
  check(static_cast<std::int64_t>(dst.size()) == options.channels * options.crop * options.crop, "dst holds one picture");

  PictureSize stored;
  TransformPlan plan;
  const auto choose_hint = [&](const PictureSize& size) {
    check(size.width >= 1 && size.height >= 1, "a data set's pictures have positive extents");
    stored = size;
    plan = plan_transform(size, options, request);
    return choose_decode_hint(plan, size, options);
  };
  dataset.decode_sized(request.sample, choose_hint, scratch);
  check(static_cast<std::int64_t>(scratch.rgb.size()) == scratch.width * scratch.height * 3 && !scratch.rgb.empty(),
        "a data set decodes to width × height × 3 bytes");

  const auto window = std::make_unique_for_overwrite<std::uint8_t[]>(static_cast<std::size_t>(options.crop * options.crop * 3));
  render_window(scratch, stored, plan, options, window.get());
  write_planes(window.get(), plan.is_mirrored, options, dst.data());
}

}  // namespace dtrain
