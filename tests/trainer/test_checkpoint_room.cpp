// The room that a run's files of weights take when they take most.
#include <gtest/gtest.h>

#include "trainer/checkpoint_room.hpp"

namespace dtrain {
namespace {

constexpr SavedElements kElements{.weights = 10, .checkpoint = 100};

RunPlan plan_of_steps(std::int64_t steps, Interval every) {
  RunPlan plan;
  plan.total_steps = steps;
  plan.steps_per_epoch = 10;
  plan.checkpoint_every = every;
  plan.stages.resize(1);
  return plan;
}

TEST(CheckpointRoom, IsOfTheCheckpointsKeptAndOneMoreAndOfTheWeights) {
  const RunPlan plan = plan_of_steps(100, {.steps = 5});

  EXPECT_EQ(room_bytes(plan, kElements, 1, false), 4 * (2 * 100 + 2 * 10))
      << "the last weights, and those that take their place";
  EXPECT_EQ(room_bytes(plan, kElements, 2, true), 4 * (3 * 100 + 3 * 10)) << "the best, too";
}

TEST(CheckpointRoom, CountsAveragesBranchesAndTheTrunk) {
  RunPlan plan = plan_of_steps(100, {.epochs = 1.0});
  plan.optimizer.ema = 0.9;
  plan.stages.resize(3);
  plan.stages[0].stage.is_branch = plan.stages[1].stage.is_branch = true;

  EXPECT_EQ(room_bytes(plan, kElements, 2, true), 4 * (4 * 100 + (4 + 2) * 10));
}

TEST(CheckpointRoom, IsNoMoreThanTheRunSaves) {
  EXPECT_EQ(room_bytes(plan_of_steps(20, {.epochs = 1.0}), kElements, 100, false), 4 * (3 * 100 + 2 * 10));
  EXPECT_EQ(room_bytes(plan_of_steps(2, {.epochs = 1.0}), kElements, 100, false), 4 * (1 * 100 + 2 * 10));
  EXPECT_EQ(room_bytes(plan_of_steps(20, {}), kElements, 100, false), 4 * (1 * 100 + 2 * 10));
}

}  // namespace
}  // namespace dtrain
