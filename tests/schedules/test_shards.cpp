// Sharding: each sample once per epoch over any number of ranks, in an order that no rank count changes.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "schedules/shards.hpp"

namespace dtrain {
namespace {

std::vector<std::int64_t> identity(std::int64_t count) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), std::int64_t{0});
  return values;
}

/// Samples in the order in which the ranks of a step, one after the other, and their micro-batches meet them over an epoch.
std::vector<std::int64_t> samples_met(const std::vector<std::int64_t>& order, std::int64_t global_batch, int ranks,
                                      std::int64_t local_batch, std::int64_t first_step) {
  const auto samples = static_cast<std::int64_t>(order.size());
  std::vector<std::int64_t> met;
  for (std::int64_t step = 0; step < steps_per_epoch(samples, global_batch); ++step) {
    const StepPosition position = step_position(first_step + step, samples, global_batch);
    for (int rank = 0; rank < ranks; ++rank) {
      for (const Range& micro_batch : step_share(position, ranks, rank, local_batch).micro_batches) {
        met.insert(met.end(), order.begin() + micro_batch.begin, order.begin() + micro_batch.end);
      }
    }
  }
  return met;
}

TEST(SplitRange, CoversTheWholeWithPartsThatDifferByAtMostOne) {
  for (const std::int64_t size : {0, 1, 6, 7, 8, 100, 10007}) {
    for (const std::int64_t count : {1, 2, 3, 7, 8, 512}) {
      const Range whole{5, 5 + size};
      std::int64_t expected_begin = whole.begin;
      std::int64_t previous_size = split_range(whole, count, 0).size();

      for (std::int64_t index = 0; index < count; ++index) {
        const Range part = split_range(whole, count, index);
        EXPECT_EQ(part.begin, expected_begin);
        EXPECT_LE(part.size(), previous_size) << "larger parts come first";
        EXPECT_GE(part.size(), size / count);
        EXPECT_LE(part.size(), size / count + 1);
        expected_begin = part.end;
        previous_size = part.size();
      }
      EXPECT_EQ(expected_begin, whole.end) << size << " in " << count << " parts";
    }
  }
}

TEST(SplitRange, RefusesAPartThatDoesNotExist) {
  EXPECT_THROW(split_range({0, 4}, 2, 2), std::logic_error);
  EXPECT_THROW(split_range({0, 4}, 0, 0), std::logic_error);
  EXPECT_THROW(split_range({4, 0}, 2, 0), std::logic_error);
}

TEST(EpochOrder, IsAPermutation) {
  for (const std::int64_t samples : {0, 1, 2, 3, 1000, 10007}) {
    std::vector<std::int64_t> order = epoch_order(samples, 7, 3, true);

    std::sort(order.begin(), order.end());

    EXPECT_EQ(order, identity(samples));
  }
}

TEST(EpochOrder, IsAFunctionOfSeedAndEpoch) {
  const std::vector<std::int64_t> order = epoch_order(1000, 7, 3, true);

  EXPECT_EQ(epoch_order(1000, 7, 3, true), order);
  EXPECT_NE(epoch_order(1000, 7, 4, true), order);
  EXPECT_NE(epoch_order(1000, 8, 3, true), order);
  EXPECT_NE(order, identity(1000));
}

TEST(EpochOrder, IsTheIdentityWithoutShuffling) { EXPECT_EQ(epoch_order(100, 7, 3, false), identity(100)); }

// Over 6000 epochs each of the 6 orders of 3 samples is expected 1000 times with standard deviation √(6000·1/6·5/6) = 29;
// five deviations are 145.
TEST(EpochOrder, GivesEveryOrderOfThreeSamplesEquallyOften) {
  std::vector<int> seen(27, 0);

  for (std::int64_t epoch = 0; epoch < 6000; ++epoch) {
    const std::vector<std::int64_t> order = epoch_order(3, 1, epoch, true);
    ++seen[static_cast<std::size_t>(order[0] * 9 + order[1] * 3 + order[2])];
  }

  EXPECT_EQ(std::count(seen.begin(), seen.end(), 0), 21);
  for (const int count : seen) {
    if (count > 0) {
      EXPECT_NEAR(count, 1000, 145);
    }
  }
}

TEST(StepsPerEpoch, CountsTheShortLastStep) {
  EXPECT_EQ(steps_per_epoch(100, 10), 10);
  EXPECT_EQ(steps_per_epoch(101, 10), 11);
  EXPECT_EQ(steps_per_epoch(1, 10), 1);
  EXPECT_EQ(steps_per_epoch(0, 10), 0);
}

TEST(StepPosition, EndsAnEpochWithAShorterStepAndBeginsTheNext) {
  EXPECT_EQ(step_position(0, 25, 10).positions, (Range{0, 10}));
  EXPECT_EQ(step_position(2, 25, 10).positions, (Range{20, 25}));
  EXPECT_EQ(step_position(2, 25, 10).epoch, 0);
  EXPECT_EQ(step_position(3, 25, 10).positions, (Range{0, 10}));
  EXPECT_EQ(step_position(3, 25, 10).epoch, 1);
}

TEST(StepShare, GivesEverySampleOnceInTheOrderOfTheEpochForAnyRankCount) {
  const std::vector<std::int64_t> order = epoch_order(700, 5, 2, true);
  for (int ranks = 1; ranks <= 512; ++ranks) {
    for (const std::int64_t global_batch : {64, 512, 699, 2048}) {
      EXPECT_EQ(samples_met(order, global_batch, ranks, 16, 0), order) << ranks << " ranks, global batch " << global_batch;
    }
  }
}

TEST(StepShare, GivesTheSameSamplesInALaterEpoch) {
  const std::vector<std::int64_t> order = epoch_order(103, 5, 9, true);

  EXPECT_EQ(samples_met(order, 10, 3, 2, 9 * steps_per_epoch(103, 10)), order);
}

TEST(StepShare, KeepsMicroBatchesWithinTheLocalBatch) {
  for (int ranks : {1, 2, 3, 8, 512}) {
    for (const std::int64_t local_batch : {1, 3, 16, 1000}) {
      const StepPosition step{.epoch = 0, .positions = {40, 40 + 257}};
      for (int rank = 0; rank < ranks; ++rank) {
        const StepShare share = step_share(step, ranks, rank, local_batch);
        ASSERT_GE(share.micro_batches.size(), 1u);
        for (const Range& micro_batch : share.micro_batches) EXPECT_LE(micro_batch.size(), local_batch);
      }
    }
  }
}

TEST(StepShare, GivesARankWithoutSamplesOneEmptyMicroBatch) {
  const StepShare share = step_share({.epoch = 0, .positions = {0, 3}}, 8, 5, 16);

  EXPECT_EQ(share.positions.size(), 0);
  ASSERT_EQ(share.micro_batches.size(), 1u);
  EXPECT_EQ(share.micro_batches[0].size(), 0);
}

TEST(StepShare, CutsOneRanksMicroBatchesWhereSeveralRanksWouldCut) {
  for (const std::int64_t samples : {10, 32, 33, 257}) {
    for (int ranks = 1; ranks <= 16; ++ranks) {
      const StepPosition step{.epoch = 0, .positions = {0, samples}};
      const std::int64_t largest_share = step_share(step, ranks, 0, samples).positions.size();
      const StepShare alone = step_share(step, 1, 0, largest_share);
      if (static_cast<int>(alone.micro_batches.size()) != ranks) continue;  // fewer micro-batches of that size suffice

      for (int rank = 0; rank < ranks; ++rank) {
        EXPECT_EQ(alone.micro_batches[static_cast<std::size_t>(rank)], step_share(step, ranks, rank, samples).positions)
            << samples << " samples, rank " << rank << " of " << ranks;
      }
    }
  }
}

TEST(PicturesByRound, AddUpTheMicroBatchesOfAllRanksFromTheLastOnBackwards) {
  for (const std::int64_t samples : {1, 3, 8, 33, 257}) {
    for (const int ranks : {1, 2, 3, 8, 100, 512}) {
      for (const std::int64_t local_batch : {1, 3, 16, 1000}) {
        const StepPosition step{.epoch = 0, .positions = {40, 40 + samples}};
        std::vector<std::int64_t> backwards;
        for (int rank = 0; rank < ranks; ++rank) {
          const StepShare share = step_share(step, ranks, rank, local_batch);
          backwards.resize(std::max(backwards.size(), share.micro_batches.size()));
          for (std::size_t k = 0; k < share.micro_batches.size(); ++k) backwards[k] += share.micro_batches.rbegin()[k].size();
        }
        const std::vector<std::int64_t> expected(backwards.rbegin(), backwards.rend());

        EXPECT_EQ(pictures_by_round(step, ranks, local_batch), expected)
            << samples << " samples, " << ranks << " ranks, micro-batches of " << local_batch;
      }
    }
  }
}

TEST(MicroBatchSizes, NameEverySizeThatARunMeetsLargestFirst) {
  for (const std::int64_t samples : {5, 64, 100, 1000}) {
    for (const std::int64_t global_batch : {8, 33, 100}) {
      for (const int ranks : {1, 3, 8, 16}) {
        for (const std::int64_t steps : {1, 2, 40}) {
          for (int rank = 0; rank < ranks; ++rank) {
            std::vector<std::int64_t> met;
            for (std::int64_t step = 0; step < steps; ++step) {
              for (const Range& micro_batch :
                   step_share(step_position(step, samples, global_batch), ranks, rank, 6).micro_batches) {
                if (micro_batch.size() > 0) met.push_back(micro_batch.size());
              }
            }
            std::sort(met.rbegin(), met.rend());
            met.erase(std::unique(met.begin(), met.end()), met.end());

            EXPECT_EQ(micro_batch_sizes(samples, global_batch, ranks, rank, 6, steps), met)
                << samples << " samples, global batch " << global_batch << ", rank " << rank << " of " << ranks << ", " << steps
                << " steps";
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace dtrain
