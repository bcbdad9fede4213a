// A run as a list of stages: where each lies, what its rates are, and its text.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
#include "schedules/stage_text.hpp"
#include "schedules/stages.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kSamples = 640, kBatch = 64;  // ten steps an epoch

std::string fault_of_stages(std::string_view text) {
  try {
    (void)plan_stages(parse_stages(text, {}), kSamples, kBatch);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

/// A trunk of 20 and 30 steps, two branches of 10 and 4 steps between them.
std::vector<PlannedStage> branching_run() {
  return plan_stages(parse_stages("a: epochs=2 lr=1 schedule=constant; b: epochs=1 lr=0.5 schedule=poly branch=on; "
                                  "c: steps=4 branch=on keep-momentum=on; d: epochs=3 keep-momentum=on",
                                  {}),
                     kSamples, kBatch);
}

TEST(Stages, CountTheirStepsWithinBounds) {
  EXPECT_EQ(fault_of_stages("a: steps=1000000000000"), "no error");
  for (const char* text :
       {"x: steps=10 warmup-epochs=9223372036854775807 schedule=poly; y: epochs=1", "x: steps=10 warmup-epochs=1e300",
        "x: epochs=1e300", "x: epochs=1e6; y: steps=999999999999", "x: steps=1000000000000; y: steps=1 branch=on"}) {
    EXPECT_NE(fault_of_stages(text).find("planning the stage"), std::string::npos) << text;
    EXPECT_NE(fault_of_stages(text).find("expected a"), std::string::npos) << text;
  }
  const std::vector<Stage> many_steps{{.epochs = 90.0}};
  EXPECT_THROW((void)plan_stages(many_steps, std::int64_t{1} << 40, 1), ConfigError);
}

TEST(Stages, LieOneBehindTheOtherAsExecuted) {
  const auto stages = branching_run();

  ASSERT_EQ(stages.size(), 4U);
  EXPECT_EQ(stages[0].begin, 0);
  EXPECT_EQ(stages[1].begin, 20);
  EXPECT_EQ(stages[2].begin, 30);
  EXPECT_EQ(stages[3].begin, 34);
  EXPECT_EQ(stages[3].end, 64);
  for (std::int64_t step = 0; step < 64; ++step) {
    const PlannedStage& stage = stages[stage_at(stages, step)];
    EXPECT_TRUE(stage.begin <= step && step < stage.end) << step;
  }
}

TEST(Stages, BehindABranchGoOnWithThePicturesBehindTheTrunk) {
  const auto stages = branching_run();

  EXPECT_EQ(stages[1].position(20), 20);
  EXPECT_EQ(stages[1].position(29), 29);
  EXPECT_EQ(stages[2].position(30), 20) << "another branch from the same place";
  EXPECT_EQ(stages[3].position(34), 20);
  EXPECT_EQ(data_steps(stages), 50);
}

TEST(Stages, KnowHowManyUpdatesTheOptimizersStateHasSeen) {
  const auto stages = branching_run();

  EXPECT_EQ(stages[0].updates(0), 1);
  EXPECT_EQ(stages[1].updates(20), 1) << "begins with zeros";
  EXPECT_EQ(stages[2].updates(30), 21) << "keeps the trunk's";
  EXPECT_EQ(stages[3].updates(34), 21);
}

TEST(Stages, KnowTheRateOfTheUpdateBefore) {
  const auto stages = branching_run();

  EXPECT_EQ(stages[0].rate_before(0), 0.0);
  EXPECT_DOUBLE_EQ(stages[1].rate_before(26), 0.25);
  EXPECT_EQ(stages[1].rate_before(20), 0.0) << "begins with zeros";
  EXPECT_DOUBLE_EQ(stages[2].rate_before(30), 1.0) << "the trunk's last";
  EXPECT_DOUBLE_EQ(stages[3].rate_before(34), 1.0);
}

TEST(Stages, HaveRatesOfTheirOwnStep) {
  const auto stages = branching_run();

  EXPECT_DOUBLE_EQ(rates_at(stages[0], 19).learning_rate, 1.0);
  EXPECT_DOUBLE_EQ(rates_at(stages[1], 20).learning_rate, 0.5);
  EXPECT_DOUBLE_EQ(rates_at(stages[1], 25).learning_rate, 0.25);
}

TEST(Stages, LetWeightDecayAndMomentumMove) {
  const auto stages =
      plan_stages(parse_stages("a: epochs=10 lr=2 schedule=poly:power=2 warmup-epochs=2 weight-decay=1e-4 momentum=0.8 "
                               "weight-decay-schedule=inverse-rate:most=4 momentum-schedule=poly:end=0.9;"
                               "b: epochs=1 weight-decay=1e-4 weight-decay-schedule=poly:end=2e-4",
                               {}),
                  kSamples, kBatch);

  EXPECT_DOUBLE_EQ(rates_at(stages[0], 10).weight_decay, 1e-4) << "as given during the warm-up";
  EXPECT_DOUBLE_EQ(rates_at(stages[0], 20).weight_decay, 1e-4);
  const StageRates halfway = rates_at(stages[0], 40);  // 0.75² of the rate
  EXPECT_DOUBLE_EQ(halfway.weight_decay * halfway.learning_rate, 2e-4);
  EXPECT_DOUBLE_EQ(rates_at(stages[0], 99).weight_decay, 4e-4) << "at most";
  EXPECT_DOUBLE_EQ(rates_at(stages[0], 0).momentum, 0.8);
  EXPECT_DOUBLE_EQ(rates_at(stages[0], 50).momentum, 0.85);
  EXPECT_DOUBLE_EQ(rates_at(stages[1], 105).weight_decay, 1.5e-4) << "in a straight line";
}

TEST(Stages, ThatCannotBeAreRefused) {
  EXPECT_NE(fault_of_stages("a: epochs=1 branch=on").find("a trunk to leave"), std::string::npos);
  EXPECT_NE(fault_of_stages("a: epochs=1; a: epochs=1").find("a name of its own"), std::string::npos);
  EXPECT_NE(fault_of_stages("a: epochs=1; b: epochs=1 warmup-epochs=2").find("20 steps of it"), std::string::npos);
}

TEST(StageText, NamesAllThatIsWrongWithIt) {
  const std::string fault =
      fault_of_stages("a: lr=x epochs=1 steps=2; b: schedule=pol; c epochs=1; d: epochs=1 lr=1 base-lr=1 size=3 augment=much");

  for (const char* part : {"a: lr=x is not a number", "a: epochs and steps are both given", "b: schedule: ",
                           "b: epochs or steps is missing", "\"c epochs=1\" does not begin with a name", "d: no key \"size\"",
                           "d: lr and base-lr are both given", "d: augment=much is not standard, light or none"}) {
    EXPECT_NE(fault.find(part), std::string::npos) << part << " in " << fault;
  }
}

TEST(StageText, LeavesToTheContextWhatItDoesNotSay) {
  Stage defaults;
  defaults.momentum = 0.5;
  defaults.label_smoothing = 0.1;
  const auto stages = parse_stages("a: epochs=1; b: epochs=1 base-lr=0.1 momentum=0.7", {defaults, 1024});

  EXPECT_EQ(stages[0].momentum, 0.5);
  EXPECT_EQ(stages[1].momentum, 0.7);
  EXPECT_EQ(stages[1].label_smoothing, 0.1);
  EXPECT_DOUBLE_EQ(stages[1].learning_rate, 0.4);
}

TEST(StageText, GivesTheSameStagesWhenReadBack) {
  const std::string text =
      "a: epochs=2.5 lr=0.3 schedule=poly:power=2,end=0,over=7 warmup-epochs=1 warmup-start-lr=0.1 weight-decay=5e-05 "
      "momentum=0.95 weight-decay-schedule=inverse-rate:most=3 momentum-schedule=cosine:end=0.5 label-smoothing=0.1 "
      "augment=light crop=128 keep-momentum=on keep-statistics=off; b: steps=7 lr=0.1 schedule=constant weight-decay=1e-04 "
      "momentum=0.9 branch=on";

  EXPECT_EQ(to_text(parse_stages(text, {})), text);
}

}  // namespace
}  // namespace dtrain
