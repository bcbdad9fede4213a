// Learning-rate curves: their text, their values at every boundary, and continuity.
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "dtrain/error.hpp"
#include "schedules/curves.hpp"

namespace dtrain {
namespace {

std::string fault_of(std::string_view text) {
  try {
    (void)parse_curve(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

void expect_fault(std::string_view text, const std::string& part) {
  EXPECT_NE(fault_of(text).find(part), std::string::npos) << text << " → " << fault_of(text);
}

/// 10 steps an epoch, warm-up of 2 epochs, 100 steps.
RatePlan plan_of(std::string_view curve) {
  return {.curve = parse_curve(curve),
          .peak = 2.0,
          .warmup_start = 0.5,
          .warmup_epochs = 2.0,
          .total_steps = 100,
          .samples = 640,
          .global_batch = 64};
}

TEST(Curve, ParsesEveryKind) {
  EXPECT_EQ(parse_curve("constant"), Curve{});
  EXPECT_EQ(parse_curve("step:every=12.5,gamma=0.5"), (Curve{.kind = Curve::Kind::step, .gamma = 0.5, .every_epochs = 12.5}));
  EXPECT_EQ(parse_curve("multistep:at=30/60/80,gamma=0.2"),
            (Curve{.kind = Curve::Kind::multistep, .gamma = 0.2, .at_epochs = {30, 60, 80}}));
  EXPECT_EQ(parse_curve("poly:power=2,end=1e-3"), (Curve{.kind = Curve::Kind::poly, .power = 2.0, .end = 1e-3}));
  EXPECT_EQ(parse_curve("cosine:end=0.01"), (Curve{.kind = Curve::Kind::cosine, .end = 0.01}));
}

TEST(Curve, TakesDefaultsForWhatIsLeftOut) {
  EXPECT_EQ(parse_curve("step"), (Curve{.kind = Curve::Kind::step, .gamma = 0.1, .every_epochs = 30.0}));
  EXPECT_EQ(parse_curve("multistep:at=7").gamma, 0.1);
  EXPECT_EQ(parse_curve("poly").power, 1.0);
  EXPECT_EQ(parse_curve("cosine").end, 0.0);
}

TEST(Curve, ReadsBackItsOwnText) {
  for (const char* text : {"constant", "step:every=30,gamma=0.1", "multistep:at=30/60/80,gamma=0.1", "poly:power=2,end=0",
                           "cosine:end=0.001", "step:every=0.3,gamma=0.7071067811865476"}) {
    EXPECT_EQ(to_text(parse_curve(text)), text);
  }
  EXPECT_EQ(parse_curve(to_text(parse_curve("poly"))), parse_curve("poly"));
}

TEST(Curve, OfUnknownNameIsRefusedWithTheKnownOnes) {
  for (const char* text : {"linear", "", "Constant", "poly power=2"}) {
    expect_fault(text, "constant, step, multistep, poly, cosine");
  }
}

TEST(Curve, WithMalformedParametersIsRefusedAndAllAreNamed) {
  expect_fault("poly:power=two,end=-1", "power=two is not a number; end=-1 is negative");
  expect_fault("poly:gamma=1", "poly has no parameter \"gamma\"");
  expect_fault("constant:end=1", "constant has no parameter \"end\"");
  expect_fault("poly:power", "not of the form name=value");
  expect_fault("poly:", "not of the form name=value");
  expect_fault("poly:power=2,power=3", "power is given twice");
  expect_fault("poly:power=0", "not above 0");
  expect_fault("poly:power=nan", "not a number");
  expect_fault("poly:power=1e999", "not a number");
  expect_fault("poly:power=2 ", "not a number");
  expect_fault("step:every=0", "not above 0");
  expect_fault("step:gamma=-0.1", "not above 0");
  expect_fault("multistep", "missing");
  expect_fault("multistep:gamma=0.5", "missing");
  expect_fault("multistep:at=30/20", "do not ascend");
  expect_fault("multistep:at=30//60", "not a number");
  expect_fault("multistep:at=0/30", "not above 0");
}

TEST(LearningRate, ClimbsLinearlyAndReachesThePeakWhenWarmUpEnds) {
  for (const char* curve : {"constant", "step", "poly:power=2", "cosine"}) {
    const RatePlan plan = plan_of(curve);
    EXPECT_EQ(warmup_steps(plan), 20);
    EXPECT_DOUBLE_EQ(learning_rate(plan, 0), 0.5);
    EXPECT_DOUBLE_EQ(learning_rate(plan, 10), 1.25);                   // half-way between 0.5 and 2
    EXPECT_DOUBLE_EQ(learning_rate(plan, 19), (19 * 2.0 + 0.5) / 20);  // one step below the peak
    EXPECT_DOUBLE_EQ(learning_rate(plan, 20), 2.0) << curve;
  }
}

TEST(LearningRate, StartsAtThePeakWithoutWarmUp) {
  for (const char* curve : {"constant", "step", "multistep:at=1", "poly", "cosine"}) {
    RatePlan plan = plan_of(curve);
    plan.warmup_epochs = 0;
    EXPECT_DOUBLE_EQ(learning_rate(plan, 0), 2.0) << curve;
  }
}

TEST(LearningRate, StaysInWarmUpWhenTheRunIsShorter) {
  RatePlan plan = plan_of("poly");
  plan.total_steps = 20;

  EXPECT_DOUBLE_EQ(learning_rate(plan, 19), (19 * 2.0 + 0.5) / 20);
}

TEST(LearningRate, OfPolyIsHalvedSquaredHalfWayAndNearsItsEnd) {
  const RatePlan plan = plan_of("poly:power=2,end=0.4");

  EXPECT_DOUBLE_EQ(learning_rate(plan, 60), 0.4 + 1.6 * 0.25);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 99), 0.4 + 1.6 / 6400.0);  // (1/80)²
}

TEST(LearningRate, OfCosineIsTheMeanHalfWayAndNearsItsEnd) {
  const RatePlan plan = plan_of("cosine:end=0.4");

  EXPECT_NEAR(learning_rate(plan, 60), 1.2, 1e-15);
  EXPECT_NEAR(learning_rate(plan, 40), 0.4 + 1.6 * (1 + std::sqrt(0.5)) / 2, 1e-15);
  EXPECT_NEAR(learning_rate(plan, 99), 0.4 + 0.8 * (1 - std::cos(3.14159265358979323846 / 80)), 1e-15);
}

TEST(LearningRate, IsContinuousForPolyAndCosine) {
  for (const char* curve : {"poly:power=1", "poly:power=2", "cosine"}) {
    RatePlan plan = plan_of(curve);
    plan.samples = 64000, plan.total_steps = 10000;  // 1000 steps an epoch
    for (std::int64_t t = 1; t < plan.total_steps; ++t) {
      // The warm-up climbs by 1.5 in 2000 steps; behind it no slope exceeds 2·peak over 8000 steps.
      const double steepest = t <= 2000 ? 1.5 / 2000 : 2 * 2.0 / 8000;
      ASSERT_LE(std::abs(learning_rate(plan, t) - learning_rate(plan, t - 1)), steepest + 1e-12) << curve << " at " << t;
    }
  }
}

TEST(LearningRate, OfStepDropsWithTheFirstStepOfItsEpoch) {
  const RatePlan plan = plan_of("step:every=3,gamma=0.5");

  EXPECT_DOUBLE_EQ(learning_rate(plan, 29), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 30), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 59), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 60), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 99), 0.25);
}

TEST(LearningRate, DropsAtFractionsOfAnEpochExactly) {
  // 0.3 and 0.1 are not exact in binary; the steps they stand for are.
  const RatePlan plan = plan_of("step:every=2.1,gamma=0.5");
  for (std::int64_t t = 20; t < 100; ++t) {
    ASSERT_DOUBLE_EQ(learning_rate(plan, t), 2.0 * std::pow(0.5, static_cast<double>(t / 21))) << t;
  }
  const RatePlan thirds = plan_of("multistep:at=2.25/3.3,gamma=0.5");  // steps 22.5 → 23, and 33
  EXPECT_DOUBLE_EQ(learning_rate(thirds, 22), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(thirds, 23), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(thirds, 32), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(thirds, 33), 0.5);
}

TEST(LearningRate, SurvivesAbsurdlyShortSteps) { EXPECT_EQ(learning_rate(plan_of("step:every=1e-300,gamma=0.5"), 50), 0.0); }

TEST(LearningRate, CountsAPartialBatchAsAStepOfItsEpoch) {
  RatePlan plan = plan_of("multistep:at=3");
  plan.samples = 641;  // 11 steps an epoch

  EXPECT_EQ(epoch_steps(plan), 11);
  EXPECT_EQ(warmup_steps(plan), 22);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 32), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 33), 0.2);
}

TEST(LearningRate, GivesThePublishedTableForBatch8192) {
  // Goyal et al. 2017: peak 0.1·8192/256, five epochs of warm-up, ×0.1 at epochs 30, 60 and 80; 156 whole batches an epoch.
  const RatePlan plan{.curve = parse_curve("multistep:at=30/60/80,gamma=0.1"),
                      .peak = scaled_rate(0.1, 8192),
                      .warmup_start = 0.1,
                      .warmup_epochs = 5.0,
                      .total_steps = 90 * 156,
                      .samples = 156 * 8192,
                      .global_batch = 8192};

  EXPECT_DOUBLE_EQ(plan.peak, 3.2);
  EXPECT_EQ(warmup_steps(plan), 780);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 0), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 390), 1.65);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 780), 3.2);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 4679), 3.2);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 4680), 0.32);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 9359), 0.32);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 9360), 0.032);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 12479), 0.032);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 12480), 0.0032);
  EXPECT_DOUBLE_EQ(learning_rate(plan, plan.total_steps - 1), 0.0032);
}

TEST(LearningRate, DropsAfterThirtyEpochsOfAllOfImageNet) {
  RatePlan plan{.curve = parse_curve("multistep:at=30/60/80"),
                .peak = 3.2,
                .total_steps = 90 * 157,
                .samples = 1281167,
                .global_batch = 8192};

  EXPECT_EQ(epoch_steps(plan), 157);  // 1281167/8192 = 156.4
  EXPECT_DOUBLE_EQ(learning_rate(plan, 30 * 157 - 1), 3.2);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 30 * 157), 0.32);
}

TEST(LearningRate, ExistsWithinTheRunOnly) {
  EXPECT_THROW((void)learning_rate(plan_of("constant"), -1), std::logic_error);
  EXPECT_THROW((void)learning_rate(plan_of("constant"), 100), std::logic_error);
}

TEST(ScaledRate, GrowsLinearlyWithTheGlobalBatch) {
  EXPECT_DOUBLE_EQ(scaled_rate(0.1, 256), 0.1);
  EXPECT_DOUBLE_EQ(scaled_rate(0.1, 64), 0.025);
}

}  // namespace
}  // namespace dtrain
