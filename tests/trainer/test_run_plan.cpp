// What a run's options amount to, and which of them two runs differ in.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
#include "trainer/recipe_comparison.hpp"
#include "trainer/run_plan.hpp"

namespace dtrain {
namespace {

using Words = std::vector<std::string>;

/// Keys of entries in which two recipes differ.
Words differing_keys(const std::string& recipe, const std::string& other) {
  Words keys;
  for (const RecipeDifference& difference : compare_recipes(recipe, other).different) keys.push_back(difference.key);
  return keys;
}

RunPlan plan_of(const std::string& model, bool aux_heads) {
  TrainConfig config;
  config.model = model;
  config.aux_heads = aux_heads;
  config.steps = 2;
  return plan_run(config, {.samples = 64, .classes = 10}, 1);
}

TEST(RunPlan, HasAuxiliaryHeadsWhenAsked) {
  EXPECT_EQ(plan_of("googlenet", true).network.outputs.size(), 3U);
  EXPECT_EQ(plan_of("googlenet", false).network.outputs.size(), 1U);
  EXPECT_THROW((void)plan_of("resnet18", true), ConfigError);
}

TEST(RunPlan, TellsRunsWithAuxiliaryHeadsFromThoseWithout) {
  const std::string on = plan_of("googlenet", true).recipe;
  const std::string off = plan_of("googlenet", false).recipe;

  const Words heads{"aux_heads", "dropout"};  // the heads have layers of it
  EXPECT_EQ(differing_keys(on, off), heads);
  EXPECT_EQ(differing_keys(off, on), heads);
  EXPECT_EQ(differing_keys(on, on), Words{});
}

TEST(RunPlan, TellsRunsWhoseBatchNormsAreSynchronised) {
  TrainConfig config;
  const auto plan = [&] { return plan_run(config, {.samples = 64, .classes = 10}, 4); };
  const RunPlan local = plan();
  config.bn = "sync";

  EXPECT_FALSE(local.syncs_norms);
  EXPECT_TRUE(plan().syncs_norms);
  EXPECT_EQ(differing_keys(local.recipe, plan().recipe), Words{"bn"});
}

TEST(RunPlan, ScalesTheRateWithTheGlobalBatchUnlessItIsAbsolute) {
  TrainConfig config;
  config.data = "synthetic";
  config.global_batch = 4096;
  const auto peak = [&] { return plan_run(config, {.samples = 100000, .classes = 10}, 1).stages.front().stage.learning_rate; };

  EXPECT_DOUBLE_EQ(peak(), 1.6);
  config.lr_scaling = "sqrt";
  EXPECT_DOUBLE_EQ(peak(), 0.4);
  config.base_lr = 0.2;
  EXPECT_DOUBLE_EQ(peak(), 0.8);
  config.lr = 0.7;
  EXPECT_DOUBLE_EQ(peak(), 0.7);
}

TEST(RunPlan, TellsRunsOfAnotherDropoutFromThoseOfTheUsualOne) {
  TrainConfig config;
  config.model = "googlenet";
  config.steps = 2;
  const auto recipe = [&] { return plan_run(config, {.samples = 64, .classes = 10}, 1).recipe; };
  const std::string usual = recipe();
  config.dropout = 0.4;
  const std::string other = recipe();

  EXPECT_EQ(differing_keys(usual, other), Words{"dropout"});
  EXPECT_NE(usual.find("\ndropout=0.2\n"), std::string::npos) << usual;
  EXPECT_NE(other.find("\ndropout=0.4\n"), std::string::npos) << other;
  EXPECT_EQ(plan_of("resnet18", false).recipe.find("dropout"), std::string::npos) << "there is none";
}

TEST(RunPlan, TakesAMicroBatchBeyondARanksShareForTheShare) {
  TrainConfig config;
  config.global_batch = 16;
  const auto recipe = [&] { return plan_run(config, {.samples = 64, .classes = 10}, 2).recipe; };
  const std::string usual = recipe();
  config.local_batch = 64;
  const std::string larger = recipe();
  config.local_batch = 4;

  EXPECT_EQ(differing_keys(usual, larger), Words{});
  EXPECT_EQ(differing_keys(usual, recipe()), Words{"local_batch"});
}

}  // namespace
}  // namespace dtrain
