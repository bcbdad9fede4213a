// Batches that fit, found for machines that are numbers alone.
#include <gtest/gtest.h>

#include <cmath>

#include "trainer/local_batch.hpp"

namespace dtrain {
namespace {

/// 1000 bytes and 10 for each picture.
std::size_t linear(std::int64_t batch) { return static_cast<std::size_t>(1000 + 10 * batch); }

/// Steps of eight pictures, as kernels pad them, and a term that grows faster.
std::size_t uneven(std::int64_t batch) {
  return static_cast<std::size_t>((batch + 7) / 8 * 100) + static_cast<std::size_t>(std::pow(static_cast<double>(batch), 1.5));
}

/// By trying all.
std::int64_t largest_by_search(std::int64_t too_large, const BytesOfBatch& bytes, std::size_t available_bytes) {
  std::int64_t batch = too_large - 1;
  while (batch > 0 && bytes(batch) > available_bytes) --batch;
  return batch;
}

TEST(HalveUntilItFits, KeepsWhatFits) {
  EXPECT_EQ(halve_until_it_fits(64, linear, linear(64)), 64);
  EXPECT_EQ(halve_until_it_fits(1, linear, linear(1)), 1);
}

TEST(HalveUntilItFits, HalvesRoundingDownAndEndsAtNothing) {
  EXPECT_EQ(halve_until_it_fits(64, linear, linear(64) - 1), 32);
  EXPECT_EQ(halve_until_it_fits(57, linear, linear(14)), 14);  // 57, 28, 14
  EXPECT_EQ(halve_until_it_fits(57, linear, linear(14) - 1), 7);
  EXPECT_EQ(halve_until_it_fits(64, linear, linear(1) - 1), 0);
}

TEST(LargestThatFits, IsTheLastBatchBelowTheLimit) {
  for (const auto& bytes : {BytesOfBatch(linear), BytesOfBatch(uneven)}) {
    for (const std::int64_t too_large : {2, 3, 9, 100, 1777}) {
      for (const std::int64_t limit : {1, 2, 7, 8, 9, 64, 99, 1776}) {
        const std::size_t available = std::min(bytes(limit), bytes(too_large) - 1);
        EXPECT_EQ(largest_that_fits(too_large, bytes, available), largest_by_search(too_large, bytes, available))
            << too_large << " " << limit;
      }
    }
  }
}

TEST(LargestThatFits, IsNothingWhereOnePictureIsTooMuch) {
  EXPECT_EQ(largest_that_fits(100, linear, linear(1) - 1), 0);
  EXPECT_EQ(largest_that_fits(1, linear, 0), 0);
}

TEST(LargestThatFits, IsFoundWithFewPlans) {
  int plans = 0;
  const BytesOfBatch counted = [&](std::int64_t batch) { return ++plans, linear(batch); };

  EXPECT_EQ(largest_that_fits(100000, counted, linear(517)), 517);
  EXPECT_LE(plans, 5);

  plans = 0;
  const BytesOfBatch steep = [&](std::int64_t batch) { return ++plans, static_cast<std::size_t>(batch * batch * batch); };
  EXPECT_EQ(largest_that_fits(100000, steep, 517 * 517 * 517), 517);
  EXPECT_LE(plans, 3 * 17);
}

}  // namespace
}  // namespace dtrain
