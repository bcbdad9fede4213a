// Statistics of a run's steps: those of all of them while they are few, and close to those when only a sample is kept.
#include <gtest/gtest.h>

#include <span>
#include <vector>

#include "trainer/step_statistics.hpp"

namespace dtrain {
namespace {

/// Steps of 8 images, the last of every sixteen of 4; of 8 to 12 ms, the first ten of a second.
StepReport step_number(std::int64_t index) {
  return {.samples = index % 16 == 15 ? 4 : 8,
          .step_s = index < 10 ? 1.0 : 0.008 + 0.001 * static_cast<double>(index % 5),
          .phases = {.data = 0.5, .exchange = 0.25}};
}

struct Both {
  StepStatistics bounded;
  std::vector<StepReport> all;
};

Both run_of(std::int64_t steps) {
  Both run;
  for (std::int64_t index = 0; index < steps; ++index) {
    run.bounded.add(step_number(index));
    run.all.push_back(step_number(index));
  }
  return run;
}

std::span<const StepReport> without_warmup(const std::vector<StepReport>& steps) {
  return std::span(steps).subspan(static_cast<std::size_t>(warmup_steps_of(std::ssize(steps))));
}

TEST(StepStatistics, AreThoseOfAllStepsWhileThereAreFew) {
  for (const std::int64_t steps : {0, 1, 2, 12, 49, 50, 51, 8192}) {
    const auto [bounded, all] = run_of(steps);

    const Throughput found = bounded.throughput(), expected = throughput_of(without_warmup(all));

    EXPECT_EQ(found.mean, expected.mean) << steps;
    EXPECT_EQ(found.median, expected.median) << steps;
    EXPECT_EQ(found.uncertainty, expected.uncertainty) << steps;
    EXPECT_EQ(found.jitter, expected.jitter) << steps;
    EXPECT_EQ(found.step_median_s, expected.step_median_s) << steps;
    EXPECT_EQ(found.step_p10_s, expected.step_p10_s) << steps;
    EXPECT_EQ(found.step_p90_s, expected.step_p90_s) << steps;
  }
}

// Of 100 000 values 4096 or more are kept: a share of 1/16 has a standard deviation of 0.4 %, a mean of 0.5 %.
TEST(StepStatistics, OfALongRunAreCloseToThoseOfAllSteps) {
  const auto [bounded, all] = run_of(100'000);

  const Throughput found = bounded.throughput(), expected = throughput_of(without_warmup(all));

  EXPECT_NEAR(found.mean, expected.mean, 1e-9 * expected.mean) << "this one is exact";
  EXPECT_EQ(found.median, expected.median);
  EXPECT_EQ(found.step_p10_s, expected.step_p10_s);
  EXPECT_EQ(found.step_median_s, expected.step_median_s);
  EXPECT_EQ(found.step_p90_s, expected.step_p90_s);
  EXPECT_NEAR(found.uncertainty, expected.uncertainty, 0.05 * expected.uncertainty);
}

TEST(StepStatistics, AddUpAllSteps) {
  const auto [bounded, all] = run_of(20'000);

  EXPECT_EQ(bounded.totals().steps, 20'000);
  EXPECT_EQ(bounded.totals().samples, 20'000 / 16 * (15 * 8 + 4));
  EXPECT_EQ(bounded.totals().phases.data, 10'000.0);
  EXPECT_EQ(bounded.totals().phases.exchange, 5'000.0);
}

}  // namespace
}  // namespace dtrain
