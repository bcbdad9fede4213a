// Resizing faces Pillow's own results, a plain sum in doubles, and the edges of its tiles and windows.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "picture_writers.hpp"
#include "src/data/resample.hpp"

namespace dtrain {
namespace {

PictureView view_of(const Picture& picture) { return {picture.rgb.data(), picture.width, picture.height, picture.width * 3}; }

SourceBox whole(const Picture& picture) {
  return {0.0, 0.0, static_cast<double>(picture.width), static_cast<double>(picture.height)};
}

std::vector<std::uint8_t> run(const Picture& picture, const SourceBox& box, PictureSize scaled, Window window) {
  std::vector<std::uint8_t> dst(static_cast<std::size_t>(window.width * window.height * 3));
  resample(view_of(picture), box, scaled, window, dst.data(), window.width * 3);
  return dst;
}

std::vector<std::uint8_t> run(const Picture& picture, const SourceBox& box, PictureSize scaled) {
  return run(picture, box, scaled, {0, 0, scaled.width, scaled.height});
}

std::vector<std::uint8_t> run_with(Interpolation filter, const Picture& picture, const SourceBox& box, PictureSize scaled) {
  std::vector<std::uint8_t> dst(static_cast<std::size_t>(scaled.width * scaled.height * 3));
  resample(view_of(picture), box, scaled, {0, 0, scaled.width, scaled.height}, dst.data(), scaled.width * 3, filter);
  return dst;
}

/// Weight of source pixel i in target pixel `target`: a triangle of half-width max(scale, 1) around the target's centre.
double triangle(std::int64_t i, std::int64_t target, double begin, double scale) {
  const double centre = begin + (static_cast<double>(target) + 0.5) * scale;
  return std::max(0.0, 1.0 - std::abs(static_cast<double>(i) + 0.5 - centre) / std::max(scale, 1.0));
}

/// One channel of one target pixel, in doubles, over all source pixels.
double oracle(const Picture& picture, const SourceBox& box, PictureSize scaled, std::int64_t x, std::int64_t y, int channel) {
  const double scale_x = (box.right - box.left) / static_cast<double>(scaled.width);
  const double scale_y = (box.bottom - box.top) / static_cast<double>(scaled.height);
  double sum = 0.0, total = 0.0;
  for (std::int64_t row = 0; row < picture.height; ++row) {
    const double weight_y = triangle(row, y, box.top, scale_y);
    if (weight_y == 0.0) continue;
    for (std::int64_t column = 0; column < picture.width; ++column) {
      const double weight = weight_y * triangle(column, x, box.left, scale_x);
      sum += weight * picture.rgb[static_cast<std::size_t>((row * picture.width + column) * 3 + channel)];
      total += weight;
    }
  }
  return sum / total;
}

TEST(Resample, EqualsPillowBitForBit) {
  Picture picture{7, 5, {}};
  for (int y = 0; y < 5; ++y) {
    for (int x = 0; x < 7; ++x) {
      for (int c = 0; c < 3; ++c) picture.rgb.push_back(static_cast<std::uint8_t>(x * x * 7 + y * 31 + c * 50 + x * y * 11));
    }
  }
  struct Case {
    SourceBox box;
    PictureSize scaled;
    std::vector<std::uint8_t> expected;  // Image.resize(scaled, BILINEAR, box) of Pillow 9.4
  };
  const std::vector<Case> cases{
      {{0, 0, 7, 5}, {3, 2}, {49, 99, 147, 107, 152, 145, 120, 141, 108, 130, 163, 155, 151, 139, 107, 97, 147, 111}},
      {{0, 0, 7, 5},
       {9, 6},
       {0,   50,  100, 5,   55,  105, 16,  66,  116, 36,  86,  136, 63,  113, 163, 101, 151, 201, 147, 197, 105, 201, 165, 45,
        252, 46,  96,  23,  73,  123, 34,  84,  134, 51,  101, 151, 77,  127, 177, 111, 161, 211, 156, 206, 107, 101, 151, 80,
        76,  104, 112, 133, 119, 169, 49,  99,  149, 65,  115, 165, 90,  140, 190, 124, 174, 190, 164, 214, 115, 100, 150, 84,
        67,  117, 119, 86,  136, 137, 150, 200, 100, 75,  125, 175, 97,  147, 197, 130, 180, 182, 170, 196, 130, 218, 161, 62,
        77,  104, 120, 87,  137, 128, 126, 176, 105, 124, 174, 74,  101, 151, 201, 130, 180, 187, 169, 190, 119, 202, 159, 60,
        207, 65,  115, 124, 131, 131, 119, 169, 84,  108, 158, 80,  55,  105, 155, 124, 174, 224, 158, 208, 87,  204, 140, 48,
        201, 52,  102, 63,  113, 163, 135, 185, 36,  73,  123, 59,  47,  97,  147, 128, 178, 228}},
      {{1.25, 0.5, 6.5, 4.75}, {4, 3}, {49,  99,  149, 93,  143, 180, 128, 178, 111, 106, 119, 107,
                                        116, 166, 187, 175, 184, 113, 81,  122, 113, 115, 165, 114,
                                        182, 173, 94,  175, 101, 105, 119, 151, 89,  86,  136, 113}},
      {{0, 0, 7, 5}, {7, 3}, {13,  63,  113, 25,  75,  125, 51,  101, 151, 90,  140, 190, 144, 194, 134, 102,
                              152, 56,  184, 88,  138, 62,  112, 162, 91,  141, 191, 134, 184, 177, 191, 184,
                              92,  63,  113, 106, 91,  141, 134, 133, 183, 91,  111, 161, 211, 157, 207, 111,
                              217, 121, 61,  145, 86,  136, 124, 174, 78,  80,  130, 70,  86,  136, 186}},
      {{0, 0, 7, 5}, {4, 5}, {4,  54,  104, 34,  84,  134, 111, 161, 160, 212, 128, 69,  41,  91,  141,
                              87, 137, 187, 134, 184, 101, 60,  110, 148, 78,  128, 178, 141, 191, 170,
                              75, 125, 103, 139, 189, 105, 115, 165, 202, 195, 174, 90,  149, 127, 126,
                              96, 146, 86,  151, 189, 129, 177, 94,  93,  100, 150, 67,  77,  127, 165}}};
  for (const Case& c : cases)
    EXPECT_EQ(run(picture, c.box, c.scaled), c.expected) << c.scaled.width << " x " << c.scaled.height;
}

TEST(Resample, StaysWithinOneLevelOfThePlainSum) {
  // Each pass rounds by at most half a level, and the second averages the errors of the first: one level in all.
  struct Case {
    PictureSize stored;
    SourceBox box;
    PictureSize scaled;
  };
  const std::vector<Case> cases{{{50, 37}, {0, 0, 50, 37}, {22, 22}},  {{50, 37}, {0, 0, 50, 37}, {22, 37}},
                                {{50, 37}, {0, 0, 50, 37}, {50, 22}},  {{13, 9}, {0, 0, 13, 9}, {40, 31}},
                                {{31, 33}, {3, 5, 20, 19}, {8, 8}},    {{31, 33}, {2.25, 3.5, 20.75, 30.125}, {11, 7}},
                                {{300, 2}, {0, 0, 300, 2}, {7, 9}},    {{2, 300}, {0, 0, 2, 300}, {9, 7}},
                                {{1, 1}, {0, 0, 1, 1}, {5, 3}},        {{64, 64}, {0, 0, 64, 64}, {1, 1}},
                                {{500, 3}, {0.5, 0, 499.5, 3}, {3, 3}}};
  for (const Case& c : cases) {
    const Picture picture = noise_picture(c.stored.width, c.stored.height, 7);

    const std::vector<std::uint8_t> dst = run(picture, c.box, c.scaled);

    for (std::int64_t y = 0; y < c.scaled.height; ++y) {
      for (std::int64_t x = 0; x < c.scaled.width; ++x) {
        for (int channel = 0; channel < 3; ++channel) {
          ASSERT_NEAR(dst[static_cast<std::size_t>((y * c.scaled.width + x) * 3 + channel)],
                      oracle(picture, c.box, c.scaled, x, y, channel), 1.001)
              << c.stored.width << " x " << c.stored.height << " at " << x << ", " << y;
        }
      }
    }
  }
}

TEST(Resample, CopiesWhenNothingChanges) {
  const Picture picture = noise_picture(17, 11, 1);

  EXPECT_EQ(run(picture, whole(picture), {17, 11}), picture.rgb);
}

TEST(Resample, GivesAnyWindowOfTheWhole) {
  const Picture picture = noise_picture(45, 38, 2);
  for (const PictureSize scaled : {PictureSize{20, 30}, {45, 30}, {20, 38}, {45, 38}, {90, 60}}) {
    const std::vector<std::uint8_t> all = run(picture, whole(picture), scaled);
    for (const Window window : {Window{3, 5, 11, 9}, {0, 0, 1, 1}, {scaled.width - 4, scaled.height - 1, 4, 1}}) {
      const std::vector<std::uint8_t> part = run(picture, whole(picture), scaled, window);

      for (std::int64_t y = 0; y < window.height; ++y) {
        const auto begin = all.begin() + ((window.top + y) * scaled.width + window.left) * 3;
        ASSERT_TRUE(std::equal(begin, begin + window.width * 3, part.begin() + y * window.width * 3))
            << scaled.width << " " << y;
      }
    }
  }
}

TEST(Resample, WritesNothingBesideTheWindow) {
  const Picture picture = noise_picture(30, 30, 3);
  std::vector<std::uint8_t> dst(10 * 40, 99);

  resample(view_of(picture), whole(picture), {7, 10}, {0, 0, 7, 10}, dst.data(), 40);

  for (std::size_t y = 0; y < 10; ++y) {
    for (std::size_t i = 21; i < 40; ++i) ASSERT_EQ(dst[y * 40 + i], 99);
  }
}

TEST(Resample, KeepsFlatPicturesFlat) {
  for (const std::uint8_t level : {std::uint8_t{0}, std::uint8_t{1}, std::uint8_t{254}, std::uint8_t{255}}) {
    const Picture picture = flat_picture(301, 203, {level, level, level});
    for (const PictureSize scaled : {PictureSize{7, 3}, {100, 100}, {400, 300}}) {
      for (const std::uint8_t byte : run(picture, whole(picture), scaled)) ASSERT_EQ(byte, level);
    }
  }
}

TEST(Resample, HandlesEveryRowCountOfATile) {
  for (std::int64_t height = 1; height <= 9; ++height) {
    const Picture picture = noise_picture(10, height, 5);
    const std::vector<std::uint8_t> dst = run(picture, whole(picture), {4, height});
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < 4; ++x) {
        ASSERT_NEAR(dst[static_cast<std::size_t>((y * 4 + x) * 3 + 1)], oracle(picture, whole(picture), {4, height}, x, y, 1),
                    0.501);
      }
    }
  }
}

TEST(Resample, PlansWeightsThatAddUpToOne) {
  const FilterTaps taps =
      plan_taps({.extent = 500, .begin = 0.3, .end = 499.1, .scaled = 77, .window_begin = 0, .window_count = 77});
  for (std::size_t i = 0; i < 77; ++i) {
    std::int64_t sum = 0;
    for (std::int64_t t = 0; t < taps.taps; ++t)
      sum += taps.weights[i * static_cast<std::size_t>(taps.taps) + static_cast<std::size_t>(t)];

    EXPECT_NEAR(static_cast<double>(sum), 1 << kWeightBits, static_cast<double>(taps.taps) / 2);
    EXPECT_GE(taps.first[i], 0);
    EXPECT_LE(taps.first[i] + taps.count[i], 500);
    EXPECT_LE(taps.count[i], taps.taps);
  }
}

/// Source: Fowler, Noll & Vo, FNV-1a with 64 bits.
std::uint64_t fnv1a(const std::vector<std::uint8_t>& bytes) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3ULL;
  return hash;
}

/// 61 × 47 pixels of many values. In Python: y, x, c = np.ogrid[:47, :61, :3]; (x*x*7 + y*31 + c*50 + x*y*11) % 256.
Picture patterned() {
  Picture picture{61, 47, {}};
  for (int y = 0; y < 47; ++y) {
    for (int x = 0; x < 61; ++x) {
      for (int c = 0; c < 3; ++c) picture.rgb.push_back(static_cast<std::uint8_t>(x * x * 7 + y * 31 + c * 50 + x * y * 11));
    }
  }
  return picture;
}

// Hashes of Image.fromarray(patterned).resize(scaled, filter, box).tobytes() of Pillow 9.4.
TEST(Resample, EqualsPillowBitForBitWithEveryFilter) {
  struct Case {
    PictureSize scaled;
    SourceBox box;
    std::uint64_t bilinear, bicubic, nearest;
  };
  const Picture picture = patterned();
  const std::vector<Case> cases{
      {{20, 15}, whole(picture), 0xf1ed90cc417000aeULL, 0xf14e49adefd9d571ULL, 0x4b1e84872c05f693ULL},
      {{61, 20}, whole(picture), 0xb840b0b8e60ce76fULL, 0x423107ad7d8c715fULL, 0xc7a53b5990fd60d5ULL},
      {{150, 99}, whole(picture), 0x26e3eaf287c91780ULL, 0xe10a83f63b389950ULL, 0x59764f06f87db181ULL},
      {{9, 11}, {3, 2, 59, 40}, 0x7938f15b859b0c86ULL, 0x1eb1a1ebbe287e33ULL, 0xb2a93fb112d20d03ULL},
      {{33, 64}, {1.25, 0.5, 60.75, 46.5}, 0x0fd4c133e1365e88ULL, 0x87805e77f041e2a6ULL, 0xec63f15ec95037a5ULL}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.scaled.width);
    EXPECT_EQ(fnv1a(run(picture, c.box, c.scaled)), c.bilinear);
    EXPECT_EQ(fnv1a(run_with(Interpolation::bicubic, picture, c.box, c.scaled)), c.bicubic);
    EXPECT_EQ(fnv1a(run_with(Interpolation::nearest, picture, c.box, c.scaled)), c.nearest);
  }
}

TEST(Resample, GivesTheSamePixelsInAWindowWithEveryFilter) {
  const Picture picture = patterned();
  const PictureSize scaled{100, 30};
  const Window window{13, 7, 70, 20};
  for (const Interpolation filter : {Interpolation::bicubic, Interpolation::nearest}) {
    const std::vector<std::uint8_t> all = run_with(filter, picture, whole(picture), scaled);
    std::vector<std::uint8_t> part(static_cast<std::size_t>(window.width * window.height * 3));
    resample(view_of(picture), whole(picture), scaled, window, part.data(), window.width * 3, filter);

    for (std::int64_t y = 0; y < window.height; ++y) {
      const auto* from = all.data() + ((y + window.top) * scaled.width + window.left) * 3;
      EXPECT_TRUE(std::equal(from, from + window.width * 3, part.data() + y * window.width * 3)) << y;
    }
  }
}

// Black and white stripes: the cubic's negative weights go beyond both.
TEST(Resample, ClampsWhatTheCubicOvershoots) {
  Picture picture{8, 1, {}};
  for (int x = 0; x < 8; ++x) picture.rgb.insert(picture.rgb.end(), 3, x / 2 % 2 == 0 ? 0 : 255);

  const std::vector<std::uint8_t> wide = run_with(Interpolation::bicubic, picture, whole(picture), {12, 1});

  // Channel 0 of Image.resize((12, 1), BICUBIC) of Pillow 9.4.
  const std::vector<std::uint8_t> expected{0, 0, 31, 224, 255, 224, 31, 0, 31, 224, 255, 255};
  for (std::size_t x = 0; x < expected.size(); ++x) EXPECT_EQ(wide[3 * x], expected[x]) << x;
}

}  // namespace
}  // namespace dtrain
