// Layouts of slots against oneDNN's own reorders: both must put every element in the same place.
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "src/nn/onednn.hpp"
#include "tests/nn/test_device.hpp"

namespace dtrain::nn {
namespace {

using Tag = dnnl::memory::format_tag;

/// What oneDNN makes of the row-major numbers 1, 2, 3, … in layout `desc`, padding included.
std::vector<float> reordered_by_onednn(const Desc& desc, std::vector<float> plain) {
  std::vector<float> result(desc.get_size() / sizeof(float), -1.0f);
  dnnl::memory from(plain_desc(dims_of(desc)), test_device().engine, plain.data());
  dnnl::memory to(desc, test_device().engine, result.data());
  dnnl::reorder(from, to).execute(test_device().stream, from, to);
  dnnl::stream(test_device().stream).wait();
  return result;
}

std::vector<float> numbers(const Dims& dims) {
  std::vector<float> values(static_cast<std::size_t>(element_count(dims)));
  std::iota(values.begin(), values.end(), 1.0f);
  return values;
}

const std::vector<Dims> kWeights{{32, 16, 3, 3}, {16, 16, 1, 1}, {5, 3, 3, 3}, {24, 20, 5, 5}, {64, 3, 7, 7}, {48, 32, 1, 1}};
const std::vector<Tag> kWeightTags{Tag::oihw,     Tag::OIhw16i16o, Tag::OIhw16o16i, Tag::Ohwi16o,
                                   Tag::OIhw8i8o, Tag::OIhw8o8i,   Tag::Ohwi8o,     Tag::hwio,
                                   Tag::ohwi,     Tag::Owhi16o,    Tag::Oihw16o,    Tag::OIhw4i16o4i};

TEST(Layouts, PlaceConvolutionWeightsWhereOneDnnPutsThem) {
  for (const Dims& dims : kWeights) {
    for (const Tag tag : kWeightTags) {
      const Desc desc(dims, dnnl::memory::data_type::f32, tag);
      const std::vector<float> plain = numbers(dims);
      const Layout layout = layout_of(desc);
      std::vector<float> slot(static_cast<std::size_t>(layout.size), 0.0f);

      copy_from_plain(layout, plain, slot);

      ASSERT_EQ(slot, reordered_by_onednn(desc, plain)) << to_text(dims) << ", tag " << static_cast<int>(tag);
    }
  }
}

const std::vector<Dims> kGroupedWeights{{32, 1, 1, 3, 3}, {24, 1, 1, 5, 5},  {5, 1, 1, 3, 3},
                                        {16, 2, 1, 3, 3}, {2, 32, 16, 3, 3}, {3, 2, 4, 1, 1}};

TEST(Layouts, PlaceGroupedWeightsWhereOneDnnPutsThem) {
  for (const Dims& dims : kGroupedWeights) {
    for (const Tag tag : {Tag::goihw, Tag::Goihw16g, Tag::Goihw8g, Tag::gOIhw16i16o, Tag::gOIhw16o16i, Tag::gOhwi16o}) {
      const Desc desc(dims, dnnl::memory::data_type::f32, tag);
      const std::vector<float> plain = numbers(dims);
      const Layout layout = layout_of(desc);
      std::vector<float> slot(static_cast<std::size_t>(layout.size), 0.0f);

      copy_from_plain(layout, plain, slot);

      ASSERT_EQ(layout.offsets.size(), 4U);
      ASSERT_EQ(slot, reordered_by_onednn(desc, plain)) << to_text(dims) << ", tag " << static_cast<int>(tag);
      EXPECT_EQ(layout_of(desc_of(layout, dims, plain_desc(dims))), layout) << "from a slot back to a desc";
    }
  }
}

TEST(Layouts, PlaceLinearWeightsWhereOneDnnPutsThem) {
  for (const Dims& dims : {Dims{10, 84}, Dims{64, 32}, Dims{1000, 48}, Dims{1, 1}}) {
    for (const Tag tag : {Tag::ab, Tag::ba, Tag::OI16i16o, Tag::OI16i64o, Tag::OI16i32o}) {
      const Desc desc(dims, dnnl::memory::data_type::f32, tag);
      const std::vector<float> plain = numbers(dims);
      const Layout layout = layout_of(desc);
      std::vector<float> slot(static_cast<std::size_t>(layout.size), 0.0f);

      copy_from_plain(layout, plain, slot);

      ASSERT_EQ(slot, reordered_by_onednn(desc, plain)) << to_text(dims) << ", tag " << static_cast<int>(tag);
    }
  }
}

TEST(Layouts, OfSlotsLeadBackToADescWithTheSameOffsets) {
  for (const Dims& dims : kWeights) {
    for (const Tag tag : {Tag::oihw, Tag::OIhw16i16o, Tag::OIhw16o16i, Tag::Ohwi16o, Tag::OIhw8i8o, Tag::Ohwi8o, Tag::hwio}) {
      const Layout layout = layout_of(Desc(dims, dnnl::memory::data_type::f32, tag));

      const Desc found = desc_of(layout, dims, plain_desc(dims));

      EXPECT_EQ(layout_of(found), layout) << to_text(dims) << ", tag " << static_cast<int>(tag);
    }
  }
}

TEST(Layouts, ThatNoWeightsFormatMatchesAreRefused) {
  Layout reversed = plain_layout({4, 2, 1, 1});
  std::swap(reversed.offsets[0].front(), reversed.offsets[0].back());

  EXPECT_THROW(desc_of(reversed, {4, 2, 1, 1}, plain_desc({4, 2, 1, 1})), std::logic_error);
}

TEST(Layouts, KnowTheirBlocksOfChannels) {
  const Dims dims{2, 24, 5, 5};

  EXPECT_EQ(channel_block(channel_blocked_desc(dims, 16)), 16);
  EXPECT_EQ(channel_block(channel_blocked_desc(dims, 8)), 8);
  EXPECT_EQ(channel_block(plain_desc(dims)), 0);
  EXPECT_EQ(channel_block(plain_desc({2, 24})), 0);
}

}  // namespace
}  // namespace dtrain::nn
