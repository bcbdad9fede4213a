// Which part of a picture is taken, how large it becomes, and whether it is mirrored: pure functions of the extents and the
// random keys. Moves no pixels.
#pragma once

#include "dtrain/data.hpp"

namespace dtrain {

/// The box is resized to `scaled`; from that a crop × crop window is taken, which may reach beyond it: black.
struct TransformPlan {
  CropBox box;
  PictureSize scaled;
  std::int64_t window_left = 0;
  std::int64_t window_top = 0;
  bool is_mirrored = false;
};

TransformPlan plan_transform(const PictureSize& stored, const TransformOptions& options, const SampleRequest& request);

/// Smallest decoded extents with which the plan's box is not enlarged beyond what full size would need; {0, 0} for
/// Augmentation::none and for Interpolation::nearest, which always work on the full size so that figures compare with
/// torchvision's. Needed are the pixels of the box that the plan's window is made of.
DecodeHint choose_decode_hint(const TransformPlan& plan, const PictureSize& stored, const TransformOptions& options);

}  // namespace dtrain
