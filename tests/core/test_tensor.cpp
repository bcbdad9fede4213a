// Aligned memory and row-major tensors.
#include <gtest/gtest.h>

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>

#include "dtrain/tensor.hpp"

namespace dtrain {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;

TEST(Shape, CountsElementsAndAScalarIsOne) {
  EXPECT_EQ(element_count({64, 3, 7, 7}), 9408);
  EXPECT_EQ(element_count({}), 1);
  EXPECT_EQ(element_count({5, 0, 2}), 0);
}

TEST(Shape, ReadsAsPeopleWriteIt) {
  EXPECT_EQ(to_text(Shape{64, 3, 7, 7}), "(64, 3, 7, 7)");
  EXPECT_EQ(to_text(Shape{10}), "(10)");
  EXPECT_EQ(to_text(Shape{}), "()");
}

TEST(AlignedMemory, IsAlignedToHugePagesWhenLargeAndToCacheLinesOtherwise) {
  for (const std::size_t size_bytes : {std::size_t{1}, std::size_t{63}, std::size_t{65}, 3 * kMiB, 4 * kMiB - 1}) {
    const AlignedMemory memory(size_bytes);
    EXPECT_EQ(memory.size_bytes(), size_bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % 64, 0u) << size_bytes;
  }
  for (const std::size_t size_bytes : {4 * kMiB, 4 * kMiB + 1, 9 * kMiB - 4}) {
    const AlignedMemory memory(size_bytes);
    EXPECT_EQ(memory.size_bytes(), size_bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % (2 * kMiB), 0u) << size_bytes;
  }
}

TEST(AlignedMemory, IsZeroAndWritableToItsLastByte) {
  for (const std::size_t size_bytes : {std::size_t{100}, 5 * kMiB + 4}) {
    const AlignedMemory memory(size_bytes);
    const std::span<std::byte> bytes(memory.data(), size_bytes);
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; }));

    bytes.back() = std::byte{7};

    EXPECT_EQ(memory.data()[size_bytes - 1], std::byte{7});
  }
}

TEST(AlignedMemory, OfNoBytesHoldsNothing) {
  const AlignedMemory memory(0);

  EXPECT_EQ(memory.data(), nullptr);
  EXPECT_TRUE(memory.floats().empty());
}

TEST(AlignedMemory, MovesWithItsContents) {
  for (const std::size_t size_bytes : {std::size_t{64}, 4 * kMiB}) {
    AlignedMemory first(size_bytes);
    first.floats()[3] = 2.5f;
    const std::byte* const address = first.data();

    AlignedMemory second(std::move(first));
    AlignedMemory third(128);
    third = std::move(second);

    EXPECT_EQ(third.data(), address);
    EXPECT_EQ(third.size_bytes(), size_bytes);
    EXPECT_EQ(third.floats()[3], 2.5f);
  }
}

TEST(AlignedMemory, ThatCannotBeHadThrowsBadAlloc) {
  EXPECT_THROW(AlignedMemory(std::size_t{1} << 62), std::bad_alloc);
  EXPECT_THROW(AlignedMemory(SIZE_MAX), std::bad_alloc);
}

TEST(Tensor, HasItsShapeAndStartsAtZero) {
  const Tensor tensor(Shape{2, 3, 4});

  EXPECT_EQ(tensor.size(), 24);
  EXPECT_EQ(tensor.shape(), (Shape{2, 3, 4}));
  ASSERT_EQ(tensor.values().size(), 24u);
  EXPECT_TRUE(std::all_of(tensor.values().begin(), tensor.values().end(), [](float v) { return v == 0.0f; }));
}

TEST(Tensor, MayBeEmptyButNotNegative) {
  EXPECT_TRUE(Tensor(Shape{0, 7}).values().empty());
  EXPECT_TRUE(Tensor().values().empty());
  EXPECT_THROW(Tensor(Shape{-1}), std::logic_error);
}

}  // namespace
}  // namespace dtrain
