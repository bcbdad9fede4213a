// Conversion of weight blocks: the bits of oneDNN's reorder, for every pair of layouts and any number of blocks.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "src/nn/block_conversion.hpp"
#include "tests/nn/test_device.hpp"

namespace dtrain::nn {
namespace {

using Tag = dnnl::memory::format_tag;

struct Conversion {
  Tag from, to;
  DataType type;
};

const Conversion kConversions[] = {{Tag::OIhw16i16o, Tag::OIhw16o16i, kF32},
                                   {Tag::OIhw8i8o, Tag::OIhw8o8i, kF32},
                                   {Tag::OIhw16i16o, Tag::OIhw8i16o2i, kBf16},
                                   {Tag::OIhw16i16o, Tag::OIhw8o16i2o, kBf16}};

TEST(BlockConversion, GivesTheBitsOfOneDnnsReorder) {
  const Device& device = test_device();
  for (const Conversion& conversion : kConversions) {
    for (const Dims& dims : {Dims{16, 16, 1, 1}, Dims{48, 32, 3, 3}, Dims{40, 24, 1, 7}}) {
      const dnnl::memory plain(plain_desc(dims), device.engine);
      for (std::size_t i = 0; i < plain.get_desc().get_size() / sizeof(float); ++i) {
        floats(plain)[i] = static_cast<float>(i % 1009) / 7.0f - 70.0f;
      }
      const dnnl::memory from(Desc(dims, kF32, conversion.from), device.engine);
      dnnl::reorder(plain, from).execute(device.stream, const_cast<dnnl::memory&>(plain), const_cast<dnnl::memory&>(from));
      const dnnl::memory expected(Desc(dims, conversion.type, conversion.to), device.engine);
      dnnl::reorder(from, expected)
          .execute(device.stream, const_cast<dnnl::memory&>(from), const_cast<dnnl::memory&>(expected));
      std::vector<char> converted(expected.get_desc().get_size(), 'x');

      const auto own = BlockConversion::between(from.get_desc(), expected.get_desc());

      ASSERT_TRUE(own);
      own->run(floats(from), converted.data());
      EXPECT_EQ(std::memcmp(converted.data(), expected.get_data_handle(), converted.size()), 0)
          << "to tag " << static_cast<int>(conversion.to) << " of " << dims[0] << "x" << dims[1];
    }
  }
}

TEST(BlockConversion, IsNotOfferedForOtherLayouts) {
  const Dims dims{32, 32, 3, 3};
  const Desc blocked(dims, kF32, Tag::OIhw16i16o);

  EXPECT_FALSE(BlockConversion::between(blocked, blocked));
  EXPECT_FALSE(BlockConversion::between(plain_desc(dims), blocked));
  EXPECT_FALSE(BlockConversion::between(blocked, plain_desc(dims)));
  EXPECT_FALSE(BlockConversion::between(blocked, Desc({32, 16, 3, 3}, kF32, Tag::OIhw16o16i)));
  EXPECT_FALSE(BlockConversion::between(blocked, Desc(dims, kBf16, Tag::OIhw16o16i)));
}

}  // namespace
}  // namespace dtrain::nn
