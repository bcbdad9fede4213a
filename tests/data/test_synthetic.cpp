// Synthetic pictures: a small pool, labels spread evenly, everything a function of the seed.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "dtrain/data.hpp"

namespace dtrain {
namespace {

Picture decode(const Dataset& dataset, std::int64_t sample) {
  Picture picture;
  dataset.decode(sample, {}, picture);
  return picture;
}

TEST(Synthetic, RepeatsAPoolOfSixtyFourPictures) {
  const auto dataset = make_synthetic({.size = 1000, .num_classes = 10, .image_size = 16, .seed = 3});
  std::set<std::string> distinct;
  for (std::int64_t i = 0; i < 128; ++i) {
    const Picture picture = decode(*dataset, i);
    distinct.emplace(picture.rgb.begin(), picture.rgb.end());
  }

  EXPECT_EQ(dataset->size(), 1000);
  EXPECT_EQ(dataset->class_names().size(), 10u);
  EXPECT_EQ(distinct.size(), 64u);
  EXPECT_EQ(decode(*dataset, 5).rgb, decode(*dataset, 69).rgb);
  EXPECT_EQ(decode(*dataset, 0).width, 16);
  EXPECT_EQ(decode(*dataset, 0).rgb.size(), 16u * 16u * 3u);
}

TEST(Synthetic, HasADigestOfAllThatItIsMadeOf) {
  const auto digest_of = [](const SyntheticOptions& options) { return make_synthetic(options)->digest(); };
  const SyntheticOptions plain{.size = 100, .num_classes = 10, .image_size = 8, .seed = 3};
  const std::uint64_t digest = digest_of(plain);

  EXPECT_EQ(digest_of(plain), digest);
  EXPECT_NE(digest_of({.size = 101, .num_classes = 10, .image_size = 8, .seed = 3}), digest);
  EXPECT_NE(digest_of({.size = 100, .num_classes = 11, .image_size = 8, .seed = 3}), digest);
  EXPECT_NE(digest_of({.size = 100, .num_classes = 10, .image_size = 9, .seed = 3}), digest);
  EXPECT_NE(digest_of({.size = 100, .num_classes = 10, .image_size = 8, .seed = 4}), digest);
}

TEST(Synthetic, DependsOnTheSeedAlone) {
  const auto first = make_synthetic({.size = 100, .num_classes = 1000, .image_size = 8, .seed = 3});
  const auto same = make_synthetic({.size = 100, .num_classes = 1000, .image_size = 8, .seed = 3});
  const auto other = make_synthetic({.size = 100, .num_classes = 1000, .image_size = 8, .seed = 4});
  int equal_labels = 0;
  for (std::int64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(first->label(i), same->label(i));
    equal_labels += first->label(i) == other->label(i) ? 1 : 0;
  }

  EXPECT_EQ(decode(*first, 7).rgb, decode(*same, 7).rgb);
  EXPECT_NE(decode(*first, 7).rgb, decode(*other, 7).rgb);
  EXPECT_LT(equal_labels, 5);
}

TEST(Synthetic, DrawsEveryLabelAboutEquallyOften) {
  const auto dataset = make_synthetic({.size = 10000, .num_classes = 10, .image_size = 1});
  std::vector<int> counts(10, 0);
  for (std::int64_t i = 0; i < 10000; ++i) ++counts.at(static_cast<std::size_t>(dataset->label(i)));

  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);  // five standard deviations of √(10000·0.1·0.9) = 30
}

TEST(Synthetic, HasBytesOfTheFullRange) {
  const auto dataset = make_synthetic({.size = 1, .num_classes = 2, .image_size = 64});
  std::vector<int> counts(256, 0);
  for (const std::uint8_t byte : decode(*dataset, 0).rgb) ++counts[byte];

  for (const int count : counts) EXPECT_NEAR(count, 48, 42);  // 12288 bytes: 48 each, six standard deviations of 7
}

}  // namespace
}  // namespace dtrain
