// Crops: places and sizes equal torchvision's, random ones have its distribution and depend on their keys alone.
#include <gtest/gtest.h>

#include <set>
#include <tuple>

#include "src/data/crop_plan.hpp"

namespace dtrain {
namespace {

TransformOptions transform_options(Augmentation augmentation, std::int64_t resize, std::int64_t crop, std::uint64_t seed = 1) {
  return {.augmentation = augmentation, .resize = resize, .crop = crop, .seed = seed};
}

bool operator==(const TransformPlan& a, const TransformPlan& b) {
  return a.box == b.box && a.window_left == b.window_left && a.window_top == b.window_top && a.is_mirrored == b.is_mirrored;
}

TEST(CropPlan, CentresLikeTorchvision) {
  struct Case {
    PictureSize stored;
    std::int64_t resize, crop;
    PictureSize scaled;
    std::int64_t left, top;
  };
  // Scaled extents and offsets as torchvision 0.14's Resize and CenterCrop give them.
  const std::vector<Case> cases{
      {{500, 375}, 256, 224, {341, 256}, 58, 16},  // (341 − 224)/2 = 58.5: to the even 58
      {{375, 500}, 256, 224, {256, 341}, 16, 58}, {{333, 1000}, 256, 224, {256, 768}, 16, 272},
      {{257, 300}, 256, 224, {256, 298}, 16, 37}, {{256, 256}, 256, 227, {256, 256}, 14, 14},  // 14.5: to the even 14
      {{255, 255}, 0, 224, {255, 255}, 16, 16},                                                // 15.5: to the even 16
      {{224, 224}, 224, 224, {224, 224}, 0, 0},   {{1, 10000}, 256, 224, {256, 2560000}, 16, 1279888}};
  for (const Case& c : cases) {
    const TransformPlan plan = plan_transform(c.stored, transform_options(Augmentation::none, c.resize, c.crop), {});

    EXPECT_EQ(plan.box, (CropBox{0, 0, c.stored.width, c.stored.height}));
    EXPECT_EQ(plan.scaled.width, c.scaled.width);
    EXPECT_EQ(plan.scaled.height, c.scaled.height);
    EXPECT_EQ(plan.window_left, c.left) << c.stored.width;
    EXPECT_EQ(plan.window_top, c.top) << c.stored.width;
    EXPECT_FALSE(plan.is_mirrored);
  }
}

TEST(CropPlan, PadsAPictureSmallerThanTheCropLikeTorchvision) {
  const TransformPlan plan = plan_transform({101, 50}, transform_options(Augmentation::none, 0, 224), {});

  EXPECT_EQ(plan.window_left, -61);  // 123 of padding: 61 to the left, 62 to the right
  EXPECT_EQ(plan.window_top, -87);
}

TEST(CropPlan, DrawsBoxesWithinAreaAndAspectBounds) {
  for (const PictureSize stored : {PictureSize{500, 375}, {64, 64}, {300, 400}}) {
    const double area = static_cast<double>(stored.width * stored.height);
    for (std::int64_t sample = 0; sample < 2000; ++sample) {
      const TransformPlan plan = plan_transform(stored, transform_options(Augmentation::standard, 256, 224), {sample, 3});
      const CropBox& box = plan.box;

      ASSERT_GE(box.left, 0);
      ASSERT_GE(box.top, 0);
      ASSERT_LE(box.left + box.width, stored.width);
      ASSERT_LE(box.top + box.height, stored.height);
      // Both sides are rounded to whole pixels, by at most half a pixel.
      const double width = static_cast<double>(box.width), height = static_cast<double>(box.height);
      ASSERT_GE((width + 0.5) * (height + 0.5), 0.08 * area);
      ASSERT_LE((width + 0.5) / (height - 0.5), 4.0 / 3.0 * 1.15);
      ASSERT_GE((width + 0.5) / (height - 0.5), 3.0 / 4.0);
      ASSERT_LE((width - 0.5) / (height + 0.5), 4.0 / 3.0);
      ASSERT_EQ(plan.scaled.width, 224);
      ASSERT_EQ(plan.scaled.height, 224);
    }
  }
}

TEST(CropPlan, DrawsAreasUniformlyAspectsEvenlyAndMirrorsHalf) {
  // A box of area share a fits into a square when |ln aspect| ≤ −ln a: always below 3/4, with probability −ln a / ln(4/3)
  // above. Uniform areas are accepted with probability (0.67 + ∫ −ln a / ln(4/3) from 3/4 to 1 = 0.119) / 0.92 = 0.858, so
  // 0.1/0.92/0.858 = 0.127 of the boxes have 0.1 to 0.2 of the area, and as many 0.2 to 0.3.
  constexpr int kDraws = 20000;
  int low = 0, middle = 0, wide = 0, mirrored = 0;
  double place = 0.0;
  for (std::int64_t sample = 0; sample < kDraws; ++sample) {
    const TransformPlan plan = plan_transform({1000, 1000}, transform_options(Augmentation::standard, 256, 224), {sample, 0});
    const double area = static_cast<double>(plan.box.width * plan.box.height) / 1e6;
    low += area > 0.1 && area < 0.2 ? 1 : 0;
    middle += area > 0.2 && area < 0.3 ? 1 : 0;
    wide += plan.box.width > plan.box.height ? 1 : 0;
    mirrored += plan.is_mirrored ? 1 : 0;
    place += (static_cast<double>(plan.box.left) + 0.5) / static_cast<double>(1000 - plan.box.width + 1);
  }

  // Standard deviations: √(20000·0.127·0.873) = 47 for the bands, 71 for the halves, 0.29/√20000 = 0.002 for the mean place.
  EXPECT_NEAR(low, 0.127 * kDraws, 5 * 47);
  EXPECT_NEAR(middle, 0.127 * kDraws, 5 * 47);
  EXPECT_NEAR(wide, kDraws / 2, 5 * 71);
  EXPECT_NEAR(mirrored, kDraws / 2, 5 * 71);
  EXPECT_NEAR(place / kDraws, 0.5, 0.011);
}

TEST(CropPlan, FallsBackToTheCentreOfALongPicture) {
  // No box of 8 % of the area fits into 10 rows: ten tries fail, and the largest centred 4:3 (3:4) box is taken.
  const auto wide = plan_transform({1000, 10}, transform_options(Augmentation::standard, 256, 224), {});
  const auto tall = plan_transform({10, 1000}, transform_options(Augmentation::standard, 256, 224), {});

  EXPECT_EQ(wide.box, (CropBox{493, 0, 13, 10}));  // round(10·4/3) = 13; ⌊(1000 − 13)/2⌋ = 493
  EXPECT_EQ(tall.box, (CropBox{0, 493, 10, 13}));
}

TEST(CropPlan, CropsAPictureOfOnePixel) {
  for (std::int64_t sample = 0; sample < 20; ++sample) {
    EXPECT_EQ(plan_transform({1, 1}, transform_options(Augmentation::standard, 256, 224), {sample, 0}).box,
              (CropBox{0, 0, 1, 1}));
  }
}

TEST(CropPlan, MovesTheLightCropByAnEighthToEachSide) {
  std::set<std::int64_t> lefts, tops;
  int mirrored = 0;
  for (std::int64_t sample = 0; sample < 1000; ++sample) {
    const TransformPlan plan = plan_transform({32, 32}, transform_options(Augmentation::light, 36, 32), {sample, 0});
    lefts.insert(plan.window_left);
    tops.insert(plan.window_top);
    mirrored += plan.is_mirrored ? 1 : 0;
    ASSERT_EQ(plan.scaled.width, 32);
  }

  const std::set<std::int64_t> expected{-4, -3, -2, -1, 0, 1, 2, 3, 4};
  EXPECT_EQ(lefts, expected);
  EXPECT_EQ(tops, expected);
  EXPECT_NEAR(mirrored, 500, 80);  // five standard deviations of 16
}

TEST(CropPlan, ResizesTheShorterSideToTheLightCrop) {
  const TransformPlan plan = plan_transform({120, 90}, transform_options(Augmentation::light, 73, 64), {});

  EXPECT_EQ(plan.scaled.width, 85);
  EXPECT_EQ(plan.scaled.height, 64);
  EXPECT_GE(plan.window_left, 10 - 8);  // centred at (85 − 64)/2 = 10.5: 10
  EXPECT_LE(plan.window_left, 10 + 8);
}

TEST(CropPlan, DependsOnSeedEpochAndSampleAlone) {
  const PictureSize stored{500, 375};
  const auto plan = [&](std::uint64_t seed, SampleRequest request) {
    return plan_transform(stored, transform_options(Augmentation::standard, 256, 224, seed), request);
  };

  EXPECT_TRUE(plan(1, {5, 2}) == plan(1, {5, 2}));
  EXPECT_FALSE(plan(1, {5, 2}) == plan(2, {5, 2}));
  EXPECT_FALSE(plan(1, {5, 2}) == plan(1, {6, 2}));
  EXPECT_FALSE(plan(1, {5, 2}) == plan(1, {5, 3}));
  EXPECT_FALSE(plan(1, {5, 2}) == plan(1, {2, 5}));
}

TEST(CropPlan, HintsAtTheSmallestDecodingThatKeepsEnoughPixels) {
  TransformPlan plan{.box = {10, 20, 460, 300}, .scaled = {224, 224}};

  const DecodeHint hint = choose_decode_hint(plan, {500, 375}, transform_options(Augmentation::standard, 256, 224));
  const DecodeHint none = choose_decode_hint(plan, {500, 375}, transform_options(Augmentation::none, 256, 224));

  EXPECT_EQ(hint.min_width, 244);   // 500·224/460 = 243.5
  EXPECT_EQ(hint.min_height, 280);  // 375·224/300 = 280
  EXPECT_EQ(none.min_width, 0);
  EXPECT_EQ(none.min_height, 0);
}

TEST(CropPlan, HintsAtThePixelsThatTheWindowIsMadeOf) {
  const auto needed = [](Augmentation augmentation, SampleRequest request) {
    const TransformOptions options = transform_options(augmentation, 256, 224);
    const TransformPlan plan = plan_transform({500, 375}, options, request);
    return std::pair(plan.box, choose_decode_hint(plan, {500, 375}, options).needed);
  };

  // To 341 × 256, window at (58, 16): 500/341 = 1.466, so 58·1.466 − 9.466 = 75.6 … 282·1.466 + 9.466 = 422.96; 375/256
  // = 1.465, so 16·1.465 − 9.465 = 13.97 … 240·1.465 + 9.465 = 361.03.
  EXPECT_EQ(needed(Augmentation::none, {}).second, (CropBox{75, 13, 348, 349}));
  for (std::int64_t sample = 0; sample < 50; ++sample) {
    const auto [box, part] = needed(Augmentation::standard, {sample, 0});
    EXPECT_EQ(part, box);
  }
}

TEST(CropPlan, NeedsAPixelEvenOfAPictureBesideTheWindow) {
  const TransformPlan plan{.box = {3, 4, 10, 20}, .scaled = {10, 20}, .window_left = 40, .window_top = -90};

  const CropBox needed = choose_decode_hint(plan, {16, 32}, transform_options(Augmentation::light, 0, 8)).needed;

  EXPECT_GE(needed.width, 1);
  EXPECT_GE(needed.height, 1);
  EXPECT_GE(needed.left, 3);
  EXPECT_LE(needed.left + needed.width, 13);
  EXPECT_GE(needed.top, 4);
  EXPECT_LE(needed.top + needed.height, 24);
}

// 500 pixels to 341: scale 1.47. A cubic reaches 2·1.47 pixels beyond the centres of those that are wanted.
TEST(DecodeHint, CoversWhatTheWiderFilterReads) {
  const PictureSize stored{500, 375};
  TransformOptions options;
  const TransformPlan plan = plan_transform(stored, options, {});
  const DecodeHint bilinear = choose_decode_hint(plan, stored, options);
  options.interpolation = Interpolation::bicubic;

  const DecodeHint bicubic = choose_decode_hint(plan, stored, options);

  EXPECT_LE(bicubic.needed.left, bilinear.needed.left - 9);
  EXPECT_GE(bicubic.needed.width, bilinear.needed.width + 18);
}

TEST(DecodeHint, IsFullSizeWhereSinglePixelsAreTaken) {
  const PictureSize stored{2000, 1500};
  TransformOptions options{.augmentation = Augmentation::standard, .interpolation = Interpolation::nearest};

  const DecodeHint hint = choose_decode_hint(plan_transform(stored, options, {}), stored, options);

  EXPECT_EQ(hint.min_width, 0);
  EXPECT_EQ(hint.min_height, 0);
}

}  // namespace
}  // namespace dtrain
