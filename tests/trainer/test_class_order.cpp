// The order of classes: numbers out of order are remarked on, samples get the labels of another list.
#include <gtest/gtest.h>

#include "trainer/class_order.hpp"

namespace dtrain {
namespace {

using Names = std::vector<std::string>;

TEST(ClassOrder, NumbersOutOfOrderAreRemarkedOn) {
  const std::string remark = number_order_remark({"0", "1", "10", "11", "2"});

  EXPECT_NE(remark.find("11 is class 3, 2 is class 4"), std::string::npos) << remark;
  EXPECT_NE(number_order_remark({"class_1", "class_10", "class_2"}), "");
  EXPECT_NE(number_order_remark({"100000000000000000000000", "9"}), "");
  for (const Names& fine :
       {Names{"0", "1", "2"}, {"00", "01", "10"}, {"n01440764", "n02102040"}, {"a", "b"}, {"1", "2", "b"}, {"3"}, {}})
    EXPECT_EQ(number_order_remark(fine), "") << (fine.empty() ? "" : fine.front());
}

TEST(ClassOrder, RelabelledSamplesHaveTheLabelsOfTheOtherList) {
  auto inner = make_synthetic({.size = 50, .num_classes = 2, .image_size = 8});
  const Dataset& original = *inner;

  const auto dataset = relabelled(std::move(inner), {"a", "b", "c"}, {2, 0});

  EXPECT_EQ(dataset->size(), 50);
  EXPECT_EQ(dataset->class_names(), (Names{"a", "b", "c"}));
  for (std::int64_t i = 0; i < 50; ++i) {
    EXPECT_EQ(dataset->label(i), original.label(i) == 0 ? 2 : 0);
    EXPECT_EQ(dataset->sample_name(i), original.sample_name(i));
  }
  Picture one, other;
  dataset->decode_sized(
      3, [](const PictureSize&) { return DecodeHint{}; }, one);
  original.decode(3, {}, other);
  EXPECT_EQ(one.rgb, other.rgb);
  EXPECT_EQ(dataset->picture_size(3).width, 8);
}

TEST(ClassOrder, RelabelledSamplesHaveADigestOfTheirNewLabels) {
  const auto digest_of = [](const Names& classes, const std::vector<std::int32_t>& places) {
    return relabelled(make_synthetic({.size = 50, .num_classes = 2, .image_size = 8}), classes, places)->digest();
  };

  EXPECT_EQ(digest_of({"a", "b", "c"}, {2, 0}), digest_of({"a", "b", "c"}, {2, 0}));
  EXPECT_NE(digest_of({"a", "b", "c"}, {2, 0}), digest_of({"a", "b", "c"}, {0, 2}));
  EXPECT_NE(digest_of({"a", "b", "c"}, {2, 0}), digest_of({"a", "d", "c"}, {2, 0}));
}

}  // namespace
}  // namespace dtrain
