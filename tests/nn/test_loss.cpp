// Softmax cross-entropy against closed forms and finite differences, hits with ties, and logits that are huge or not numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "dtrain/loss.hpp"
#include "tests/nn/compiled_network.hpp"

namespace dtrain {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

LossSums loss_of(const std::vector<float>& logits, const std::vector<std::int32_t>& labels, std::int64_t classes,
                 float label_smoothing = 0.0f) {
  return softmax_cross_entropy(logits, labels, classes, label_smoothing, 1.0f, {});
}

std::vector<float> gradient_of(const std::vector<float>& logits, const std::vector<std::int32_t>& labels, std::int64_t classes,
                               float label_smoothing = 0.0f, float scale = 1.0f) {
  std::vector<float> diff(logits.size(), kNan);
  (void)softmax_cross_entropy(logits, labels, classes, label_smoothing, scale, diff);
  return diff;
}

TEST(SoftmaxCrossEntropy, OfEqualLogitsIsTheLogarithmOfTheClasses) {
  for (const std::int64_t classes : {1, 2, 10, 1000}) {
    const LossSums sums = loss_of(std::vector<float>(static_cast<std::size_t>(classes), 0.7f), {0}, classes);

    EXPECT_NEAR(sums.loss, std::log(static_cast<double>(classes)), 1e-12) << classes;
  }
}

TEST(SoftmaxCrossEntropy, OfTwoClassesIsTheLogisticLoss) {
  // −log(1/(1 + e^{−(a−b)})) = log(1 + e^{b−a})
  const LossSums sums = loss_of({2.0f, -1.0f, 2.0f, -1.0f}, {0, 1}, 2);

  EXPECT_NEAR(sums.loss, std::log1p(std::exp(-3.0)) + std::log1p(std::exp(3.0)), 1e-12);
  EXPECT_EQ(sums.samples, 2);
}

TEST(SoftmaxCrossEntropy, SmoothsLabelsTowardsTheUniformDistribution) {
  // q = (0.9 + 0.05, 0.05), p = (1/3, 2/3) for logits (0, log 2).
  const LossSums sums = loss_of({0.0f, std::log(2.0f)}, {0}, 2, 0.1f);

  // log 2 and 0.1 are rounded to float: 1e-7.
  EXPECT_NEAR(sums.loss, 0.95 * std::log(3.0) + 0.05 * std::log(1.5), 2e-7);
}

TEST(SoftmaxCrossEntropy, GradientIsProbabilityMinusTargetTimesScale) {
  const std::vector<float> diff = gradient_of({0.0f, std::log(2.0f), 0.0f}, {1}, 3, 0.3f, 0.5f);

  // p = (¼, ½, ¼), q = (0.1, 0.8, 0.1)
  EXPECT_NEAR(static_cast<double>(diff[0]), 0.5 * (0.25 - 0.1), kUlp);
  EXPECT_NEAR(static_cast<double>(diff[1]), 0.5 * (0.5 - 0.8), kUlp);
  EXPECT_NEAR(static_cast<double>(diff[2]), 0.5 * (0.25 - 0.1), kUlp);
}

TEST(SoftmaxCrossEntropy, GradientEqualsCentralDifferences) {
  constexpr std::int64_t kClasses = 7;
  const std::vector<float> logits = to_floats(random_values(3 * kClasses, 1));
  const std::vector<std::int32_t> labels{3, 0, 6};

  const std::vector<float> diff = gradient_of(logits, labels, kClasses, 0.1f, 0.25f);

  // Steps of 2⁻⁷ on logits below 4 are exact to 2⁻²³·4/2⁻⁷ = 6e-5 of the step; truncation h²/6·|L‴| ≤ (2⁻⁷)²/6 = 1e-5.
  for (std::size_t i = 0; i < logits.size(); ++i) {
    std::vector<float> up = logits, down = logits;
    up[i] += 0x1p-7f, down[i] -= 0x1p-7f;
    const double slope = (loss_of(up, labels, kClasses, 0.1f).loss - loss_of(down, labels, kClasses, 0.1f).loss) / 0x1p-6;
    EXPECT_NEAR(static_cast<double>(diff[i]), 0.25 * slope, 3e-5) << i;
  }
}

TEST(SoftmaxCrossEntropy, GradientOfEveryPictureSumsToZero) {
  const std::vector<float> diff = gradient_of(to_floats(random_values(2 * 50, 4)), {49, 7}, 50, 0.1f, 1.0f / 64.0f);

  for (const auto first : {diff.begin(), diff.begin() + 50}) {
    EXPECT_NEAR(std::accumulate(first, first + 50, 0.0), 0.0, 50 * kUlp / 64.0);
  }
}

TEST(SoftmaxCrossEntropy, IsTheSameWhetherItsGradientIsWantedOrNot) {
  const std::vector<float> logits{1.0f, 2.0f};
  std::vector<float> diff(2);

  const LossSums with_gradient = softmax_cross_entropy(logits, std::vector<std::int32_t>{0}, 2, 0.0f, 1.0f, diff);

  EXPECT_EQ(with_gradient.loss, loss_of(logits, {0}, 2).loss);
}

TEST(SoftmaxCrossEntropy, DoesNotOverflowForHugeLogits) {
  const std::vector<float> logits{3e38f, -3e38f, 3e38f};

  const LossSums sums = loss_of(logits, {0}, 3);
  const std::vector<float> diff = gradient_of(logits, {0}, 3);

  EXPECT_TRUE(std::isfinite(sums.loss));
  EXPECT_EQ(diff, (std::vector<float>{-0.5f, 0.0f, 0.5f}));
}

TEST(SoftmaxCrossEntropy, KeepsALossThatIsSmallBesideHugeLogits) {
  // Both logits are multiples of 2⁻³: exact in float. log Σ exp must not be rounded at the size of the logits.
  const LossSums sums = loss_of({100000.0f, 99999.0f}, {0}, 2);

  EXPECT_NEAR(sums.loss, std::log1p(std::exp(-1.0)), 1e-10);  // one half-ulp of 1e5 in double is 7e-12
}

TEST(SoftmaxCrossEntropy, OfNoPicturesIsNothing) {
  const LossSums sums = loss_of({}, {}, 10);

  EXPECT_EQ(sums.loss, 0.0);
  EXPECT_EQ(sums.samples, 0);
  EXPECT_EQ(sums.top1, 0);
  EXPECT_EQ(sums.top5, 0);
}

TEST(SoftmaxCrossEntropy, AddsUpOverCalls) {
  const std::vector<float> logits = to_floats(random_values(4 * 6, 9));
  const LossSums whole = loss_of(logits, {0, 1, 2, 3}, 6);

  LossSums parts = loss_of({logits.begin(), logits.begin() + 6}, {0}, 6);
  parts += loss_of({logits.begin() + 6, logits.end()}, {1, 2, 3}, 6);

  EXPECT_NEAR(parts.loss, whole.loss, 1e-12);
  EXPECT_EQ(parts.top1, whole.top1);
  EXPECT_EQ(parts.top5, whole.top5);
  EXPECT_EQ(parts.samples, whole.samples);
}

TEST(Hits, CountTheLargestAndTheFiveLargestLogits) {
  const std::vector<float> logits{7.0f, 6.0f, 5.0f, 4.0f, 3.0f, 2.0f, 1.0f};

  EXPECT_EQ(loss_of(logits, {0}, 7).top1, 1);
  EXPECT_EQ(loss_of(logits, {1}, 7).top1, 0);
  EXPECT_EQ(loss_of(logits, {4}, 7).top5, 1);
  EXPECT_EQ(loss_of(logits, {5}, 7).top5, 0);
}

TEST(Hits, GiveTiesToTheLowestClass) {
  const std::vector<float> equal(7, 1.0f);

  EXPECT_EQ(loss_of(equal, {0}, 7).top1, 1);
  EXPECT_EQ(loss_of(equal, {1}, 7).top1, 0);
  EXPECT_EQ(loss_of(equal, {4}, 7).top5, 1);
  EXPECT_EQ(loss_of(equal, {5}, 7).top5, 0);
}

TEST(Hits, AreCertainAmongFiveClassesOrFewer) { EXPECT_EQ(loss_of({5.0f, 1.0f, 2.0f}, {1}, 3).top5, 1); }

TEST(Hits, AreNeverGivenToLogitsThatAreNotNumbers) {
  for (const std::size_t place : {0u, 1u, 2u}) {
    for (const std::int32_t label : {0, 1, 2}) {
      std::vector<float> logits{1.0f, 2.0f, 3.0f};
      logits[place] = kNan;

      const LossSums sums = loss_of(logits, {label}, 3);

      EXPECT_EQ(sums.top1, 0) << place << ", label " << label;
      EXPECT_EQ(sums.top5, 0) << place << ", label " << label;
      EXPECT_TRUE(std::isnan(sums.loss)) << place << ", label " << label;
    }
  }
}

TEST(Hits, AreNeverGivenToAnInfiniteLogit) {
  const LossSums sums = loss_of({std::numeric_limits<float>::infinity(), 0.0f}, {0}, 2);

  EXPECT_EQ(sums.top1, 0);
  EXPECT_FALSE(std::isfinite(sums.loss));
}

TEST(TrainingLoss, AddsWeightedAuxiliaryLossesAndCountsHitsOfTheMainLogits) {
  constexpr std::int64_t kClasses = 6;
  const std::vector<NetworkOutput> outputs{{.node = 9}, {.node = 3, .loss_weight = 0.25f}, {.node = 5, .loss_weight = 0.5f}};
  const std::vector<std::int32_t> labels{2, 0};
  const std::vector<float> logits = to_floats(random_values(3 * 2 * kClasses, 8));
  std::vector<float> diff(logits.size(), kNan);

  const LossSums sums = training_loss(logits, labels, outputs, 0.1f, 0.125f, diff);

  const auto part = [&](std::ptrdiff_t k) {
    return std::vector<float>(logits.begin() + k * 2 * kClasses, logits.begin() + (k + 1) * 2 * kClasses);
  };
  const LossSums main = loss_of(part(0), labels, kClasses, 0.1f);
  EXPECT_EQ(sums.loss, main.loss);
  EXPECT_EQ(sums.top1, main.top1);
  EXPECT_EQ(sums.top5, main.top5);
  EXPECT_EQ(sums.samples, 2);
  EXPECT_EQ(sums.aux_loss,
            0.25 * loss_of(part(1), labels, kClasses, 0.1f).loss + 0.5 * loss_of(part(2), labels, kClasses, 0.1f).loss);
  std::vector<float> expected;
  for (std::ptrdiff_t k = 0; k < 3; ++k) {  // weights and scale are powers of two, whose products are exact
    const auto gradient =
        gradient_of(part(k), labels, kClasses, 0.1f, outputs[static_cast<std::size_t>(k)].loss_weight * 0.125f);
    expected.insert(expected.end(), gradient.begin(), gradient.end());
  }
  EXPECT_EQ(diff, expected);
}

TEST(TrainingLoss, AddsUpOverCalls) {
  LossSums sums{.loss = 1.0, .aux_loss = 0.5};
  sums += {.loss = 2.0, .aux_loss = 0.25};

  EXPECT_EQ(sums.loss, 3.0);
  EXPECT_EQ(sums.aux_loss, 0.75);
}

TEST(SoftmaxCrossEntropy, RefusesLabelsOutsideTheClassesAndShortBuffers) {
  EXPECT_THROW(loss_of({1.0f, 2.0f}, {2}, 2), std::logic_error);
  EXPECT_THROW(loss_of({1.0f, 2.0f}, {-1}, 2), std::logic_error);
  EXPECT_THROW(loss_of({1.0f, 2.0f}, {0, 1}, 2), std::logic_error);
  std::vector<float> too_short(1);
  EXPECT_THROW(
      (void)softmax_cross_entropy(std::vector<float>{1.0f, 2.0f}, std::vector<std::int32_t>{0}, 2, 0.0f, 1.0f, too_short),
      std::logic_error);
}

}  // namespace
}  // namespace dtrain
