// The additions, for every instruction set that this processor has: the bits of a plain loop, at any length and address.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "collectives/sum_kernels.hpp"
#include "dtrain/random.hpp"

namespace dtrain {
namespace {

/// Rows of random numbers of mixed magnitude, so that another order of additions would show.
std::vector<std::vector<float>> random_rows(std::size_t rows, std::size_t elements) {
  std::vector<std::vector<float>> values(rows, std::vector<float>(elements));
  for (std::size_t row = 0; row < rows; ++row) {
    Random random(1, RandomPurpose::perturbation, {row});
    for (float& value : values[row]) value = static_cast<float>(random.normal() * std::exp(random.uniform(-8.0, 8.0)));
  }
  return values;
}

bool have_equal_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

TEST(SumKernels, GiveAllRowsTheBitsOfAPlainLoopOverRowsInOrder) {
  constexpr std::size_t kBefore = 3;  // an offset that is no multiple of a vector
  for (const SumKernels& kernels : supported_sum_kernels()) {
    for (const std::size_t row_count : {1, 2, 3, 4, 5, 7, 8, 17}) {
      for (const std::size_t count : {0, 1, 15, 16, 17, 2047, 2048, 2049, 10007}) {
        std::vector<std::vector<float>> rows = random_rows(row_count, kBefore + count + 5);
        std::vector<std::vector<float>> expected = rows;
        for (std::size_t i = kBefore; i < kBefore + count; ++i) {
          float total = rows[0][i];
          for (std::size_t row = 1; row < row_count; ++row) total += rows[row][i];
          for (std::size_t row = 0; row < row_count; ++row) expected[row][i] = total;
        }
        std::vector<float*> pointers;
        pointers.reserve(row_count);
        for (std::vector<float>& row : rows) pointers.push_back(row.data() + kBefore);

        kernels.sum_into_all_rows(pointers.data(), pointers.size(), static_cast<std::int64_t>(count));

        for (std::size_t row = 0; row < row_count; ++row) {
          EXPECT_TRUE(have_equal_bits(rows[row], expected[row]))
              << kernels.instruction_set << ", row " << row << " of " << row_count << ", " << count << " elements";
        }
      }
    }
  }
}

TEST(SumKernels, AddWithTheBitsOfAPlainLoop) {
  for (const SumKernels& kernels : supported_sum_kernels()) {
    for (const std::size_t count : {0, 1, 15, 16, 17, 10007}) {
      std::vector<std::vector<float>> rows = random_rows(2, count + 5);
      std::vector<float> expected = rows[0];
      for (std::size_t i = 0; i < count; ++i) expected[i] += rows[1][i];

      kernels.add_into(rows[0].data(), rows[1].data(), static_cast<std::int64_t>(count));

      EXPECT_TRUE(have_equal_bits(rows[0], expected)) << kernels.instruction_set << ", " << count << " elements";
    }
  }
}

TEST(SumKernels, SumRowsIntoOneOfThemOrBeside) {
  for (const SumKernels& kernels : supported_sum_kernels()) {
    for (const std::size_t count : {0, 1, 15, 16, 17, 10007}) {
      std::vector<std::vector<float>> rows = random_rows(3, count);
      std::vector<float> expected = rows[0];
      for (std::size_t i = 0; i < count; ++i) expected[i] = rows[0][i] + rows[1][i] + rows[2][i];
      std::vector<float*> pointers{rows[0].data(), rows[1].data(), rows[2].data()};
      std::vector<float> beside(count);

      kernels.sum_rows(beside.data(), pointers.data(), 3, static_cast<std::int64_t>(count));
      kernels.sum_rows(pointers[1], pointers.data(), 3, static_cast<std::int64_t>(count));

      EXPECT_TRUE(have_equal_bits(beside, expected)) << kernels.instruction_set << ", " << count << " elements";
      EXPECT_TRUE(have_equal_bits(rows[1], expected)) << kernels.instruction_set << ", " << count << " elements";
    }
  }
}

TEST(SumKernels, RoundToTheNearestBf16WithTiesToEven) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  // bf16 has 8 bits of precision: neighbours of 1 are 1 ± 2⁻⁷ above and 2⁻⁸ below.
  const std::vector<float> values{1.0f,   1.0f + 0x1p-8f, 1.0f + 0x1.8p-7f, 1.0f + 0x1.01p-8f, -1.0f - 0x1p-9f, 0.0f, -0.0f,
                                  1e-40f, kInfinity,      -kInfinity,       3.4e38f,           0x1.fep127f,     NAN};
  const std::vector<float> expected{
      1.0f,      1.0f,       1.0f + 0x1p-6f, 1.0f + 0x1p-7f, -1.0f, 0.0f, -0.0f, std::bit_cast<float>(0x00010000U),
      kInfinity, -kInfinity, kInfinity,      0x1.fep127f,    NAN};
  for (const SumKernels& kernels : supported_sum_kernels()) {
    std::vector<std::uint16_t> words(values.size());
    std::vector<float> found(values.size());

    kernels.round_to_bf16(words.data(), values.data(), std::ssize(values));
    kernels.expand_bf16(found.data(), words.data(), std::ssize(values));

    for (std::size_t i = 0; i + 1 < values.size(); ++i) {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(found[i]), std::bit_cast<std::uint32_t>(expected[i])) << values[i];
    }
    EXPECT_TRUE(std::isnan(found.back()));
  }
}

TEST(SumKernels, AddBf16InF32) {
  for (const SumKernels& kernels : supported_sum_kernels()) {
    for (const std::size_t count : {0, 1, 15, 16, 17, 10007}) {
      std::vector<std::vector<float>> rows = random_rows(2, count);
      std::vector<std::uint16_t> words(count);
      kernels.round_to_bf16(words.data(), rows[1].data(), static_cast<std::int64_t>(count));
      std::vector<float> expected = rows[0];
      for (std::size_t i = 0; i < count; ++i) expected[i] += std::bit_cast<float>(static_cast<std::uint32_t>(words[i]) << 16);

      kernels.add_bf16_into(rows[0].data(), words.data(), static_cast<std::int64_t>(count));

      EXPECT_TRUE(have_equal_bits(rows[0], expected)) << kernels.instruction_set << ", " << count << " elements";
    }
  }
}

TEST(SumKernels, AlwaysIncludeOneForAnyProcessor) {
  ASSERT_FALSE(supported_sum_kernels().empty());
  EXPECT_STREQ(supported_sum_kernels().back().instruction_set, "baseline");
  EXPECT_STREQ(sum_kernels().instruction_set, supported_sum_kernels().front().instruction_set);
}

}  // namespace
}  // namespace dtrain
