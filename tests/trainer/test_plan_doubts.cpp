// What is said of a plan that its user will hardly have meant, and which batch-norms are refused one value.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
#include "trainer/norm_values.hpp"
#include "trainer/plan_doubts.hpp"

namespace dtrain {
namespace {

struct DoubtedRun {
  std::string model = "resnet20";
  std::int64_t samples = 80, global_batch = 16, local_batch = 0, crop = 0;
  double warmup_epochs = 0.0, warmup_start = 0.0;
  std::string preset, bn = "local";
  int ranks = 1;
  double epochs = 4.0;
};

TrainConfig doubted_config(const DoubtedRun& asked) {
  TrainConfig config;
  config.model = asked.model;
  config.global_batch = asked.global_batch;
  config.local_batch = asked.local_batch;
  config.crop = asked.crop;
  config.warmup_epochs = asked.warmup_epochs;
  config.warmup_start_lr = asked.warmup_start;
  config.preset = asked.preset;
  config.bn = asked.bn;
  config.epochs = asked.epochs;
  return config;
}

RunPlan doubted_plan(const DoubtedRun& asked) {
  return plan_run(doubted_config(asked), {.samples = asked.samples, .classes = 10}, asked.ranks);
}

std::vector<std::string> doubts(const DoubtedRun& asked) {
  return doubts_of(doubted_plan(asked), doubted_config(asked), asked.ranks);
}

std::string only_doubt(const DoubtedRun& asked) {
  const std::vector<std::string> all = doubts(asked);
  return all.size() == 1 ? all.front() : "there are " + std::to_string(all.size());
}

std::string refusal(const DoubtedRun& asked) {
  try {
    (void)doubts(asked);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "none";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(PlanDoubts, AreNoneOfAnOrdinaryRun) {
  EXPECT_TRUE(doubts({}).empty());
  EXPECT_TRUE(doubts({.samples = 81}).empty()) << "a last step of one image, which has many pixels in this network";
  EXPECT_TRUE(doubts({.global_batch = 80}).empty());
  EXPECT_TRUE(doubts({.warmup_epochs = 1.0}).empty());
}

TEST(PlanDoubts, NameABatchThatIsLargerThanTheDataAndTheLargestSensibleOne) {
  const std::string doubt = only_doubt({.samples = 80, .global_batch = 81});

  EXPECT_TRUE(has(doubt, "--global-batch 81 is more than the 80 images")) << doubt;
  EXPECT_TRUE(has(doubt, "10 steps an epoch is 8")) << doubt;
}

TEST(PlanDoubts, RatesThatGrowWithTheBatchDoNotGrowBeyondTheImages) {
  const auto rate = [](const DoubtedRun& asked) { return doubted_plan(asked).stages.front().stage.learning_rate; };

  EXPECT_DOUBLE_EQ(rate({.global_batch = 8000}), rate({.global_batch = 80}));
  EXPECT_DOUBLE_EQ(rate({.global_batch = 8000, .preset = "goyal"}), rate({.global_batch = 80, .preset = "goyal"}));
  EXPECT_LT(rate({.global_batch = 79}), rate({.global_batch = 80}));
}

TEST(PlanDoubts, NameRanksWithoutImages) {
  const std::string doubt = only_doubt({.global_batch = 3, .ranks = 4});

  EXPECT_TRUE(has(doubt, "3 images for 4 ranks: 1 of them")) << doubt;
}

TEST(PlanDoubts, NameALocalBatchThatIsMoreThanARankHas) {
  EXPECT_TRUE(has(only_doubt({.global_batch = 16, .local_batch = 9, .ranks = 2}), "more than a rank has of a step: 8 images"));
  EXPECT_TRUE(doubts({.global_batch = 16, .local_batch = 8, .ranks = 2}).empty());
}

TEST(PlanDoubts, NameAWarmupThatChangesNothing) {
  EXPECT_TRUE(has(only_doubt({.warmup_epochs = 0.2}), "one step, at rate 0: it changes no weight"));
  EXPECT_TRUE(has(only_doubt({.warmup_epochs = 0.05}), "less than half a step"));
  EXPECT_TRUE(doubts({.warmup_epochs = 0.2, .warmup_start = 0.001}).empty()) << "its step has a rate";
  EXPECT_TRUE(doubts({.warmup_epochs = 0.4}).empty()) << "the second of its steps has a rate";
  const double rate = doubted_plan({}).stages.front().stage.learning_rate;
  EXPECT_TRUE(has(only_doubt({.warmup_epochs = 1.0, .warmup_start = rate}), "it changes nothing"));
}

// resnet18 halves 32 pixels five times: layer4 has one.
TEST(NormValues, RefuseARunWhoseEveryMicroBatchHasOneValueAndNameWhatWorks) {
  const std::string message = refusal({.model = "resnet18", .local_batch = 1, .crop = 32});

  EXPECT_TRUE(has(message, "layer4.0.bn1 and 4 more")) << message;
  EXPECT_TRUE(has(message, "--local-batch 2, or --crop 33")) << message;
  EXPECT_EQ(refusal({.model = "resnet18", .local_batch = 2, .crop = 32}), "none");
  EXPECT_EQ(refusal({.model = "resnet18", .local_batch = 1, .crop = 33}), "none");
  EXPECT_EQ(refusal({.model = "resnet20", .local_batch = 1}), "none");
}

TEST(NormValues, AreThoseOfARankUnlessBatchNormIsOverRanks) {
  EXPECT_TRUE(has(refusal({.model = "resnet18", .global_batch = 4, .crop = 32, .ranks = 4}),
                  "--local-batch 2 with --global-batch 8, or --bn sync"));
  EXPECT_EQ(refusal({.model = "resnet18", .global_batch = 4, .crop = 32, .bn = "sync", .ranks = 4}), "none");
  EXPECT_NE(refusal({.model = "resnet18", .global_batch = 3, .crop = 32, .ranks = 2}), "none") << "rank 1 has one image";
  EXPECT_NE(refusal({.model = "resnet18", .global_batch = 1, .crop = 32, .bn = "sync"}), "none");
}

TEST(NormValues, OfSomeMicroBatchesAreWarnedOfByLayerAndSize) {
  const std::string doubt = only_doubt({.model = "resnet18", .samples = 81, .crop = 32});

  EXPECT_TRUE(has(doubt, "a micro-batch of 1 image has 1×1 pixels at the batch-norm layer4.0.bn1")) << doubt;
  EXPECT_TRUE(has(only_doubt({.model = "resnet18", .global_batch = 3, .local_batch = 2, .crop = 32}), "layer4.0.bn1"));
  EXPECT_TRUE(doubts({.model = "resnet18", .samples = 82, .crop = 32}).empty());
  EXPECT_TRUE(doubts({.model = "resnet18", .samples = 81, .crop = 32, .epochs = 0.5}).empty()) << "ends before that step";
}

TEST(NormValues, CountOfStagesWithSmallerImagesAndOfAuxiliaryHeads) {
  TrainConfig config = doubted_config({.model = "resnet18", .local_batch = 1, .crop = 64, .epochs = 0.0});
  config.stages = "small: epochs=1 lr=0.1 crop=32; large: epochs=1 lr=0.1";
  const RunPlan plan = plan_run(config, {.samples = 80, .classes = 10}, 1);
  EXPECT_THROW((void)require_norms_of_several_values(plan, 1), ConfigError);

  TrainConfig with_heads = doubted_config({.model = "inception_v3", .local_batch = 1});
  with_heads.aux_heads = true;
  const auto norm = find_single_value_norm(plan_run(with_heads, {.samples = 80, .classes = 10}, 1), 1);
  ASSERT_TRUE(norm.has_value());
  EXPECT_EQ(norm->layer, "AuxLogits.conv1.bn");
}

}  // namespace
}  // namespace dtrain
