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

TEST(Png, RefusesColoursThatThePaletteLacks) {
  const std::vector<std::array<std::uint8_t, 3>> palette{{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
  for (const bool is_interlaced : {false, true}) {
    const auto file = [&](int bits, const Bytes& indices) {
      return write_png(
          {.width = 4, .height = 1, .bit_depth = bits, .colour_type = 3, .is_interlaced = is_interlaced, .palette = palette},
          indices);
    };
    EXPECT_EQ(decoded_png(file(8, {0, 1, 2, 0})).rgb, (Bytes{1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3}));
    EXPECT_THROW(decoded_png(file(8, {0, 1, 3, 0})), DataError);
    EXPECT_THROW(decoded_png(file(8, {255, 1, 2, 0})), DataError);
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
  const Bytes rgb =
      decoded_png(write_png({.width = 1, .height = 1, .bit_depth = 16}, {0x01, 0xFF, 0x80, 0x80, 0xFF, 0x00})).rgb;

  EXPECT_EQ(gray, gray_rgb({0x12, 0xFE}));
  EXPECT_EQ(rgb, (Bytes{0x01, 0x80, 0xFF}));
}

/// 16-bit samples as a file has them.
Bytes big_endian(const std::vector<int>& samples) {
  Bytes bytes;
  for (const int sample : samples) {
    bytes.push_back(static_cast<std::uint8_t>(sample >> 8));
    bytes.push_back(static_cast<std::uint8_t>(sample));
  }
  return bytes;
}

TEST(Png, ScalesSamplesThatUseOnlyTheirSignificantBits) {
  for (const bool is_interlaced : {false, true}) {
    const PngSpec twelve{.width = 4,
                         .height = 1,
                         .bit_depth = 16,
                         .colour_type = 0,
                         .is_interlaced = is_interlaced,
                         .significant_bits = {12, 12, 12}};
    EXPECT_EQ(decoded_png(write_png(twelve, big_endian({0, 1024, 2049, 4095}))).rgb, gray_rgb({0, 64, 128, 255}));
  }
  const PngSpec ten{.width = 2, .height = 1, .bit_depth = 16, .significant_bits = {10, 12, 8}};
  EXPECT_EQ(decoded_png(write_png(ten, big_endian({1023, 4095, 255, 511, 7, 0}))).rgb, (Bytes{255, 255, 255, 127, 0, 0}));
  const PngSpec with_alpha{.width = 1, .height = 1, .bit_depth = 16, .colour_type = 4, .significant_bits = {12, 12, 12}};
  EXPECT_EQ(decoded_png(write_png(with_alpha, big_endian({4095, 65535}))).rgb, gray_rgb({255}));
  const PngSpec five{.width = 3, .height = 1, .bit_depth = 8, .colour_type = 0, .significant_bits = {5, 5, 5}};
  EXPECT_EQ(decoded_png(write_png(five, {0, 15, 31})).rgb, gray_rgb({0, 123, 255}));
}

TEST(Png, LeavesSamplesThatAreScaledAlready) {
  const PngSpec twelve{.width = 3, .height = 1, .bit_depth = 16, .colour_type = 0, .significant_bits = {12, 12, 12}};
  // 12-bit values 0, 2048, 4095 scaled by repeated bits, and by zeros; a dark picture (0, 100, 255) scaled in both ways.
  EXPECT_EQ(decoded_png(write_png(twelve, big_endian({0, 0x8008, 0xFFFF}))).rgb, gray_rgb({0, 0x80, 0xFF}));
  EXPECT_EQ(decoded_png(write_png(twelve, big_endian({0, 0x8000, 0xFFF0}))).rgb, gray_rgb({0, 0x80, 0xFF}));
  EXPECT_EQ(decoded_png(write_png(twelve, big_endian({0, 100 << 4, 255 << 4}))).rgb, gray_rgb({0, 6, 15}));
  EXPECT_EQ(decoded_png(write_png(twelve, big_endian({0, 1600, 255 * 65535 / 4095}))).rgb, gray_rgb({0, 6, 15}));
  const PngSpec five{.width = 3, .height = 1, .bit_depth = 8, .colour_type = 0, .significant_bits = {5, 5, 5}};
  EXPECT_EQ(decoded_png(write_png(five, {0, 132, 255})).rgb, gray_rgb({0, 132, 255}));
  const PngSpec all{.width = 2, .height = 1, .bit_depth = 16, .colour_type = 0, .significant_bits = {16, 16, 16}};
  EXPECT_EQ(decoded_png(write_png(all, big_endian({4095, 0x1234}))).rgb, gray_rgb({0x0F, 0x12}));
}

TEST(Png, KnowsHowManyBitsAreUsed) {
  const auto used = [](const PngSpec& spec, const Bytes& rows) { return png_used_bits(write_png(spec, rows), "test.png"); };
  const PngSpec gray{.width = 2, .height = 1, .bit_depth = 16, .colour_type = 0};

  EXPECT_EQ(used(gray, big_endian({0, 4095})), 12);
  EXPECT_EQ(used(gray, big_endian({4096, 0})), 13);
  EXPECT_EQ(used(gray, big_endian({0, 65535})), 16);
  EXPECT_EQ(used({.width = 1, .height = 1, .bit_depth = 16}, big_endian({1, 255, 3})), 8);
  EXPECT_EQ(used({.width = 2, .height = 1, .bit_depth = 16, .colour_type = 0, .significant_bits = {12, 12, 12}},
                 big_endian({0, 4095})),
            0);
  EXPECT_EQ(used({.width = 1, .height = 1}, {1, 2, 3}), 0);
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
  const Bytes eight_bits =
      decoded_png(write_png({.width = 4, .height = 1, .colour_type = 3, .palette = palette}, {3, 2, 1, 0})).rgb;
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
