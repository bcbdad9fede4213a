// The ring plan, carried out on sets of ranks instead of numbers: every block must end holding each rank exactly once.
#include <gtest/gtest.h>

#include <bitset>
#include <stdexcept>
#include <vector>

#include "schedules/ring.hpp"

namespace dtrain {
namespace {

/// The ranks whose contribution a block holds.
using Contributors = std::bitset<512>;

/// Carries out all ranks' plans in lockstep. holdings[rank][block]; reports a contribution that would be added twice.
std::vector<std::vector<Contributors>> simulate(int size) {
  const auto ranks = static_cast<std::size_t>(size);
  std::vector<std::vector<RingStep>> plans;
  std::vector<std::vector<Contributors>> holdings(ranks, std::vector<Contributors>(ranks));
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    plans.push_back(plan_ring(size, static_cast<int>(rank)));
    for (Contributors& block : holdings[rank]) block.set(rank);
  }
  for (std::size_t step = 0; step < plans[0].size(); ++step) {
    std::vector<Contributors> sent(ranks);
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      sent[rank] = holdings[rank][static_cast<std::size_t>(plans[rank][step].send_block)];
    }
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      const std::size_t sender = (rank + ranks - 1) % ranks;
      const RingStep& mine = plans[rank][step];
      EXPECT_EQ(mine.receive_block, plans[sender][step].send_block) << "step " << step << ", rank " << rank;
      Contributors& block = holdings[rank][static_cast<std::size_t>(mine.receive_block)];
      if (mine.reduces) {
        EXPECT_TRUE((block & sent[sender]).none()) << "a rank counted twice in step " << step << " on rank " << rank;
        block |= sent[sender];
      } else {
        block = sent[sender];
      }
    }
  }
  return holdings;
}

void expect_every_block_holds_every_rank_once(int size) {
  Contributors everybody;
  for (int rank = 0; rank < size; ++rank) everybody.set(static_cast<std::size_t>(rank));

  const std::vector<std::vector<Contributors>> holdings = simulate(size);

  for (std::size_t rank = 0; rank < holdings.size(); ++rank) {
    for (std::size_t block = 0; block < holdings.size(); ++block) {
      ASSERT_EQ(holdings[rank][block], everybody) << "block " << block << " on rank " << rank << " of " << size;
    }
  }
}

TEST(RingPlan, EndsWithEveryBlockHoldingEachRankOnceOn1To64Ranks) {
  for (int size = 1; size <= 64; ++size) expect_every_block_holds_every_rank_once(size);
}

TEST(RingPlan, EndsWithEveryBlockHoldingEachRankOnceOn512Ranks) { expect_every_block_holds_every_rank_once(512); }

TEST(RingPlan, TakesTwiceSizeMinusOneStepsOfWhichTheFirstHalfAdds) {
  const std::vector<RingStep> steps = plan_ring(5, 2);

  ASSERT_EQ(steps.size(), 8u);
  for (std::size_t step = 0; step < steps.size(); ++step) EXPECT_EQ(steps[step].reduces, step < 4);
  EXPECT_TRUE(plan_ring(1, 0).empty());
}

// What is received in place of an old block was sent by this rank exactly size−1 steps before; the executor relies on it.
TEST(RingPlan, GathersABlockSizeMinusOneStepsAfterSendingIt) {
  for (const int size : {2, 3, 4, 7, 16}) {
    for (int rank = 0; rank < size; ++rank) {
      const std::vector<RingStep> steps = plan_ring(size, rank);
      for (std::size_t step = static_cast<std::size_t>(size - 1); step < steps.size(); ++step) {
        EXPECT_EQ(steps[step].receive_block, steps[step - static_cast<std::size_t>(size - 1)].send_block);
      }
    }
  }
}

// The other half of what the executor relies on: what a step sends is what the step before received (and added to).
TEST(RingPlan, SendsWhatTheStepBeforeReceived) {
  for (const int size : {2, 3, 4, 7, 16}) {
    for (int rank = 0; rank < size; ++rank) {
      const std::vector<RingStep> steps = plan_ring(size, rank);
      for (std::size_t step = 1; step < steps.size(); ++step) {
        EXPECT_EQ(steps[step].send_block, steps[step - 1].receive_block);
      }
    }
  }
}

TEST(RingPlan, RefusesARankOutsideTheRing) {
  EXPECT_THROW(plan_ring(4, 4), std::logic_error);
  EXPECT_THROW(plan_ring(0, 0), std::logic_error);
  EXPECT_THROW(ring_step(4, 0, 6), std::logic_error);
}

TEST(RingCost, IsTheClosedFormWhenTheSizeDividesTheCount) {
  const ExchangeCost cost = ring_cost(4, 1, 4000);

  EXPECT_EQ(cost.steps, 6);
  EXPECT_EQ(cost.messages, 6);
  EXPECT_EQ(cost.bytes_sent, 6 * 1000 * 4);
  EXPECT_EQ(cost.elements_reduced, 3 * 1000);
}

TEST(RingCost, AddsUpToWhatAllRanksMustSendForAnyCount) {
  for (const int size : {1, 2, 3, 5, 8, 64, 512}) {
    for (const std::int64_t elements : {0, 1, size - 1, size + 1, 10007}) {
      std::int64_t bytes = 0;
      std::int64_t reduced = 0;
      for (int rank = 0; rank < size; ++rank) {
        bytes += ring_cost(size, rank, elements).bytes_sent;
        reduced += ring_cost(size, rank, elements).elements_reduced;
      }

      // Each element is added size−1 times and travels twice that often.
      EXPECT_EQ(reduced, (size - 1) * elements);
      EXPECT_EQ(bytes, 2 * (size - 1) * elements * 4);
    }
  }
}

TEST(RingCost, LeavesEmptyBlocksOut) {
  const ExchangeCost cost = ring_cost(8, 0, 3);

  EXPECT_EQ(cost.steps, 14);
  EXPECT_LT(cost.messages, 14);
  EXPECT_EQ(cost.bytes_sent, cost.messages * 4);
}

}  // namespace
}  // namespace dtrain
