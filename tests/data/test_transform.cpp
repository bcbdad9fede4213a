// From stored picture to normalised floats: exact where nothing is resized, black where nothing is, and the same region
// whether or not a JPEG is decoded at reduced size.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "dtrain/data.hpp"
#include "fixtures.hpp"
#include "picture_writers.hpp"
#include "src/data/crop_plan.hpp"

namespace dtrain {
namespace {

/// One picture in memory; remembers the hint that it was decoded with.
class OnePicture final : public Dataset {
 public:
  explicit OnePicture(Picture picture) : picture_(std::move(picture)) {}
  mutable DecodeHint hint;

  std::int64_t size() const override { return 1 << 20; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::int32_t label(std::int64_t) const override { return 0; }
  std::string sample_name(std::int64_t) const override { return "the picture"; }
  std::uint64_t digest() const override { return 0; }
  PictureSize picture_size(std::int64_t) const override { return {picture_.width, picture_.height}; }
  void decode(std::int64_t, const DecodeHint& asked, Picture& picture) const override {
    hint = asked;
    picture = picture_;
  }

 private:
  Picture picture_;
  std::vector<std::string> class_names_{"only"};
};

std::vector<float> transform(const Dataset& dataset, const TransformOptions& options, SampleRequest request = {}) {
  std::vector<float> dst(static_cast<std::size_t>(options.channels * options.crop * options.crop), -1000.0f);
  Picture scratch;
  transform_picture(dataset, request, options, scratch, dst);
  return dst;
}

/// Byte of channel c at (x, y), back from v/255.
int level(const std::vector<float>& image, std::int64_t crop, std::int64_t c, std::int64_t x, std::int64_t y) {
  return static_cast<int>(std::lround(255.0f * image[static_cast<std::size_t>((c * crop + y) * crop + x)]));
}

TEST(Transform, NormalisesAPictureOfTheCropsSizeExactly) {
  const Picture picture = noise_picture(24, 24, 1);
  for (const std::int64_t resize : {std::int64_t{0}, std::int64_t{24}}) {
    const TransformOptions options{.resize = resize, .crop = 24};

    const std::vector<float> image = transform(OnePicture(picture), options);

    for (std::size_t c = 0; c < 3; ++c) {
      for (std::size_t i = 0; i < 24 * 24; ++i) {
        const float value = static_cast<float>(picture.rgb[i * 3 + c]) / 255.0f;
        ASSERT_EQ(image[c * 24 * 24 + i], (value - options.mean[c]) / options.stddev[c]);
      }
    }
  }
}

TEST(Transform, CentresAndResizesForEvaluation) {
  // A gradient to the right survives resizing: the middle column stays the middle level.
  const Picture picture = gradient_picture(300, 200);

  TransformOptions options = plain_options(112);
  options.resize = 128;
  const std::vector<float> image = transform(OnePicture(picture), options);

  // 300 × 200 to 192 × 128, window at 40: column x shows source column (x + 40.5)·300/192 − 0.5, of level 255/300 per column.
  for (const std::int64_t x : {0, 30, 56, 111}) {
    EXPECT_NEAR(level(image, 112, 0, x, 50), (static_cast<double>(x) + 40.5) * 300.0 / 192.0 * 255.0 / 300.0, 1.6);
  }
}

TEST(Transform, PadsWithBlackWhereThePictureIsSmaller) {
  const std::vector<float> image = transform(OnePicture(flat_picture(5, 4, {255, 255, 255})), plain_options(8));
  for (std::int64_t y = 0; y < 8; ++y) {
    for (std::int64_t x = 0; x < 8; ++x) {
      const bool is_inside = x >= 1 && x < 6 && y >= 2 && y < 6;  // 3 columns and 4 rows of padding, the smaller half first
      EXPECT_EQ(level(image, 8, 1, x, y), is_inside ? 255 : 0) << x << ", " << y;
    }
  }
}

TEST(Transform, NormalisesThePaddingAsBlack) {
  const TransformOptions options{.resize = 0, .crop = 8};

  const std::vector<float> image = transform(OnePicture(flat_picture(2, 2, {9, 9, 9})), options);

  EXPECT_EQ(image.front(), (0.0f - options.mean[0]) / options.stddev[0]);
}

TEST(Transform, GivesLumaForOneChannel) {
  TransformOptions options = plain_options(3);
  options.channels = 1;
  options.mean = {0.5f, 9.0f, 9.0f};
  options.stddev = {0.25f, 9.0f, 9.0f};

  const auto value = [&](std::array<std::uint8_t, 3> colour) {
    return transform(OnePicture(flat_picture(3, 3, colour)), options)[4];
  };

  // Pillow's convert("L"): 0.299 R + 0.587 G + 0.114 B.
  EXPECT_EQ(value({77, 77, 77}), (77.0f / 255.0f - 0.5f) / 0.25f);
  EXPECT_EQ(value({255, 0, 0}), (76.0f / 255.0f - 0.5f) / 0.25f);
  EXPECT_EQ(value({0, 255, 0}), (150.0f / 255.0f - 0.5f) / 0.25f);
  EXPECT_EQ(value({0, 0, 255}), (29.0f / 255.0f - 0.5f) / 0.25f);
}

TEST(Transform, MovesAndMirrorsSmallPictures) {
  // Red is 10 + the column, green 10 + the row: every pixel tells where it comes from; black comes from beyond the edge.
  Picture picture = flat_picture(16, 16, {0, 0, 0});
  for (std::size_t i = 0; i < 256; ++i) {
    picture.rgb[3 * i] = static_cast<std::uint8_t>(10 + i % 16);
    picture.rgb[3 * i + 1] = static_cast<std::uint8_t>(10 + i / 16);
  }
  TransformOptions options = plain_options(16);
  options.augmentation = Augmentation::light;
  int moved = 0, mirrored = 0;
  for (std::int64_t sample = 0; sample < 100; ++sample) {
    const std::vector<float> image = transform(OnePicture(picture), options, {sample, 0});

    const int centre_x = level(image, 16, 0, 8, 8) - 10, centre_y = level(image, 16, 1, 8, 8) - 10;
    const int step = level(image, 16, 0, 9, 8) - level(image, 16, 0, 8, 8);
    ASSERT_EQ(std::abs(step), 1);
    for (std::int64_t y = 0; y < 16; ++y) {
      for (std::int64_t x = 0; x < 16; ++x) {
        const std::int64_t from_x = centre_x + step * (x - 8), from_y = centre_y + (y - 8);
        const bool is_inside = from_x >= 0 && from_x < 16 && from_y >= 0 && from_y < 16;
        ASSERT_EQ(level(image, 16, 0, x, y), is_inside ? 10 + from_x : 0);
        ASSERT_EQ(level(image, 16, 1, x, y), is_inside ? 10 + from_y : 0);
      }
    }
    ASSERT_LE(std::abs(centre_y - 8), 2);
    moved += centre_y != 8 ? 1 : 0;
    mirrored += step < 0 ? 1 : 0;
  }
  EXPECT_GT(moved, 50);     // four in five
  EXPECT_GT(mirrored, 25);  // half
  EXPECT_LT(mirrored, 75);
}

TEST(Transform, CropsBeforeItResizes) {
  // Whatever lies outside the box must not shine in at its edge.
  const Picture picture = noise_picture(64, 48, 5);
  for (const std::int64_t crop : {std::int64_t{12}, std::int64_t{90}}) {
    TransformOptions options = plain_options(crop);
    options.augmentation = Augmentation::standard;
    for (std::int64_t sample = 0; sample < 50; ++sample) {
      const CropBox box = plan_transform({64, 48}, options, {sample, 0}).box;
      Picture other = noise_picture(64, 48, 6);
      for (std::int64_t y = box.top; y < box.top + box.height; ++y) {
        const std::int64_t begin = (y * 64 + box.left) * 3;
        std::copy_n(picture.rgb.begin() + begin, box.width * 3, other.rgb.begin() + begin);
      }

      ASSERT_EQ(transform(OnePicture(picture), options, {sample, 0}), transform(OnePicture(other), options, {sample, 0}));
    }
  }
}

TEST(Transform, RepeatsItselfForEqualKeysOnly) {
  const OnePicture dataset(noise_picture(60, 40, 3));
  TransformOptions options = plain_options(24);
  options.augmentation = Augmentation::standard;

  EXPECT_EQ(transform(dataset, options, {7, 1}), transform(dataset, options, {7, 1}));
  EXPECT_NE(transform(dataset, options, {7, 1}), transform(dataset, options, {7, 2}));
  EXPECT_NE(transform(dataset, options, {7, 1}), transform(dataset, options, {8, 1}));
}

TEST(Transform, AsksForReducedDecodingOnlyWhenAugmenting) {
  const OnePicture dataset(noise_picture(600, 500, 4));
  TransformOptions options = plain_options(32);

  transform(dataset, options);
  EXPECT_EQ(dataset.hint.min_width, 0);
  options.augmentation = Augmentation::standard;
  transform(dataset, options);
  EXPECT_GE(dataset.hint.min_width, 32);
  EXPECT_LE(dataset.hint.min_width, 150);  // a box has at least √(0.08·3/4) of the width: 32·600/147
  options.augmentation = Augmentation::light;
  transform(dataset, options);
  EXPECT_EQ(dataset.hint.min_height, 32);
  EXPECT_EQ(dataset.hint.min_width, 38);  // 600·32/500 = 38.4 rounds down to 38 columns, so 600·38/600
}

TEST(Transform, TakesTheSameRegionFromAReducedJpeg) {
  const TemporaryDirectory root;
  const Picture picture = gradient_picture(517, 389);  // odd, so that reduced extents are rounded
  write_bytes(root.path() / "c/a.jpg", write_jpeg({.width = 517, .height = 389, .quality = 95}, picture.rgb));
  write_bytes(root.path() / "c/b.png", write_png(picture));
  const auto files = open_image_folder(root.path());
  TransformOptions options = plain_options(40);
  options.augmentation = Augmentation::standard;
  const OnePicture exact(picture);
  for (std::int64_t epoch = 0; epoch < 40; ++epoch) {
    const std::vector<float> reduced = transform(*files, options, {0, epoch});
    const std::vector<float> full = transform(exact, options, {0, epoch});

    // The gradient has a level for every two pixels; reduced by up to eight, half a pixel of rounding is at most two levels,
    // JPEG at quality 95 adds a few.
    for (std::size_t i = 0; i < full.size(); ++i) ASSERT_NEAR(255.0f * reduced[i], 255.0f * full[i], 8.0f) << epoch << " " << i;
  }
}

/// Decodes all of every picture, whatever part is needed.
class WholePictures final : public Dataset {
 public:
  explicit WholePictures(const Dataset& files) : files_(files) {}
  std::int64_t size() const override { return files_.size(); }
  const std::vector<std::string>& class_names() const override { return files_.class_names(); }
  std::int32_t label(std::int64_t sample) const override { return files_.label(sample); }
  std::string sample_name(std::int64_t sample) const override { return files_.sample_name(sample); }
  std::uint64_t digest() const override { return files_.digest(); }
  PictureSize picture_size(std::int64_t sample) const override { return files_.picture_size(sample); }
  void decode(std::int64_t sample, const DecodeHint& hint, Picture& picture) const override {
    files_.decode(sample, {.min_width = hint.min_width, .min_height = hint.min_height}, picture);
  }

 private:
  const Dataset& files_;
};

TEST(Transform, GivesTheSameBitsFromPartsAndFromWholePictures) {
  const TemporaryDirectory root;
  for (const auto& [width, height] : {std::pair{517, 389}, {130, 301}, {64, 48}, {9, 40}}) {
    const std::string name = "c/" + std::to_string(width) + ".jpg";
    write_bytes(root.path() / name, write_jpeg({.width = width, .height = height, .subsampling = TJSAMP_420, .quality = 90},
                                               noise_picture(width, height, 3).rgb));
  }
  const auto files = open_image_folder(root.path());
  const WholePictures whole(*files);
  for (const Augmentation augmentation : {Augmentation::standard, Augmentation::light, Augmentation::none}) {
    for (const std::int64_t crop : {std::int64_t{7}, std::int64_t{32}, std::int64_t{100}}) {
      TransformOptions options = plain_options(crop);
      options.augmentation = augmentation;
      options.resize = augmentation == Augmentation::none && crop == 32 ? 40 : 0;
      for (std::int64_t i = 0; i < 4 * 25; ++i) {
        const SampleRequest request{i % 4, i / 4};
        ASSERT_EQ(transform(*files, options, request), transform(whole, options, request)) << i << " to " << crop;
      }
    }
  }
}

TEST(Transform, RefusesADataSetThatBreaksItsContract) {
  const OnePicture empty(Picture{0, 0, {}});
  const OnePicture short_of_bytes(Picture{4, 4, std::vector<std::uint8_t>(10)});

  EXPECT_THROW(transform(empty, plain_options(4)), std::logic_error);
  EXPECT_THROW(transform(short_of_bytes, plain_options(4)), std::logic_error);
}

}  // namespace
}  // namespace dtrain
