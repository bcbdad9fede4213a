// PNG decoding: every depth, colour type and transparency that the format has, exact; truncation and flipped bits refused.
#include <gtest/gtest.h>

#include <cmath>

#include "fixtures.hpp"
#include "picture_writers.hpp"
#include "src/data/png.hpp"

namespace dtrain {
namespace {

Picture decoded_png(const std::vector<std::uint8_t>& bytes) {
  Picture picture;
  decode_png(bytes, "test.png", picture);
  return picture;
}

/// RGB bytes of gray levels.
std::vector<std::uint8_t> gray_rgb(const std::vector<std::uint8_t>& levels) {
  std::vector<std::uint8_t> rgb;
  for (const std::uint8_t level : levels) rgb.insert(rgb.end(), 3, level);
  return rgb;
}

using Bytes = std::vector<std::uint8_t>;

TEST(Png, KeepsEightBitRgbExactlyInterlacedOrNot) {
  const Picture picture = noise_picture(13, 9, 1);
  for (const bool is_interlaced : {false, true}) {
    const Picture decoded = decoded_png(write_png({.width = 13, .height = 9, .is_interlaced = is_interlaced}, picture.rgb));

    EXPECT_EQ(decoded.width, 13);
    EXPECT_EQ(decoded.height, 9);
    EXPECT_EQ(decoded.rgb, picture.rgb);
  }
}

TEST(Png, ExpandsGrayOfEveryDepthToTheFullRange) {
  // One row each: all levels of 1, 2 and 4 bits; levels are multiplied by 255, 85 and 17.
  EXPECT_EQ(decoded_png(write_png({.width = 2, .height = 1, .bit_depth = 1, .colour_type = 0}, {0b01000000})).rgb,
            gray_rgb({0, 255}));
  EXPECT_EQ(decoded_png(write_png({.width = 4, .height = 1, .bit_depth = 2, .colour_type = 0}, {0b00011011})).rgb,
            gray_rgb({0, 85, 170, 255}));
  EXPECT_EQ(decoded_png(write_png({.width = 4, .height = 1, .bit_depth = 4, .colour_type = 0}, {0x01, 0xAF})).rgb,
            gray_rgb({0, 17, 170, 255}));
  EXPECT_EQ(decoded_png(write_png({.width = 3, .height = 1, .bit_depth = 8, .colour_type = 0}, {7, 77, 177})).rgb,
            gray_rgb({7, 77, 177}));
}

TEST(Png, KeepsTheHighByteOfSixteenBits) {
  const Bytes gray =
      decoded_png(write_png({.width = 2, .height = 1, .bit_depth = 16, .colour_type = 0}, {0x12, 0xFF, 0xFE, 0x80})).rgb;
  const Bytes rgb = decoded_png(write_png({.width = 1, .height = 1, .bit_depth = 16}, {0x01, 0xFF, 0x80, 0x80, 0xFF, 0x00})).rgb;

  EXPECT_EQ(gray, gray_rgb({0x12, 0xFE}));
  EXPECT_EQ(rgb, (Bytes{0x01, 0x80, 0xFF}));
}

TEST(Png, DropsAlphaWithoutBlending) {
  const Bytes gray = decoded_png(write_png({.width = 2, .height = 1, .colour_type = 4}, {50, 0, 60, 128})).rgb;
  const Bytes rgba = decoded_png(write_png({.width = 2, .height = 1, .colour_type = 6}, {1, 2, 3, 0, 4, 5, 6, 255})).rgb;
  const Bytes deep =
      decoded_png(write_png({.width = 1, .height = 1, .bit_depth = 16, .colour_type = 6}, {9, 1, 8, 1, 7, 1, 0, 0})).rgb;

  EXPECT_EQ(gray, gray_rgb({50, 60}));
  EXPECT_EQ(rgba, (Bytes{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(deep, (Bytes{9, 8, 7}));
}

TEST(Png, LooksUpPalettesWithAndWithoutTransparency) {
  const std::vector<std::array<std::uint8_t, 3>> palette{{10, 20, 30}, {40, 50, 60}, {70, 80, 90}, {100, 110, 120}};
  const Bytes expected{100, 110, 120, 70, 80, 90, 40, 50, 60, 10, 20, 30};

  const Bytes two_bits =
      decoded_png(write_png({.width = 4, .height = 1, .bit_depth = 2, .colour_type = 3, .palette = palette}, {0b11100100})).rgb;
  const Bytes eight_bits = decoded_png(write_png({.width = 4, .height = 1, .colour_type = 3, .palette = palette}, {3, 2, 1, 0})).rgb;
  const Bytes transparent =
      decoded_png(
          write_png({.width = 4, .height = 1, .colour_type = 3, .palette = palette, .palette_alpha = {0, 128}}, {3, 2, 1, 0}))
          .rgb;

  EXPECT_EQ(two_bits, expected);
  EXPECT_EQ(eight_bits, expected);
  EXPECT_EQ(transparent, expected);
}

TEST(Png, RefusesATruncatedFileWhereverItIsCut) {
  const Bytes whole = write_png(noise_picture(32, 32, 2));
  for (const double share : {0.001, 0.004, 0.01, 0.5, 0.9, 0.999}) {
    const Bytes cut(whole.begin(), whole.begin() + std::lround(share * static_cast<double>(whole.size())));

    const std::string text = data_error_of([&] { decoded_png(cut); });

    EXPECT_NE(text.find("test.png"), std::string::npos) << share << " " << text;
    EXPECT_NE(text.find("; try: "), std::string::npos) << share << " " << text;
  }
}

TEST(Png, RefusesAFlippedBit) {
  const Bytes whole = write_png(noise_picture(32, 32, 3));
  for (const std::size_t at : {std::size_t{13}, std::size_t{24}, whole.size() / 3, whole.size() / 2, whole.size() - 20}) {
    Bytes flipped = whole;
    flipped[at] ^= 0x10;

    EXPECT_NE(data_error_of([&] { decoded_png(flipped); }), "") << at;
  }
}

TEST(Png, ReadsExtentsFromTheHeaderAlone) {
  Bytes head = write_png(noise_picture(300, 20, 4));
  head.resize(24);

  const PictureSize size = png_size(head, "test.png");

  EXPECT_EQ(size.width, 300);
  EXPECT_EQ(size.height, 20);
}

}  // namespace
}  // namespace dtrain
