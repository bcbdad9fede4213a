// The published recipes: their constants in a run like the published one, and how they scale.
#include <gtest/gtest.h>

#include <cmath>

#include "dtrain/error.hpp"
#include "schedules/presets.hpp"

namespace dtrain {
namespace {

std::vector<PlannedStage> stages_of_preset(const PresetRequest& request) {
  const std::int64_t batch = request.global_batch > 0 ? request.global_batch : preset_batch(request.name, request.samples, 1);
  return plan_stages(plan_preset(request).stages, request.samples, batch);
}

double rate_before(const PlannedStage& stage, std::int64_t own_step) {
  return rates_at(stage, stage.begin + own_step).learning_rate;
}

TEST(Preset, OfEachNameHasASourceAndStages) {
  for (const std::string& name : preset_names()) {
    const PresetPlan plan = plan_preset({.name = name});
    EXPECT_FALSE(plan.source.empty()) << name;
    EXPECT_FALSE(plan.stages.empty()) << name;
  }
  EXPECT_THROW((void)plan_preset({.name = "surfsara"}), ConfigError);
}

// What is printed of a run of 4096: the rate at which each stage ends is that at which the next begins.
TEST(Preset, SurfsaraCyclesHasThePublishedStepsAndRates) {
  const auto stages = stages_of_preset({.name = "surfsara-cycles"});

  struct Expected {
    const char* name;
    std::int64_t steps;
    double first, peak;
    std::int64_t warmup;
    double last, weight_decay;
    bool is_branch;
  };
  const Expected expected[] = {
      {"init", 7800, 0.1, 1.6, 1560, 1.018, 5e-5, false},     {"cycle-1", 3750, 1.02, 1.02, 0, 0.255, 5e-5, false},
      {"collapse-1", 1560, 0.143, 0.143, 0, 0.0, 2e-4, true}, {"cycle-2", 4750, 0.255, 0.764, 1000, 0.191, 5e-5, false},
      {"collapse-2", 1560, 0.143, 0.143, 0, 0.0, 2e-4, true}, {"cycle-3", 4750, 0.19, 0.572, 1000, 0.143, 5e-5, false},
      {"collapse-3", 1560, 0.143, 0.143, 0, 0.0, 2e-4, true}};
  ASSERT_EQ(stages.size(), std::size(expected));
  for (std::size_t i = 0; i < stages.size(); ++i) {
    SCOPED_TRACE(expected[i].name);
    EXPECT_EQ(stages[i].stage.name, expected[i].name);
    EXPECT_EQ(stages[i].steps(), expected[i].steps);
    EXPECT_EQ(warmup_steps(stages[i].rate), expected[i].warmup);
    EXPECT_DOUBLE_EQ(rate_before(stages[i], 0), expected[i].first);
    EXPECT_DOUBLE_EQ(rate_before(stages[i], expected[i].warmup), expected[i].peak);
    EXPECT_NEAR(rate_before(stages[i], expected[i].steps - 1), expected[i].last, 5e-4);
    EXPECT_DOUBLE_EQ(stages[i].stage.weight_decay, expected[i].weight_decay);
    EXPECT_EQ(stages[i].stage.is_branch, expected[i].is_branch);
    EXPECT_EQ(stages[i].stage.augment, expected[i].is_branch ? "light" : "");
    EXPECT_FALSE(stages[i].stage.keeps_momentum);
    EXPECT_TRUE(stages[i].stage.keeps_statistics);
  }
}

TEST(Preset, Surfsara448HasThePublishedStepsAndRates) {
  const auto stages = stages_of_preset({.name = "surfsara-448"});

  ASSERT_EQ(stages.size(), 2U);
  EXPECT_EQ(stages[0].steps(), 7638);
  EXPECT_EQ(warmup_steps(stages[0].rate), 446);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], 0), 0.1);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], 446), 4.8);
  // The printed 0.2541 is the rate behind the last step: a step's decay, 4.8/7594, below that of it.
  EXPECT_NEAR(rate_before(stages[0], 7637) - 4.8 / 7594, 0.2541, 5e-5);
  EXPECT_EQ(stages[1].steps(), 402);
  EXPECT_DOUBLE_EQ(rate_before(stages[1], 0), 0.254);
  EXPECT_DOUBLE_EQ(rate_before(stages[1], 201), 0.254 / 4);
  EXPECT_DOUBLE_EQ(stages[1].stage.weight_decay, 1e-4);
  EXPECT_EQ(stages[1].stage.augment, "light");
  EXPECT_FALSE(stages[1].stage.is_branch) << "the trunk ends in it";
}

TEST(Preset, GoyalHasThePublishedStepsAndRates) {
  const auto stages = stages_of_preset({.name = "goyal"});

  ASSERT_EQ(stages.size(), 1U);
  EXPECT_EQ(stages[0].steps(), 14075);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], 0), 0.1);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], 780), 3.2);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], 4679), 3.2);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], 4680), 0.32);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], 9359), 0.32);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], 9360), 0.032);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], 12480), 0.0032);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], 14074), 0.0032);
}

TEST(Preset, LarsGoesThroughThePublishedPoints) {
  const auto stage = [](std::int64_t batch) {
    return plan_preset({.name = "mlperf-lars", .global_batch = batch}).stages.front();
  };

  EXPECT_DOUBLE_EQ(stage(4096).learning_rate, 10.0);
  EXPECT_DOUBLE_EQ(stage(8192).learning_rate, 17.0);
  EXPECT_DOUBLE_EQ(stage(8192).weight_decay, 2e-4);
  EXPECT_DOUBLE_EQ(stage(8192).warmup_epochs, 5.0);
  EXPECT_DOUBLE_EQ(stage(32768).learning_rate, 21.2);
  EXPECT_DOUBLE_EQ(stage(32768).weight_decay, 2.5e-5);
  EXPECT_DOUBLE_EQ(stage(32768).warmup_epochs, 16.0);
  EXPECT_NEAR(stage(16384).learning_rate, std::sqrt(17.0 * 21.2), 1e-9) << "halfway between, in logarithms";
  EXPECT_DOUBLE_EQ(stage(1024).learning_rate, 5.0);
  EXPECT_EQ(preset_options("mlperf-lars").optimizer, "lars");
}

TEST(Preset, OfAnotherBatchTakesAsManyEpochsAtRatesInProportion) {
  const auto stages = stages_of_preset({.name = "surfsara-cycles", .global_batch = 1024});

  const std::int64_t total = 82 * 1252;  // the recipe's epochs
  EXPECT_EQ(stages.back().end, total);
  EXPECT_EQ(stages[0].steps(), std::llround(total * 7800.0 / 25730.0)) << "its share of all steps";
  const std::int64_t warmup = warmup_steps(stages[0].rate);
  EXPECT_EQ(warmup, std::llround(static_cast<double>(stages[0].steps()) * 1560.0 / 7800.0));
  EXPECT_DOUBLE_EQ(rate_before(stages[0], 0), 0.1) << "that of a small batch";
  EXPECT_DOUBLE_EQ(rate_before(stages[0], warmup), 0.4);
  EXPECT_DOUBLE_EQ(rate_before(stages[3], 0), 0.255 / 4);
  EXPECT_NEAR(rate_before(stages[0], stages[0].steps() - 1), 1.018 / 4, 5e-4);
  EXPECT_EQ(stages_of_preset({.name = "goyal", .global_batch = 512})[0].steps(), 90 * 2503);
}

TEST(Preset, TrainsExactlyTheEpochsThatAreAskedForAtAnyBatch) {
  for (const std::string& name : preset_names()) {
    for (const std::int64_t samples : {2934, 1281167}) {
      for (const std::int64_t batch : {8, 256, 1000, 1024, 2934, 4096, 8192, 14336, 16384}) {
        for (const double epochs : {7.0, 90.0, 82.5}) {
          const auto stages = stages_of_preset({.name = name, .samples = samples, .global_batch = batch, .epochs = epochs});
          const std::int64_t epoch_steps = (samples + batch - 1) / batch;
          EXPECT_EQ(stages.back().end, std::llround(epochs * static_cast<double>(epoch_steps)))
              << name << ", " << samples << " images, batch " << batch << ", " << epochs << " epochs";
        }
      }
    }
  }
}

TEST(Preset, TrainsItsOwnEpochsWhereNoneAreAskedForHoweverFewTheImages) {
  for (const std::int64_t batch : {256, 2048, 8192, 16384}) {
    const auto stages = stages_of_preset({.name = "goyal", .samples = 2934, .global_batch = batch});
    EXPECT_EQ(stages.back().end, 90 * ((2934 + batch - 1) / batch)) << batch;
  }
}

TEST(Preset, OfOtherEpochsKeepsItsShape) {
  const auto stages = stages_of_preset({.name = "goyal", .epochs = 45.0});

  EXPECT_EQ(stages[0].steps(), 45 * 157);
  const double factor = 45.0 * 157.0 / 14075.0;
  EXPECT_EQ(warmup_steps(stages[0].rate), std::llround(780.0 * factor));
  const std::int64_t drop = std::llround(4680.0 * factor);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], drop - 1), 3.2);
  EXPECT_DOUBLE_EQ(rate_before(stages[0], drop), 0.32);
}

TEST(Preset, OfOtherImagesTakesAsManyEpochsOfThem) {
  const auto stages = stages_of_preset({.name = "surfsara-cycles", .samples = 10000, .global_batch = 100, .epochs = 41.0});

  EXPECT_EQ(stages.back().end, 4100);
  const double published[] = {7800, 3750, 1560, 4750, 1560, 4750, 1560};
  for (std::size_t i = 0; i < stages.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(stages[i].steps()), published[i] / 25730.0 * 4100.0, 1.0) << stages[i].stage.name;
  }
}

TEST(Preset, SaysWhatItScaled) {
  EXPECT_TRUE(plan_preset({.name = "goyal"}).remarks.empty());
  const auto remarks = plan_preset({.name = "goyal", .samples = 10000, .global_batch = 256, .epochs = 30.0}).remarks;

  ASSERT_EQ(remarks.size(), 3U);
  EXPECT_NE(remarks[0].find("rates times 0.03125"), std::string::npos) << remarks[0];
  EXPECT_NE(remarks[1].find("30 epochs instead of 90"), std::string::npos) << remarks[1];
  EXPECT_NE(remarks[2].find("10000 images"), std::string::npos) << remarks[2];
}

TEST(Preset, OfVeryShortRunsStillHasAStepOfEveryStage) {
  for (const char* name : {"goyal", "surfsara-448", "surfsara-cycles"}) {
    for (const PlannedStage& stage : stages_of_preset({.name = name, .samples = 100, .global_batch = 50, .epochs = 1.0})) {
      EXPECT_GE(stage.steps(), 1) << name;
      for (std::int64_t step = stage.begin; step < stage.end; ++step) EXPECT_GE(rates_at(stage, step).learning_rate, 0.0);
    }
  }
}

Stage finetune(const PresetRequest& request) {
  PresetRequest named = request;
  named.name = "finetune";
  return plan_preset(named).stages.front();
}

TEST(Preset, FinetuneHasARateOfItsOwnByTheRootOfTheBatch) {
  EXPECT_DOUBLE_EQ(finetune({.global_batch = 256}).learning_rate, 0.01);
  EXPECT_DOUBLE_EQ(finetune({.global_batch = 64}).learning_rate, 0.005);
  EXPECT_DOUBLE_EQ(finetune({.global_batch = 1024}).learning_rate, 0.02);
  EXPECT_DOUBLE_EQ(finetune({.global_batch = 64, .learning_rate = 0.3}).learning_rate, 0.3) << "what is asked for";
}

TEST(Preset, FinetuneGoesOnAtTheRateOfItsWeightsUnlessThatIsTheEndOfARunOrOfAMuchLargerBatch) {
  const auto rate = [](double known) { return finetune({.global_batch = 64, .weights_rate = known}).learning_rate; };

  EXPECT_DOUBLE_EQ(rate(0.02), 0.02);
  EXPECT_DOUBLE_EQ(rate(0.0005), 0.0005);
  EXPECT_DOUBLE_EQ(rate(2e-7), 0.005);
  EXPECT_DOUBLE_EQ(rate(3.2), 0.005);
  const auto remarks = plan_preset({.name = "finetune", .global_batch = 64, .weights_rate = 2e-7}).remarks;
  EXPECT_NE(remarks.front().find("the end of a run"), std::string::npos) << remarks.front();
}

TEST(Preset, FinetuneWarmsUpFromATenthOfTheRateLongerWithTheBatch) {
  const Stage small = finetune({.global_batch = 64});
  const Stage large = finetune({.global_batch = 4096});

  EXPECT_DOUBLE_EQ(small.warmup_epochs, 1.0);
  EXPECT_DOUBLE_EQ(small.warmup_start, 0.0005);
  EXPECT_DOUBLE_EQ(large.warmup_epochs, 2.0);
  EXPECT_DOUBLE_EQ(finetune({.global_batch = 64, .epochs = 2.0}).warmup_epochs, 0.5) << "a quarter of the run";
}

TEST(Preset, FinetuneHasABatchThatFitsTheImagesAndTheRanks) {
  EXPECT_EQ(preset_batch("finetune", 244, 1), 12) << "20 steps";
  EXPECT_EQ(preset_batch("finetune", 244, 5), 10) << "as many on every rank";
  EXPECT_EQ(preset_batch("finetune", 30, 1), 8);
  EXPECT_EQ(preset_batch("finetune", 30, 16), 16) << "one on every rank";
  EXPECT_EQ(preset_batch("finetune", 1281167, 1), 256);
  EXPECT_EQ(preset_batch("goyal", 244, 1), 8192) << "as published";
}

}  // namespace
}  // namespace dtrain
