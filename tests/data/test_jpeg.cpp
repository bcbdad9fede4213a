// JPEG decoding: every colour model and coding, reduced sizes, and damage of every kind refused. Files are written by TurboJPEG
// in the test; a few are patched byte by byte into variants that it cannot write.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "dtrain/random.hpp"
#include "fixtures.hpp"
#include "picture_writers.hpp"
#include "src/data/jpeg.hpp"

namespace dtrain {
namespace {

constexpr DecodeHint kFullSize{};

Picture decoded_jpeg(const std::vector<std::uint8_t>& bytes, DecodeHint hint = kFullSize) {
  Picture picture;
  decode_jpeg(
      bytes, "test.jpg", [&](const PictureSize&) { return hint; }, picture);
  return picture;
}

int largest_difference(const Picture& a, const Picture& b) {
  EXPECT_EQ(a.rgb.size(), b.rgb.size());
  int largest = 0;
  for (std::size_t i = 0; i < std::min(a.rgb.size(), b.rgb.size()); ++i)
    largest = std::max(largest, std::abs(a.rgb[i] - b.rgb[i]));
  return largest;
}

/// Position of the first marker FF xx, or the size.
std::size_t find_marker(const std::vector<std::uint8_t>& bytes, std::uint8_t marker) {
  const std::array<std::uint8_t, 2> pattern{0xFF, marker};
  return static_cast<std::size_t>(std::search(bytes.begin(), bytes.end(), pattern.begin(), pattern.end()) - bytes.begin());
}

std::vector<std::uint8_t> gradient_jpeg(int width, int height, int flags = 0, TJSAMP subsampling = TJSAMP_420) {
  return write_jpeg({.width = width, .height = height, .subsampling = subsampling, .quality = 95, .flags = flags},
                    gradient_picture(width, height).rgb);
}

TEST(Jpeg, DecodesBaselineAndProgressiveAlike) {
  const Picture picture = gradient_picture(75, 50);

  const Picture baseline = decoded_jpeg(gradient_jpeg(75, 50));
  const Picture progressive = decoded_jpeg(gradient_jpeg(75, 50, TJFLAG_PROGRESSIVE));

  EXPECT_EQ(baseline.width, 75);
  EXPECT_EQ(baseline.height, 50);
  EXPECT_LE(largest_difference(baseline, picture), 8);  // quality 95, smooth content
  EXPECT_EQ(baseline.rgb, progressive.rgb);             // the same coefficients, stored in another order
}

TEST(Jpeg, RepeatsGrayInAllChannels) {
  const std::vector<std::uint8_t> gray{0, 40, 80, 120, 160, 200, 240, 255};
  const auto bytes = write_jpeg({.width = 4, .height = 2, .format = TJPF_GRAY, .subsampling = TJSAMP_GRAY}, gray);

  const Picture decoded = decoded_jpeg(bytes);

  ASSERT_EQ(decoded.rgb.size(), 24u);
  for (std::size_t i = 0; i < gray.size(); ++i) {
    EXPECT_NEAR(decoded.rgb[3 * i], gray[i], 2);
    EXPECT_EQ(decoded.rgb[3 * i], decoded.rgb[3 * i + 1]);
    EXPECT_EQ(decoded.rgb[3 * i], decoded.rgb[3 * i + 2]);
  }
}

TEST(Jpeg, ConvertsYcckByAdobesConvention) {
  // Samples are 255 − ink: no ink is white, cyan ink takes red away, half of the key leaves half of the light.
  const std::vector<std::pair<std::array<std::uint8_t, 4>, std::array<int, 3>>> cases{
      {{255, 255, 255, 255}, {255, 255, 255}}, {{0, 255, 255, 255}, {0, 255, 255}}, {{255, 0, 255, 255}, {255, 0, 255}},
      {{255, 255, 255, 128}, {128, 128, 128}}, {{255, 255, 255, 0}, {0, 0, 0}},     {{100, 200, 50, 204}, {80, 160, 40}}};
  for (const auto& [ink, rgb] : cases) {
    std::vector<std::uint8_t> pixels;
    for (int i = 0; i < 64; ++i) pixels.insert(pixels.end(), ink.begin(), ink.end());

    const Picture decoded = decoded_jpeg(write_jpeg({.width = 8, .height = 8, .format = TJPF_CMYK}, pixels));

    ASSERT_EQ(decoded.rgb.size(), 192u);
    // YCbCr rounds each channel to within 2, scaling by the key does not enlarge that.
    for (std::size_t c = 0; c < 3; ++c) EXPECT_NEAR(decoded.rgb[96 + c], rgb[c], 3) << int{ink[0]} << " channel " << c;
  }
}

TEST(Jpeg, ConvertsPlainCmyk) {
  // A YCCK file of gray ink has Y = 255 − ink, Cb = Cr = 128; with Adobe's transform flag cleared these are C, M and Y.
  std::vector<std::uint8_t> pixels;
  for (int i = 0; i < 64; ++i) pixels.insert(pixels.end(), {55, 55, 55, 255});
  std::vector<std::uint8_t> bytes = write_jpeg({.width = 8, .height = 8, .format = TJPF_CMYK}, pixels);
  const std::size_t adobe = find_marker(bytes, 0xEE);
  ASSERT_EQ(bytes.at(adobe + 15), 2);
  bytes[adobe + 15] = 0;

  const Picture decoded = decoded_jpeg(bytes);

  EXPECT_NEAR(decoded.rgb[0], 200, 2);
  EXPECT_NEAR(decoded.rgb[1], 128, 2);
  EXPECT_NEAR(decoded.rgb[2], 128, 2);
}

TEST(Jpeg, DecodesSubsamplingThatTurboJpegHasNoNameFor) {
  // 24 × 8 of mid gray, patched to three luma blocks beside one of each chroma, whose bits are then (standard tables, all
  // zero): 00 1010, 00 1010, 00 1010, 00 00, 00 00, then ones to the end of the byte.
  std::vector<std::uint8_t> bytes =
      write_jpeg({.width = 24, .height = 8, .quality = 50}, flat_picture(24, 8, {128, 128, 128}).rgb);
  const std::size_t frame = find_marker(bytes, 0xC0);
  ASSERT_EQ(bytes.at(frame + 11), 0x11);
  bytes[frame + 11] = 0x31;
  const std::size_t scan = find_marker(bytes, 0xDA);
  bytes.resize(scan + 2 + static_cast<std::size_t>(bytes[scan + 2] * 256 + bytes[scan + 3]));
  bytes.insert(bytes.end(), {0x28, 0xA2, 0x80, 0x3F, 0xFF, 0xD9});

  const Picture decoded = decoded_jpeg(bytes);

  EXPECT_EQ(decoded.width, 24);
  EXPECT_LE(largest_difference(decoded, flat_picture(24, 8, {128, 128, 128})), 1);
}

TEST(Jpeg, ChoosesTheSmallestPowerOfTwoThatServesTheHint) {
  EXPECT_EQ(jpeg_denominator({500, 375}, {0, 0}), 1);
  EXPECT_EQ(jpeg_denominator({500, 375}, {0, 10}), 1);
  EXPECT_EQ(jpeg_denominator({500, 375}, {500, 375}), 1);
  EXPECT_EQ(jpeg_denominator({500, 375}, {251, 10}), 1);
  EXPECT_EQ(jpeg_denominator({500, 375}, {250, 188}), 2);
  EXPECT_EQ(jpeg_denominator({500, 375}, {250, 189}), 1);
  EXPECT_EQ(jpeg_denominator({500, 375}, {125, 94}), 4);
  EXPECT_EQ(jpeg_denominator({500, 375}, {1, 1}), 8);
  EXPECT_EQ(jpeg_denominator({100, 100}, {1000, 1000}), 1);
}

TEST(Jpeg, DecodesAtReducedSizeCloseToTheFullPicture) {
  for (const auto& [width, height] : {std::pair{96, 64}, {97, 65}, {103, 71}}) {
    const auto bytes = gradient_jpeg(width, height);
    for (const int denominator : {2, 4, 8}) {
      const int small_width = (width + denominator - 1) / denominator, small_height = (height + denominator - 1) / denominator;

      const Picture decoded = decoded_jpeg(bytes, {small_width, small_height});

      ASSERT_EQ(decoded.width, small_width);
      ASSERT_EQ(decoded.height, small_height);
      // At the middle of the picture a gradient keeps its colour at any scale, within a step of the small picture.
      const std::uint8_t* middle = decoded.rgb.data() + (small_height / 2 * small_width + small_width / 2) * 3;
      const double step = 255.0 / small_height + 8.0;
      EXPECT_NEAR(middle[0], 128, step);
      EXPECT_NEAR(middle[1], 128, step);
      EXPECT_NEAR(middle[2], 128, step);
    }
  }
}

/// Pixels of a decoded picture that belong to a box of the stored one.
std::vector<std::uint8_t> pixels_of(const Picture& decoded, const PictureSize& stored, const CropBox& box) {
  const std::int64_t left = box.left * decoded.width / stored.width, top = box.top * decoded.height / stored.height;
  const std::int64_t right = ((box.left + box.width) * decoded.width + stored.width - 1) / stored.width;
  const std::int64_t bottom = ((box.top + box.height) * decoded.height + stored.height - 1) / stored.height;
  std::vector<std::uint8_t> pixels;
  for (std::int64_t y = top; y < bottom; ++y) {
    const auto row = decoded.rgb.begin() + y * decoded.width * 3;
    pixels.insert(pixels.end(), row + left * 3, row + right * 3);
  }
  return pixels;
}

TEST(Jpeg, DecodesAPartToTheBitsThatItHasInTheWhole) {
  Random random(1, RandomPurpose::augmentation, {});
  for (const TJSAMP subsampling : {TJSAMP_444, TJSAMP_422, TJSAMP_420, TJSAMP_440, TJSAMP_411, TJSAMP_GRAY}) {
    for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
      for (const auto& [width, height] : {std::pair{97, 65}, {160, 112}, {33, 203}, {5, 3}}) {
        const auto bytes =
            write_jpeg({.width = width, .height = height, .subsampling = subsampling, .quality = 90, .flags = flags},
                       noise_picture(width, height, 8).rgb);
        for (const int denominator : {1, 2, 4, 8}) {
          const int scaled_width = (width + denominator - 1) / denominator,
                    scaled_height = (height + denominator - 1) / denominator;
          DecodeHint hint{.min_width = scaled_width, .min_height = scaled_height};
          const Picture whole = decoded_jpeg(bytes, hint);
          for (int i = 0; i < 25; ++i) {
            const std::int64_t left = random.below(width), top = random.below(height);
            hint.needed = {left, top, 1 + random.below(width - left), 1 + random.below(height - top)};

            const Picture part = decoded_jpeg(bytes, hint);

            ASSERT_EQ(part.width, whole.width);
            ASSERT_EQ(pixels_of(part, {width, height}, hint.needed), pixels_of(whole, {width, height}, hint.needed))
                << "subsampling " << subsampling << (flags != 0 ? ", progressive, " : ", ") << width << " x " << height
                << " by 1/" << denominator << ": " << hint.needed.width << " x " << hint.needed.height << " at " << left << ", "
                << top;
          }
        }
      }
    }
  }
}

TEST(Jpeg, DecodesAPartOfACmykPicture) {
  std::vector<std::uint8_t> pixels = noise_picture(64, 64, 9).rgb;
  pixels.resize(48 * 64 * 4);
  const auto bytes = write_jpeg({.width = 48, .height = 64, .format = TJPF_CMYK}, pixels);
  const CropBox box{20, 30, 11, 13};

  const Picture part = decoded_jpeg(bytes, {.needed = box});

  EXPECT_EQ(pixels_of(part, {48, 64}, box), pixels_of(decoded_jpeg(bytes), {48, 64}, box));
}

TEST(Jpeg, FindsDamageOutsideThePartThatIsNeeded) {
  for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
    const auto whole = write_jpeg({.width = 64, .height = 200, .flags = flags}, noise_picture(64, 200, 5).rgb);
    auto cut = whole;
    cut.resize(whole.size() - 40);
    auto damaged = whole;
    std::fill(damaged.end() - 4000, damaged.end() - 40, std::uint8_t{0x55});
    for (const CropBox& box : {CropBox{0, 0, 8, 8}, {0, 190, 64, 10}, {30, 60, 20, 20}}) {
      EXPECT_EQ(data_error_of([&] { decoded_jpeg(whole, {.needed = box}); }), "");
      EXPECT_NE(data_error_of([&] { decoded_jpeg(cut, {.needed = box}); }), "");
      EXPECT_NE(data_error_of([&] { decoded_jpeg(damaged, {.needed = box}); }), "");
    }
  }
}

TEST(Jpeg, RefusesATruncatedFileWhereverItIsCut) {
  for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
    const auto whole = write_jpeg({.width = 64, .height = 48, .flags = flags}, noise_picture(64, 48, 4).rgb);
    for (const double share : {0.01, 0.1, 0.3, 0.5, 0.9, 0.999}) {
      const std::vector<std::uint8_t> cut(whole.begin(),
                                          whole.begin() + std::lround(share * static_cast<double>(whole.size())));

      const std::string text = data_error_of([&] { decoded_jpeg(cut); });

      EXPECT_NE(text.find("test.jpg"), std::string::npos) << share << " " << text;
      EXPECT_NE(text.find("; try: "), std::string::npos) << share << " " << text;
    }
  }
}

TEST(Jpeg, RefusesDamagedPictureData) {
  std::vector<std::uint8_t> bytes = write_jpeg({.width = 64, .height = 48}, noise_picture(64, 48, 5).rgb);
  std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() / 2), bytes.end() - 40, std::uint8_t{0x55});

  const std::string text = data_error_of([&] { decoded_jpeg(bytes); });

  EXPECT_NE(text.find("Corrupt JPEG data"), std::string::npos) << text;
}

TEST(Jpeg, ToleratesStrayBytesThatCostNoPicture) {
  const auto whole = gradient_jpeg(40, 40);
  std::vector<std::uint8_t> before_end(whole.begin(), whole.end() - 2);
  before_end.insert(before_end.end(), {1, 2, 3, 4, 0xFF, 0xD9});
  std::vector<std::uint8_t> behind_end = whole;
  behind_end.insert(behind_end.end(), {1, 2, 3, 4});

  EXPECT_EQ(decoded_jpeg(before_end).rgb, decoded_jpeg(whole).rgb);
  EXPECT_EQ(decoded_jpeg(behind_end).rgb, decoded_jpeg(whole).rgb);
}

/// With other bytes before the end marker.
std::vector<std::uint8_t> with_bytes_before_end(std::vector<std::uint8_t> bytes, const std::vector<std::uint8_t>& more) {
  bytes.insert(bytes.end() - 2, more.begin(), more.end());
  return bytes;
}

TEST(Jpeg, TakesPaddingBeforeTheEndForWhatItIs) {
  for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
    const auto whole = write_jpeg({.width = 64, .height = 48, .flags = flags}, noise_picture(64, 48, 6).rgb);
    for (const auto& [count, value] : std::vector<std::pair<std::size_t, std::uint8_t>>{
             {1025, 0}, {1153, 0}, {50000, 0}, {3000, ' '}, {3000, 0xFF}, {1153, 0x80}}) {
      const auto padded = with_bytes_before_end(whole, std::vector<std::uint8_t>(count, value));

      EXPECT_EQ(decoded_jpeg(padded).rgb, decoded_jpeg(whole).rgb) << count << " of " << int{value};
      EXPECT_EQ(data_error_of([&] { decoded_jpeg(padded, {.needed = {0, 0, 8, 8}}); }), "");
    }
  }
}

TEST(Jpeg, ManyStrayBytesBeforeTheFirstScanCostNoPicture) {
  const auto whole = write_jpeg({.width = 64, .height = 48}, noise_picture(64, 48, 6).rgb);
  auto bytes = whole;
  std::vector<std::uint8_t> stray(5000);
  for (std::size_t i = 0; i < stray.size(); ++i) stray[i] = static_cast<std::uint8_t>(i % 251);
  bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(find_marker(bytes, 0xDA)), stray.begin(), stray.end());

  EXPECT_EQ(decoded_jpeg(bytes).rgb, decoded_jpeg(whole).rgb);
}

TEST(Jpeg, SeesDamageThatLooksLikePadding) {
  for (const int flags : {0, TJFLAG_PROGRESSIVE}) {
    const auto whole = write_jpeg({.width = 128, .height = 96, .flags = flags}, noise_picture(128, 96, 6).rgb);
    // Data overwritten with zeros up to the end marker; and a file that was cut, with zeros in the place of its rest.
    auto overwritten = whole, cut = whole;
    std::fill(overwritten.begin() + std::lround(0.6 * static_cast<double>(whole.size())), overwritten.end() - 2, std::uint8_t{0});
    std::fill(cut.begin() + std::lround(0.6 * static_cast<double>(whole.size())), cut.end(), std::uint8_t{0});
    // Other bytes than padding might be the rest of the picture.
    std::vector<std::uint8_t> rest(whole.end() - 3002, whole.end() - 2);

    // (Of a progressive file whole scans are lost then, of which libjpeg says nothing.)
    if (flags == 0) {
      EXPECT_NE(data_error_of([&] { decoded_jpeg(overwritten); }), "");
    }
    EXPECT_NE(data_error_of([&] { decoded_jpeg(cut); }), "") << flags;
    EXPECT_NE(data_error_of([&] { decoded_jpeg(with_bytes_before_end(whole, rest)); }), "") << flags;
  }
}

TEST(Jpeg, AFileWithoutItsEndMarkerIsTruncated) {
  const auto whole = write_jpeg({.width = 64, .height = 48}, noise_picture(64, 48, 6).rgb);
  const std::vector<std::uint8_t> cut(whole.begin(), whole.end() - 2);

  EXPECT_NE(data_error_of([&] { decoded_jpeg(cut); }), "");
}

TEST(Jpeg, SeesTruncationBehindAHarmlessWarning) {
  // Stray bytes before the scan are warned of first; the library then keeps silent about the end.
  auto bytes = write_jpeg({.width = 64, .height = 48}, noise_picture(64, 48, 6).rgb);
  const std::size_t scan = find_marker(bytes, 0xDA);
  bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(scan), {1, 2, 3, 4});
  EXPECT_EQ(decoded_jpeg(bytes).width, 64);
  bytes.resize(bytes.size() * 6 / 10);

  EXPECT_NE(data_error_of([&] { decoded_jpeg(bytes); }), "");
}

TEST(Jpeg, ReadsExtentsFromTheHeaderAlone) {
  const auto bytes = gradient_jpeg(123, 45);
  const std::size_t scan = find_marker(bytes, 0xDA);
  const std::vector<std::uint8_t> head(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(scan + 20));

  const PictureSize size = jpeg_size(head, "test.jpg");

  EXPECT_EQ(size.width, 123);
  EXPECT_EQ(size.height, 45);
}

TEST(Jpeg, EncodesWhatItDecodes) {
  const Picture picture = gradient_picture(61, 37);
  for (const bool halves_chroma : {false, true}) {
    for (const bool is_progressive : {false, true}) {
      const auto bytes =
          encode_jpeg(picture, {.quality = 95, .halves_chroma = halves_chroma, .is_progressive = is_progressive});

      EXPECT_LE(largest_difference(decoded_jpeg(bytes), picture), 8);
      EXPECT_EQ(find_marker(bytes, 0xC2) < bytes.size(), is_progressive);
    }
  }
}

}  // namespace
}  // namespace dtrain
