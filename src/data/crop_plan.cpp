// Crop arithmetic of torchvision's RandomResizedCrop, Resize and CenterCrop.
#include "crop_plan.hpp"

#include <algorithm>
#include <cmath>

#include "dtrain/random.hpp"

namespace dtrain {
namespace {

constexpr double kMinArea = 0.08, kMaxArea = 1.0;
constexpr double kMinAspect = 3.0 / 4.0, kMaxAspect = 4.0 / 3.0;
constexpr int kTries = 10;

/// Python's round(): halves go to the even neighbour (the floating-point environment's default).
std::int64_t round_half_even(double value) { return std::llrint(value); }

/// Largest centred box within the aspect bounds.
CropBox fallback_box(const PictureSize& stored) {
  const double aspect = static_cast<double>(stored.width) / static_cast<double>(stored.height);
  CropBox box{0, 0, stored.width, stored.height};
  if (aspect < kMinAspect) box.height = round_half_even(static_cast<double>(stored.width) / kMinAspect);
  if (aspect > kMaxAspect) box.width = round_half_even(static_cast<double>(stored.height) * kMaxAspect);
  box.left = (stored.width - box.width) / 2;
  box.top = (stored.height - box.height) / 2;
  return box;
}

/// Source: torchvision 0.14, RandomResizedCrop.get_params.
CropBox random_box(const PictureSize& stored, Random& random) {
  const double area = static_cast<double>(stored.width) * static_cast<double>(stored.height);
  for (int i = 0; i < kTries; ++i) {
    const double target_area = area * random.uniform(kMinArea, kMaxArea);
    const double aspect = std::exp(random.uniform(std::log(kMinAspect), std::log(kMaxAspect)));
    const std::int64_t width = round_half_even(std::sqrt(target_area * aspect));
    const std::int64_t height = round_half_even(std::sqrt(target_area / aspect));
    if (width < 1 || width > stored.width || height < 1 || height > stored.height) continue;
    const std::int64_t top = random.below(stored.height - height + 1);
    const std::int64_t left = random.below(stored.width - width + 1);
    return {left, top, width, height};
  }
  return fallback_box(stored);
}

/// Shorter side `side`, longer side rounded down, as torchvision's Resize.
PictureSize resized(const PictureSize& stored, std::int64_t side) {
  if (stored.width <= stored.height) return {side, side * stored.height / stored.width};
  return {side * stored.width / stored.height, side};
}

/// First position of a centred window. Where the window is larger, the smaller half of the padding comes first.
/// Source: torchvision 0.14, functional.center_crop.
std::int64_t centred(std::int64_t extent, std::int64_t window) {
  if (window > extent) return -((window - extent) / 2);
  return round_half_even(static_cast<double>(extent - window) / 2.0);
}

TransformPlan plan_standard(const PictureSize& stored, std::int64_t crop, Random& random) {
  TransformPlan plan{.box = random_box(stored, random), .scaled = {crop, crop}};
  plan.is_mirrored = random.uniform() < 0.5;
  return plan;
}

TransformPlan plan_light(const PictureSize& stored, std::int64_t crop, Random& random) {
  const std::int64_t reach = crop / 8;
  TransformPlan plan{.box = {0, 0, stored.width, stored.height}, .scaled = resized(stored, crop)};
  plan.window_top = centred(plan.scaled.height, crop) + random.below(2 * reach + 1) - reach;
  plan.window_left = centred(plan.scaled.width, crop) + random.below(2 * reach + 1) - reach;
  plan.is_mirrored = random.uniform() < 0.5;
  return plan;
}

TransformPlan plan_centre(const PictureSize& stored, const TransformOptions& options) {
  TransformPlan plan{.box = {0, 0, stored.width, stored.height}, .scaled = stored};
  if (options.resize > 0) plan.scaled = resized(stored, options.resize);
  plan.window_top = centred(plan.scaled.height, options.crop);
  plan.window_left = centred(plan.scaled.width, options.crop);
  return plan;
}

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// One direction of a plan.
struct PlannedSpan {
  std::int64_t box_begin = 0;
  std::int64_t box_count = 0;
  std::int64_t scaled = 0;
  std::int64_t window_begin = 0;
};
struct PixelRange {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};

// Pixel i of the resized box is centred on (i + 1/2)·scale, and the bilinear filter reaches max(scale, 1) to each side, the
// bicubic one twice as far. In a picture decoded at 1/d it reaches one pixel of that, d stored ones, further at most: 8.
// Example: 500 pixels to 341, of which 58 … 281 are wanted: scale 1.47, so ⌊58·1.47 − 9.47⌋ = 75 to ⌈282·1.47 + 9.47⌉ = 423.
PixelRange needed_pixels(const PlannedSpan& span, const TransformOptions& options) {
  constexpr double kDecodedPixel = 8.0;
  const double scale = static_cast<double>(span.box_count) / static_cast<double>(span.scaled);
  const double filter = options.interpolation == Interpolation::bicubic ? 2.0 : 1.0;
  const double reach = filter * (std::max(scale, 1.0) + kDecodedPixel);
  const std::int64_t first = std::clamp<std::int64_t>(span.window_begin, 0, span.scaled);
  const std::int64_t end = std::clamp<std::int64_t>(span.window_begin + options.crop, first, span.scaled);
  const auto begin_pixel = static_cast<std::int64_t>(std::floor(static_cast<double>(first) * scale - reach));
  const auto end_pixel = static_cast<std::int64_t>(std::ceil(static_cast<double>(end) * scale + reach));
  const std::int64_t begin = std::clamp<std::int64_t>(begin_pixel, 0, span.box_count - 1);
  return {span.box_begin + begin, std::clamp<std::int64_t>(end_pixel, begin + 1, span.box_count) - begin};
}

CropBox needed_box(const TransformPlan& plan, const TransformOptions& options) {
  const PixelRange across = needed_pixels({plan.box.left, plan.box.width, plan.scaled.width, plan.window_left}, options);
  const PixelRange down = needed_pixels({plan.box.top, plan.box.height, plan.scaled.height, plan.window_top}, options);
  return {across.begin, down.begin, across.count, down.count};
}

}  // namespace

TransformPlan plan_transform(const PictureSize& stored, const TransformOptions& options, const SampleRequest& request) {
  Random random(options.seed, RandomPurpose::augmentation,
                {static_cast<std::uint64_t>(request.epoch), static_cast<std::uint64_t>(request.sample)});
  switch (options.augmentation) {
    case Augmentation::standard:
      return plan_standard(stored, options.crop, random);
    case Augmentation::light:
      return plan_light(stored, options.crop, random);
    case Augmentation::none:
      break;
  }
  return plan_centre(stored, options);
}

// The box keeps at least as many pixels as it becomes: decoded/stored ≥ scaled/box in each direction.
// Example: 500 × 375 stored, box 460 wide to 224: 500·224/460 = 243.5 → 244, so decoding at 1/2 (250) serves.
DecodeHint choose_decode_hint(const TransformPlan& plan, const PictureSize& stored, const TransformOptions& options) {
  DecodeHint hint{.needed = needed_box(plan, options)};
  // A picture decoded at 1/2 has means of pixels, and nearest takes pixels.
  if (options.augmentation == Augmentation::none || options.interpolation == Interpolation::nearest) return hint;
  hint.min_width = divide_up(stored.width * plan.scaled.width, plan.box.width);
  hint.min_height = divide_up(stored.height * plan.scaled.height, plan.box.height);
  return hint;
}

}  // namespace dtrain
