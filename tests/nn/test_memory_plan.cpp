// The arena plan as geometry: buffers are rectangles in time and memory that must not overlap, checked byte by byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "dtrain/random.hpp"
#include "src/nn/memory_plan.hpp"

namespace dtrain::nn {
namespace {

std::size_t aligned(std::size_t bytes) { return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment; }

std::size_t sum_of_sizes(const std::vector<Lifetime>& buffers) {
  return std::accumulate(buffers.begin(), buffers.end(), std::size_t{0},
                         [](std::size_t sum, const Lifetime& buffer) { return sum + aligned(buffer.size_bytes); });
}

bool is_alive(const Lifetime& buffer, int time) {
  return (buffer.first <= time && time <= buffer.last) || std::ranges::count(buffer.also, time) > 0;
}

/// Most bytes alive at one time: no plan can do with less.
std::size_t peak_of_sizes(const std::vector<Lifetime>& buffers) {
  std::size_t peak = 0;
  for (const Lifetime& moment : buffers) {
    std::size_t alive = 0;
    for (const Lifetime& buffer : buffers) {
      if (is_alive(buffer, moment.first)) alive += aligned(buffer.size_bytes);
    }
    peak = std::max(peak, alive);
  }
  return peak;
}

/// Who occupies each byte at each time; fails where two do.
void expect_nobody_shares_a_byte(const std::vector<Lifetime>& buffers, const ArenaPlan& plan) {
  int end = 0;
  for (const Lifetime& buffer : buffers) {
    end = std::max(end, buffer.last + 1);
    for (const int time : buffer.also) end = std::max(end, time + 1);
  }
  for (int time = 0; time < end; ++time) {
    std::vector<int> owner(plan.size_bytes, -1);
    for (std::size_t b = 0; b < buffers.size(); ++b) {
      if (!is_alive(buffers[b], time)) continue;
      ASSERT_LE(plan.offsets[b] + buffers[b].size_bytes, plan.size_bytes) << "buffer " << b << " leaves the arena";
      for (std::size_t byte = plan.offsets[b]; byte < plan.offsets[b] + buffers[b].size_bytes; ++byte) {
        ASSERT_EQ(owner[byte], -1) << "buffers " << owner[byte] << " and " << b << " both own byte " << byte << " at " << time;
        owner[byte] = static_cast<int>(b);
      }
    }
  }
}

std::vector<Lifetime> random_buffers(std::uint64_t seed) {
  Random random(seed, RandomPurpose::perturbation, {});
  std::vector<Lifetime> buffers(static_cast<std::size_t>(1 + random.below(30)));
  for (Lifetime& buffer : buffers) {
    buffer.size_bytes = static_cast<std::size_t>(random.below(5) == 0 ? 0 : random.below(700));
    buffer.first = static_cast<int>(random.below(20));
    buffer.last = buffer.first + static_cast<int>(random.below(random.below(3) == 0 ? 20 : 4));
    for (auto times = random.below(3); times > 0; --times) buffer.also.push_back(static_cast<int>(random.below(40)));
  }
  return buffers;
}

TEST(MemoryPlan, KeepsBuffersApartThatAreAliveTogetherInRandomCases) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const std::vector<Lifetime> buffers = random_buffers(seed);

    const ArenaPlan plan = plan_arena(buffers);

    ASSERT_NO_FATAL_FAILURE(expect_nobody_shares_a_byte(buffers, plan)) << "seed " << seed;
  }
}

TEST(MemoryPlan, LiesBetweenThePeakAndTheSumInRandomCases) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    const std::vector<Lifetime> buffers = random_buffers(seed);

    const ArenaPlan plan = plan_arena(buffers);

    ASSERT_GE(plan.size_bytes, peak_of_sizes(buffers)) << "seed " << seed;
    ASSERT_LE(plan.size_bytes, sum_of_sizes(buffers)) << "seed " << seed;
  }
}

TEST(MemoryPlan, AlignsEveryBufferToACacheLine) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    for (const std::size_t offset : plan_arena(random_buffers(seed)).offsets) ASSERT_EQ(offset % kArenaAlignment, 0u);
  }
}

TEST(MemoryPlan, OfNothingIsEmpty) {
  const ArenaPlan plan = plan_arena({});

  EXPECT_TRUE(plan.offsets.empty());
  EXPECT_EQ(plan.size_bytes, 0u);
}

TEST(MemoryPlan, OfEmptyBuffersIsEmpty) {
  const ArenaPlan plan = plan_arena({{.size_bytes = 0, .first = 0, .last = 5}, {.size_bytes = 0, .first = 2, .last = 3}});

  EXPECT_EQ(plan.size_bytes, 0u);
}

TEST(MemoryPlan, PutsBuffersThatNeverMeetInOnePlace) {
  std::vector<Lifetime> buffers;
  for (int i = 0; i < 40; ++i)
    buffers.push_back({.size_bytes = 100 + 10 * static_cast<std::size_t>(i % 7), .first = i, .last = i});

  const ArenaPlan plan = plan_arena(buffers);

  EXPECT_EQ(plan.size_bytes, aligned(160));
  for (const std::size_t offset : plan.offsets) EXPECT_EQ(offset, 0u);
}

TEST(MemoryPlan, KeepsBuffersApartThatMeetAtOneMoment) {
  // The last time of one is the first of the next: both are alive then.
  const ArenaPlan plan = plan_arena({{.size_bytes = 64, .first = 0, .last = 3}, {.size_bytes = 64, .first = 3, .last = 6}});

  EXPECT_NE(plan.offsets[0], plan.offsets[1]);
  EXPECT_EQ(plan.size_bytes, 128u);
}

TEST(MemoryPlan, GivesABufferOnePlaceForAllItsTimes) {
  // Between times 0 and 9, the first one's place is free for the second, which is gone when the first comes back.
  const ArenaPlan plan = plan_arena({{.size_bytes = 128, .first = 0, .last = 0, .also = {9}},
                                     {.size_bytes = 128, .first = 1, .last = 8},
                                     {.size_bytes = 64, .first = 8, .last = 9}});

  EXPECT_EQ(plan.offsets[0], plan.offsets[1]);
  EXPECT_EQ(plan.size_bytes, 192u);
}

TEST(MemoryPlan, StacksBuffersThatAreAllAliveTogetherWithoutGaps) {
  std::vector<Lifetime> buffers;
  for (std::size_t i = 0; i < 12; ++i) buffers.push_back({.size_bytes = 30 * i + 1, .first = 0, .last = 1});

  EXPECT_EQ(plan_arena(buffers).size_bytes, sum_of_sizes(buffers));
}

TEST(MemoryPlan, FillsTheGapThatFitsBest) {
  // At time 1 the places of buffers 1 and 3 are free between buffers that stay; the newcomer takes the smaller.
  const std::vector<Lifetime> buffers{{.size_bytes = 512, .first = 0, .last = 2},   // 0: at 0
                                      {.size_bytes = 448, .first = 0, .last = 0},   // 1: gap of 448 at time 1
                                      {.size_bytes = 384, .first = 0, .last = 2},   // 2
                                      {.size_bytes = 320, .first = 0, .last = 0},   // 3: gap of 320 at time 1
                                      {.size_bytes = 256, .first = 0, .last = 2},   // 4
                                      {.size_bytes = 192, .first = 1, .last = 1}};  // 5: the newcomer

  const ArenaPlan plan = plan_arena(buffers);

  EXPECT_EQ(plan.offsets[5], plan.offsets[3]);
  EXPECT_EQ(plan.size_bytes, 512u + 448u + 384u + 320u + 256u);
}

}  // namespace
}  // namespace dtrain::nn
