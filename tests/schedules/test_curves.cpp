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
  EXPECT_EQ(parse_curve("poly-published:power=2,over=24"),
            (Curve{.kind = Curve::Kind::poly_published, .power = 2.0, .over_epochs = 24.0}));
  EXPECT_EQ(parse_curve("exp:gamma=0.9"), (Curve{.kind = Curve::Kind::exponential, .gamma = 0.9}));
  EXPECT_EQ(parse_curve("inv:gamma=0.5,power=2"), (Curve{.kind = Curve::Kind::inverse, .gamma = 0.5, .power = 2.0}));
  EXPECT_EQ(parse_curve("sigmoid:at=45,gamma=0.3"), (Curve{.kind = Curve::Kind::sigmoid, .gamma = 0.3, .at_epochs = {45.0}}));
}

TEST(Curve, TakesDefaultsForWhatIsLeftOut) {
  EXPECT_EQ(parse_curve("step"), (Curve{.kind = Curve::Kind::step, .gamma = 0.1, .every_epochs = 30.0}));
  EXPECT_EQ(parse_curve("multistep:at=7").gamma, 0.1);
  EXPECT_EQ(parse_curve("poly").power, 1.0);
  EXPECT_EQ(parse_curve("cosine").end, 0.0);
  EXPECT_EQ(parse_curve("exp").gamma, 0.95);
  EXPECT_EQ(parse_curve("inv"), (Curve{.kind = Curve::Kind::inverse, .gamma = 0.1, .power = 0.75}));
  EXPECT_EQ(parse_curve("sigmoid:at=7").gamma, 0.2);
}

TEST(Curve, ReadsBackItsOwnText) {
  for (const char* text :
       {"constant", "step:every=30,gamma=0.1", "multistep:at=30/60/80,gamma=0.1", "poly:power=2,end=0", "cosine:end=0.001",
        "step:every=0.3,gamma=0.7071067811865476", "poly:power=2,end=0,over=12.5", "poly-published:power=1,end=0",
        "cosine:end=0,over=7", "exp:gamma=0.9", "inv:gamma=0.1,power=0.75", "sigmoid:at=45,gamma=0.2"}) {
    EXPECT_EQ(to_text(parse_curve(text)), text);
  }
  EXPECT_EQ(parse_curve(to_text(parse_curve("poly"))), parse_curve("poly"));
}

TEST(Curve, OfUnknownNameIsRefusedWithTheKnownOnes) {
  for (const char* text : {"linear", "", "Constant", "poly power=2"}) {
    expect_fault(text, "constant, step, multistep, poly, poly-published, cosine, exp, inv, sigmoid");
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
  expect_fault("sigmoid", "missing");
  expect_fault("sigmoid:at=30/60", "not a number");
  expect_fault("exp:power=2", "no parameter");
  expect_fault("cosine:over=0", "not above 0");
  expect_fault("step:over=3", "no parameter");
}

TEST(LearningRate, ClimbsLinearlyAndReachesThePeakWhenWarmUpEnds) {
  for (const char* curve : {"constant", "step", "poly:power=2", "cosine", "exp", "inv", "poly:over=30"}) {
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

TEST(LearningRate, DecaysOverAsManyEpochsAsItIsToldAndStaysThere) {
  const RatePlan cycle = plan_of("poly:power=2,over=16");  // 160 steps, of which the run has 80
  EXPECT_DOUBLE_EQ(learning_rate(cycle, 60), 2.0 * 0.75 * 0.75);
  const RatePlan early = plan_of("poly:power=1,end=0.5,over=4");  // done at step 60
  EXPECT_DOUBLE_EQ(learning_rate(early, 40), 1.25);
  EXPECT_DOUBLE_EQ(learning_rate(early, 60), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(early, 99), 0.5);
  EXPECT_NEAR(learning_rate(plan_of("cosine:over=4"), 40), 1.0, 1e-15);
}

TEST(LearningRate, OfExpFallsByItsFactorInEveryEpoch) {
  const RatePlan plan = plan_of("exp:gamma=0.5");

  EXPECT_DOUBLE_EQ(learning_rate(plan, 30), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 25), 2.0 * std::sqrt(0.5));
}

TEST(LearningRate, OfInvFallsAsAPowerOfTheEpochs) {
  const RatePlan plan = plan_of("inv:gamma=0.5,power=2");

  EXPECT_DOUBLE_EQ(learning_rate(plan, 40), 2.0 / 4.0);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 80), 2.0 / 16.0);
}

TEST(LearningRate, OfSigmoidIsHalfOfThePeakAtItsEpoch) {
  const RatePlan plan = plan_of("sigmoid:at=6,gamma=2");

  EXPECT_DOUBLE_EQ(learning_rate(plan, 60), 1.0);
  EXPECT_NEAR(learning_rate(plan, 70), 2.0 / (1.0 + std::exp(2.0)), 1e-15);
}

/// A stage of a published run on ImageNet: what its solver file says, and what its constants say about the decay.
struct PublishedStage {
  const char* name;
  std::int64_t batch;
  double peak, power;
  std::int64_t steps, warmup;
  std::int64_t decay;   ///< steps, behind the warm-up
  std::int64_t length;  ///< of the decay that does not start anew after warm-up
  double warmup_start;
  double end;            ///< the rate with which the next stage begins, as printed
  double end_published;  ///< by the decay that does not start anew
};

RatePlan plan_of(const PublishedStage& stage, const char* name, std::int64_t decay) {
  RatePlan plan{.curve = {},
                .peak = stage.peak,
                .warmup_start = stage.warmup_start,
                .warmup_epochs = 0.0,
                .total_steps = stage.steps + 1,  // that of the boundary, too
                .samples = 1281167,
                .global_batch = stage.batch};
  const auto epochs = [&](std::int64_t steps) { return static_cast<double>(steps) / static_cast<double>(epoch_steps(plan)); };
  plan.warmup_epochs = epochs(stage.warmup);
  plan.curve = parse_curve(name);
  plan.curve.power = stage.power;
  plan.curve.over_epochs = epochs(decay);
  return plan;
}

// SURFsara's and Intel's runs of ResNet-50. Where a cycle warms up, its L of 7500 steps is that of the decay behind the
// warm-up: with it, every stage begins with the rate at which the one before ended.
TEST(LearningRate, IsThatOfThePublishedStages) {
  const PublishedStage stages[] = {
      {"448 nodes", 14336, 4.8, 1.0, 7638, 446, 8040 - 446, 8040, 0.1, 0.2541, 4.8 * 402 / 8040},
      {"its collapse", 14336, 0.254, 2.0, 402, 0, 402, 402, 0.0, 0.0, 0.0},
      {"init", 4096, 1.6, 1.0, 7800, 1560, 18720 - 1560, 18720, 0.1, 1.018, 1.6 * 10920 / 18720},
      {"cycle 1", 4096, 1.02, 2.0, 3750, 0, 7500, 7500, 0.0, 0.255, 0.255},
      {"cycle 2", 4096, 0.764, 2.0, 4750, 1000, 7500, 7500, 0.255, 0.191, 0.764 * 2750 * 2750 / 7500 / 7500},
      {"cycle 3", 4096, 0.572, 2.0, 4750, 1000, 7500, 7500, 0.19, 0.143, 0.572 * 2750 * 2750 / 7500 / 7500},
      {"collapse of a cycle", 4096, 0.143, 2.0, 1560, 0, 1560, 1560, 0.0, 0.0, 0.0},
  };
  for (const PublishedStage& stage : stages) {
    SCOPED_TRACE(stage.name);
    const RatePlan shifted = plan_of(stage, "poly", stage.decay);
    const RatePlan published = plan_of(stage, "poly-published", stage.length - stage.warmup);

    EXPECT_EQ(warmup_steps(shifted), stage.warmup);
    const double first = stage.warmup > 0 ? stage.warmup_start : stage.peak;
    EXPECT_DOUBLE_EQ(learning_rate(shifted, 0), first);
    EXPECT_DOUBLE_EQ(learning_rate(published, 0), first);
    EXPECT_DOUBLE_EQ(learning_rate(shifted, stage.warmup), stage.peak);
    EXPECT_NEAR(learning_rate(shifted, stage.steps), stage.end, stage.end < 0.2545 && stage.end > 0.2535 ? 5e-5 : 5e-4);
    EXPECT_NEAR(learning_rate(published, stage.steps), stage.end_published, 1e-12);
  }
  EXPECT_NEAR(0.75 * 1.02, 0.764, 1.1e-3) << "each peak is three quarters of the one before";
  EXPECT_NEAR(0.75 * 0.764, 0.572, 1.1e-3);
}

TEST(LearningRate, IsThatOfThePublishedBaseline) {
  RatePlan plan{.curve = parse_curve("constant"),
                .peak = 3.2,
                .warmup_start = 0.1,
                .total_steps = 14075,
                .samples = 1281167,
                .global_batch = 8192};
  const double steps_per_epoch = static_cast<double>(epoch_steps(plan));
  plan.warmup_epochs = 780 / steps_per_epoch;
  plan.curve = Curve{.kind = Curve::Kind::multistep,
                     .at_epochs = {4680 / steps_per_epoch, 9360 / steps_per_epoch, 12480 / steps_per_epoch}};

  EXPECT_DOUBLE_EQ(learning_rate(plan, 0), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 780), 3.2);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 4679), 3.2);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 4680), 0.32);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 9360), 0.032);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 12480), 0.0032);
  EXPECT_DOUBLE_EQ(learning_rate(plan, 14074), 0.0032);
}

TEST(ScaledRate, GrowsWithTheBatchOrItsSquareRoot) {
  EXPECT_DOUBLE_EQ(scaled_rate(0.1, 8192), 3.2);
  EXPECT_DOUBLE_EQ(scaled_rate(0.1, 4096, BatchScaling::square_root), 0.4);
  EXPECT_DOUBLE_EQ(scaled_rate(0.1, 256, BatchScaling::square_root), 0.1);
}

}  // namespace
}  // namespace dtrain
