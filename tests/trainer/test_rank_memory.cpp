// The account of a rank's memory.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
#include "trainer/rank_memory.hpp"

namespace dtrain {
namespace {

NetworkSpec lenet() { return build_model("lenet5", {}); }

TEST(RankMemory, IsTheSumOfItsLinesAndScratchIsPartOfTheArena) {
  const RankMemory memory = plan_memory(lenet(), {}, {.training_batches = {4}, .loader_batch = 4, .resident_bytes = 1000});

  std::size_t sum = 0;
  for (const RankMemory::Line& line : memory.lines()) sum += line.bytes;
  EXPECT_EQ(memory.total_bytes(), sum);
  EXPECT_GE(memory.activations_bytes, memory.scratch_bytes);
  EXPECT_EQ(memory.resident_bytes, 1000u);
}

TEST(RankMemory, HoldsWeightsThreeTimesInTrainingAndOnceInEvaluation) {
  const RankMemory training = plan_memory(lenet(), {}, {.training_batches = {4}, .loader_batch = 4});
  const RankMemory evaluation = plan_memory(lenet(), {}, {.evaluation_batch = 4});

  EXPECT_GE(training.weights_bytes, 4u * 61706);  // the network's parameters, padded
  EXPECT_EQ(training.gradients_bytes, training.weights_bytes);
  EXPECT_EQ(training.optimizer_bytes, training.weights_bytes);
  EXPECT_EQ(evaluation.weights_bytes, training.weights_bytes);
  EXPECT_EQ(evaluation.gradients_bytes + evaluation.optimizer_bytes, 0u);
}

TEST(RankMemory, CountsWeightsThatRanksShareInParts) {
  const RankMemory alone = plan_memory(lenet(), {}, {.training_batches = {4}});
  const RankMemory shared = plan_memory(lenet(), {}, {.training_batches = {4}, .sharing_ranks = 2});

  EXPECT_EQ(shared.weights_bytes, alone.weights_bytes / 2);
  EXPECT_EQ(shared.optimizer_bytes, alone.optimizer_bytes / 2);
  EXPECT_EQ(shared.gradients_bytes, alone.gradients_bytes);
}

TEST(RankMemory, GrowsWithTheRanksThatAreSpokenTo) {
  const auto peers_of = [](int ranks) {
    TrainConfig config;
    config.model = "lenet5";
    config.steps = 2;
    const RunPlan plan = plan_run(config, {.samples = 640, .classes = 10}, ranks);
    return plan_memory(plan.network, plan.compile, training_work(plan, ranks, 0, false)).peers_bytes;
  };

  EXPECT_EQ(peers_of(1), 0u);
  EXPECT_GE(peers_of(64), 10'000'000u);  // 64 ranks took 14 MB more than was planned without
  EXPECT_LE(peers_of(64), 20'000'000u);
}

TEST(RankMemory, CountsPicturesAheadTheirOrderAndThoseOfEvaluation) {
  const std::size_t picture = 28 * 28 * 4;
  const RankMemory memory =
      plan_memory(lenet(), {}, {.training_batches = {5, 4}, .evaluation_batch = 6, .loader_batch = 5, .samples = 100});

  EXPECT_EQ(memory.pictures_bytes, (2 * 5 + 3 * 6) * picture + 100 * 8);
}

TEST(RankMemory, CountsACheckpointWhereOneIsWritten) {
  const RankMemory silent = plan_memory(lenet(), {}, {.training_batches = {4}});
  const RankMemory saving = plan_memory(lenet(), {}, {.training_batches = {4}, .saves = true});

  EXPECT_EQ(silent.checkpoint_bytes, 0u);
  EXPECT_EQ(saving.checkpoint_bytes, saving.weights_bytes + saving.optimizer_bytes);  // the network has no statistics
}

TEST(RankMemory, OfSeveralGraphsIsOneArenaForTheLargest) {
  const RankWork large{.training_batches = {8}};
  const RankWork both{.training_batches = {8, 3}};

  EXPECT_EQ(plan_memory(lenet(), {}, both).activations_bytes, plan_memory(lenet(), {}, large).activations_bytes);
}

TEST(RankMemory, HoldsAGraphWithoutPicturesWhereBatchNormsAreSynchronised) {
  TrainConfig config;
  config.model = "resnet20";
  config.steps = 2;
  const auto batches = [&] {
    return training_work(plan_run(config, {.samples = 3, .classes = 10}, 4), 4, 3, false).training_batches;
  };

  EXPECT_TRUE(batches().empty());  // three pictures on four ranks
  config.bn = "sync";
  EXPECT_EQ(batches(), std::vector<std::int64_t>{1});
}

TEST(RankMemory, GrowsWithTheBatchButAllocatesNothingOfIt) {
  const NetworkSpec network = build_model("resnet50", {});
  const std::size_t before = resident_bytes();

  const RankMemory memory = plan_memory(network, {}, {.training_batches = {100000}, .loader_batch = 100000});

  EXPECT_GT(memory.total_bytes(), std::size_t{1} << 42);
  EXPECT_LT(resident_bytes() - before, std::size_t{200} << 20);  // what describes the primitives
}

}  // namespace
}  // namespace dtrain
