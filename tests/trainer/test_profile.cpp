// Totals of a profile: what the instructions took, what the steps took beyond them, and what is printed.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "trainer/profile.hpp"

namespace dtrain {
namespace {

/// Two steps of 100 ms: 40 forward, 50 backward, 2 waiting for data, 3 for the exchange, 5 update.
StepProfile two_steps() {
  StepProfile profile{.peaks = {.matmul_gflops = 200.0, .triad_gb_per_s = 40.0}, .instructions = {}, .steps = {}};
  InstructionProfile conv{.name = "conv", .kind = InstructionProfile::Kind::convolution, .description = "direct"};
  conv.forward = {.flops = 3'000'000'000, .bytes = 30'000'000, .seconds = 0.06};  // over both steps
  conv.backward_weights = {.flops = 3'000'000'000, .bytes = 30'000'000, .seconds = 0.04};
  conv.bring_weights_s = 0.002;
  InstructionProfile norm{.name = "norm", .kind = InstructionProfile::Kind::batch_norm, .description = "batch-norm"};
  norm.forward = {.flops = 0, .bytes = 100'000'000, .seconds = 0.01};
  norm.backward_data = {.flops = 0, .bytes = 200'000'000, .seconds = 0.03};
  profile.instructions = {conv, norm};
  StepReport step;
  step.step_s = 0.1;
  step.phases = {.data = 0.002, .forward = 0.04, .backward = 0.05, .exchange = 0.003, .update = 0.005};
  for (int k = 0; k < 2; ++k) profile.steps.add(step);
  return profile;
}

ProfileShare share_of(const std::string& kind) {
  const std::vector<ProfileShare> shares = profile_shares(two_steps());
  const auto found = std::ranges::find(shares, kind, &ProfileShare::kind);
  return found == shares.end() ? ProfileShare{} : *found;
}

TEST(Profile, GivesSecondsAStepByKindAndDirection) {
  EXPECT_DOUBLE_EQ(share_of("convolution forward").seconds, 0.03);
  EXPECT_DOUBLE_EQ(share_of("convolution forward").flops, 3e9);
  EXPECT_DOUBLE_EQ(share_of("convolution backward weights").seconds, 0.02);
  EXPECT_DOUBLE_EQ(share_of("bringing weights").seconds, 0.001);
  EXPECT_DOUBLE_EQ(share_of("batch-norm").seconds, 0.02);
  EXPECT_DOUBLE_EQ(share_of("batch-norm").bytes, 3e8);
  EXPECT_DOUBLE_EQ(share_of("waiting for data").seconds, 0.002);
  EXPECT_DOUBLE_EQ(share_of("waiting for the exchange").seconds, 0.003);
  EXPECT_DOUBLE_EQ(share_of("update").seconds, 0.005);
}

TEST(Profile, AccountsForAllOfAStep) {
  EXPECT_NEAR(share_of("loss and calls").seconds, 0.09 - 0.071, 1e-12);
  double sum = 0.0;
  for (const ProfileShare& share : profile_shares(two_steps())) sum += share.seconds;
  EXPECT_NEAR(sum, 0.1, 1e-12);
}

TEST(Profile, ShowsTheLargestShareFirst) {
  const std::vector<ProfileShare> shares = profile_shares(two_steps());
  EXPECT_EQ(shares.front().kind, "convolution forward");
  EXPECT_TRUE(std::ranges::is_sorted(shares, std::greater<>(), &ProfileShare::seconds));
}

TEST(Profile, PrintsTimesSharesAndRates) {
  const std::string text = profile_text(two_steps());

  EXPECT_NE(text.find("a step takes 100.0 ms"), std::string::npos) << text;
  EXPECT_NE(text.find("convolution forward                30.00   30.0%       100     1.0\n"), std::string::npos) << text;
  EXPECT_NE(text.find("batch-norm                         20.00   20.0%              15.0\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace dtrain
