// The additions, for every instruction set that this processor has: the bits of a plain loop, at any length and address.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
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
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
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

TEST(SumKernels, AlwaysIncludeOneForAnyProcessor) {
  ASSERT_FALSE(supported_sum_kernels().empty());
  EXPECT_STREQ(supported_sum_kernels().back().instruction_set, "baseline");
  EXPECT_STREQ(sum_kernels().instruction_set, supported_sum_kernels().front().instruction_set);
}

}  // namespace
}  // namespace dtrain
