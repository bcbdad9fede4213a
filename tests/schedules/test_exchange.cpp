// Exchange plans, carried out on sets of ranks instead of numbers; their pipelines, carried out in every order that the plan
// allows; and what they send.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "dtrain/random.hpp"
#include "schedules/exchange.hpp"
#include "schedules/halving_doubling.hpp"
#include "schedules/ring.hpp"
#include "tests/schedules/exchange_simulation.hpp"

namespace dtrain {
namespace {

struct Plan {
  const char* name;
  std::vector<ExchangeStep> (*steps_of)(int size, int rank, Range whole);
};
std::string name_of_plan(const testing::TestParamInfo<Plan>& tested) { return tested.param.name; }
class ExchangePlans : public testing::TestWithParam<Plan> {};

TEST_P(ExchangePlans, EndWithEveryElementHoldingEachRankOnceOn1To64Ranks) {
  for (int size = 1; size <= 64; ++size) {
    for (const std::int64_t elements : {size - 1, size, 2 * size + 1}) {
      expect_every_element_holds_every_rank_once(GetParam().steps_of, size, elements);
    }
  }
}

TEST_P(ExchangePlans, EndWithEveryElementHoldingEachRankOnceOnHundredsOfRanks) {
  for (const int size : {96, 511, 512}) expect_every_element_holds_every_rank_once(GetParam().steps_of, size, 520);
}

TEST_P(ExchangePlans, RefuseARankOutsideTheGroup) {
  EXPECT_THROW(GetParam().steps_of(4, 4, {0, 10}), std::logic_error);
  EXPECT_THROW(GetParam().steps_of(0, 0, {0, 10}), std::logic_error);
}

TEST_P(ExchangePlans, SendAndAddWhatAllRanksMustForAnyCount) {
  for (const int size : {1, 2, 3, 5, 8, 64, 512}) {
    for (const std::int64_t elements : {0, 1, size - 1, size + 1, 10007}) {
      std::int64_t sent = 0;
      std::int64_t reduced = 0;
      for (int rank = 0; rank < size; ++rank) {
        const ExchangeCost cost = cost_of(GetParam().steps_of(size, rank, {0, elements}));
        sent += cost.elements_sent;
        reduced += cost.elements_reduced;
      }

      // Each element is added size−1 times and travels twice that often.
      EXPECT_EQ(reduced, (size - 1) * elements);
      EXPECT_EQ(sent, 2 * (size - 1) * elements);
    }
  }
}

/// Carries out all ranks' pipelines as the executor may: in each round every rank, in random order, does some of what its plan
/// allows. Sends are buffered at random: a send that is not has left only when it has been received.
class Pipelines {
 public:
  Pipelines(const Plan& plan, int size, std::int64_t elements, std::int64_t segment, std::uint64_t seed)
      : random_(seed, RandomPurpose::perturbation, {static_cast<std::uint64_t>(size)}) {
    for (int rank = 0; rank < size; ++rank) {
      State state;
      state.plan = cut_into_segments(plan.steps_of(size, rank, {0, elements}), segment);
      for (std::int64_t i = 0; i < elements; ++i) state.data.push_back(static_cast<float>(i % 7 + rank));
      ranks_.push_back(std::move(state));
    }
  }

  /// Whether all ranks came to their end.
  bool run() {
    for (int idle_rounds = 0; idle_rounds < 50;) {
      bool moved = false;
      for (std::size_t turn = 0; turn < ranks_.size(); ++turn) {
        const auto rank = static_cast<std::size_t>(random_.below(std::ssize(ranks_)));
        moved = advance(rank) || moved;
      }
      idle_rounds = moved ? 0 : idle_rounds + 1;
    }
    return std::all_of(ranks_.begin(), ranks_.end(), [](const State& state) {
      return state.sent == std::ssize(state.plan.sends) && state.taken_in == std::ssize(state.plan.receives);
    });
  }

  const std::vector<float>& data(std::size_t rank) const { return ranks_[rank].data; }

 private:
  static constexpr std::int64_t kInFlight = 2;
  struct State {
    ExchangePlan plan;
    std::vector<float> data;
    std::int64_t sent = 0, left = 0, posted = 0, taken_in = 0;
    std::vector<bool> has_left;
  };

  bool advance(std::size_t rank) {
    State& state = ranks_[rank];
    bool moved = false;
    while (state.left < state.sent && state.has_left[static_cast<std::size_t>(state.left)]) ++state.left;
    if (state.sent < std::ssize(state.plan.sends) && state.sent - state.left < kInFlight) {
      const Transfer& send = state.plan.sends[static_cast<std::size_t>(state.sent)];
      if (send.after <= state.taken_in) {
        channels_[{rank, static_cast<std::size_t>(send.peer)}].push_back({rank, state.sent});
        state.has_left.push_back(false);
        ++state.sent;
        moved = true;
      }
    }
    if (state.posted < std::ssize(state.plan.receives) && state.posted - state.taken_in < kInFlight &&
        state.plan.receives[static_cast<std::size_t>(state.posted)].after <= state.left) {
      ++state.posted;
      moved = true;
    }
    if (state.taken_in < state.posted && take_in(rank)) moved = true;
    return moved;
  }

  bool take_in(std::size_t rank) {
    State& state = ranks_[rank];
    const Transfer& receive = state.plan.receives[static_cast<std::size_t>(state.taken_in)];
    auto& channel = channels_[{static_cast<std::size_t>(receive.peer), rank}];
    if (channel.empty()) return false;
    State& sender = ranks_[channel.front().first];
    const Transfer& send = sender.plan.sends[static_cast<std::size_t>(channel.front().second)];
    EXPECT_EQ(send.range, receive.range);
    // Read only now, when the sender may long have gone on: nothing may have overwritten it.
    for (std::int64_t i = receive.range.begin; i < receive.range.end; ++i) {
      const auto at = static_cast<std::size_t>(i);
      state.data[at] = receive.reduces ? state.data[at] + sender.data[at] : sender.data[at];
    }
    sender.has_left[static_cast<std::size_t>(channel.front().second)] = true;
    channel.pop_front();
    ++state.taken_in;
    return true;
  }

  Random random_;
  std::vector<State> ranks_;
  std::map<std::pair<std::size_t, std::size_t>, std::deque<std::pair<std::size_t, std::int64_t>>> channels_;
};

TEST_P(ExchangePlans, FlowAsPipelinesInAnyOrderWithoutStandingStillOrOverwriting) {
  for (const int size : {1, 2, 3, 4, 5, 7, 8, 13}) {
    for (const std::int64_t elements : {1, 12, 101}) {
      for (const std::int64_t segment : {1, 5, 1000}) {
        Pipelines pipelines(GetParam(), size, elements, segment, static_cast<std::uint64_t>(elements * segment));

        ASSERT_TRUE(pipelines.run()) << size << " ranks, " << elements << " elements in segments of " << segment;

        for (int rank = 0; rank < size; ++rank) {
          for (std::int64_t i = 0; i < elements; ++i) {
            const auto expected = static_cast<float>(size * (i % 7) + size * (size - 1) / 2);
            ASSERT_EQ(pipelines.data(static_cast<std::size_t>(rank))[static_cast<std::size_t>(i)], expected);
          }
        }
      }
    }
  }
}

// Whoever makes its contribution at the first use makes each element once, and before it travels.
TEST_P(ExchangePlans, UseEveryElementFirstInOneTransferThatReduces) {
  for (const int size : {2, 3, 5, 8}) {
    for (int rank = 0; rank < size; ++rank) {
      std::vector<int> firsts(101, 0);
      const ExchangePlan plan = cut_into_segments(GetParam().steps_of(size, rank, {0, 101}), 7);
      for (const auto* transfers : {&plan.sends, &plan.receives}) {
        for (const Transfer& transfer : *transfers) {
          if (!transfer.is_first_use) continue;
          EXPECT_TRUE(transfer.reduces);
          for (std::int64_t i = transfer.range.begin; i < transfer.range.end; ++i) ++firsts[static_cast<std::size_t>(i)];
        }
      }

      EXPECT_EQ(firsts, std::vector<int>(101, 1)) << "rank " << rank << " of " << size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Algorithms, ExchangePlans,
                         testing::Values(Plan{"ring", ring_steps}, Plan{"halving_doubling", halving_doubling_steps}),
                         name_of_plan);

TEST(RingPlan, TakesTwiceSizeMinusOneStepsOfWhichTheFirstHalfAdds) {
  const std::vector<ExchangeStep> steps = ring_steps(5, 2, {0, 100});

  ASSERT_EQ(steps.size(), 8u);
  for (std::size_t step = 0; step < steps.size(); ++step) EXPECT_EQ(steps[step].reduces, step < 4);
  EXPECT_TRUE(ring_steps(1, 0, {0, 100}).empty());
}

TEST(RingPlan, CostsItsClosedForm) {
  const ExchangeCost expected{.steps = 6, .messages = 6, .elements_sent = 6 * 1000, .elements_reduced = 3 * 1000};

  EXPECT_EQ(cost_of(ring_steps(4, 1, {0, 4000})), expected);
}

TEST(RingPlan, SendsNoEmptyBlocks) {
  const ExchangeCost cost = cost_of(ring_steps(8, 0, {0, 3}));

  EXPECT_EQ(cost.steps, 14);
  EXPECT_LT(cost.messages, 14);
  EXPECT_EQ(cost.elements_sent, cost.messages);
}

TEST(HalvingDoublingPlan, TakesTwiceTheLogarithmOfSteps) {
  const ExchangeCost expected{.steps = 6, .messages = 6, .elements_sent = 2 * 700, .elements_reduced = 700};

  EXPECT_EQ(cost_of(halving_doubling_steps(8, 3, {0, 800})), expected);
  EXPECT_EQ(halving_doubling_steps(512, 17, {0, 800}).size(), 18u);
}

TEST(HalvingDoublingPlan, FoldsRanksBeyondAPowerOfTwo) {
  const std::vector<ExchangeStep> folded = halving_doubling_steps(3, 0, {0, 100});

  ASSERT_EQ(folded.size(), 4u);
  EXPECT_EQ(folded.front().send_peer, 1);
  EXPECT_EQ(folded.front().send, (Range{0, 100}));
  EXPECT_EQ(folded.back().receive_peer, 1);
  EXPECT_EQ(folded[1].send_peer, kNobody);
}

TEST(ExchangePlan, CutsStepsIntoSegmentsOfAtMostTheSizeAsked) {
  const ExchangePlan plan = cut_into_segments(ring_steps(2, 0, {0, 100}), 20);

  ASSERT_EQ(plan.sends.size(), 6u);
  for (const Transfer& send : plan.sends) EXPECT_LE(send.range.size(), 20);
  EXPECT_EQ(plan.sends[0].after, 0);  // the own block
  EXPECT_EQ(plan.sends[2].after, 0);
  EXPECT_EQ(plan.sends[3].after, 1);  // what the first receive completed
  EXPECT_EQ(plan.sends[5].after, 3);
  EXPECT_EQ(plan.receives[3].after, 1);  // overwrites what the first send carried
  EXPECT_EQ(plan.receives[0].after, 0);
}

}  // namespace
}  // namespace dtrain
