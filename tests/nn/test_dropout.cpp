// Dropout masks: how many, which, what they depend on, and that backward uses the same ones. A linear layer with weights 0 and
// bias 1 in front makes every input of the dropout 1, so that the logits show the mask.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kFeatures = 1000;

NetworkSpec ones_dropped(float probability) {
  NetworkBuilder net(network_head(1, 2));
  net.append_behind(kNetworkInput, "flatten", Flatten{});
  net.append("ones", Linear{.out_features = kFeatures});
  net.append("dropout", Dropout{.probability = probability});
  return finish_with_features(std::move(net));
}

NamedTensors ones() {
  return {{"ones.weight", std::vector<double>(kFeatures * 4, 0.0)}, {"ones.bias", std::vector<double>(kFeatures, 1.0)}};
}

/// The mask times 1/(1−p) for `batch` pictures.
std::vector<float> mask(float probability, std::int64_t batch, const PassOptions& pass, std::uint64_t seed = 1) {
  CompiledNetwork compiled(ones_dropped(probability), {.batch = batch, .seed = seed}, ones());
  return compiled.forward(std::vector<double>(static_cast<std::size_t>(batch) * 4, 0.5), pass);
}

TEST(Dropout, ZeroesTheAskedShareAndScalesTheRest) {
  for (const float probability : {0.25f, 0.5f, 0.75f}) {
    const std::vector<float> values = mask(probability, 8, {});

    double dropped = 0.0;
    for (const float value : values) {
      if (value == 0.0f) {
        dropped += 1.0;
      } else {
        ASSERT_EQ(value, 1.0f / (1.0f - probability));
      }
    }
    // 8000 trials: five standard deviations, exceeded once in 10⁶.
    const auto p = static_cast<double>(probability);
    EXPECT_NEAR(dropped, 8000.0 * p, 5.0 * std::sqrt(8000.0 * p * (1.0 - p)));
  }
}

TEST(Dropout, OfProbabilityZeroKeepsAll) { EXPECT_EQ(mask(0.0f, 2, {}), std::vector<float>(2 * kFeatures, 1.0f)); }

TEST(Dropout, DrawsTheSameMaskForTheSameSeedAndStep) {
  EXPECT_EQ(mask(0.5f, 4, {.step = 7, .first_sample = 12}), mask(0.5f, 4, {.step = 7, .first_sample = 12}));
}

TEST(Dropout, DrawsAnotherMaskForAnotherSeedStepOrPicture) {
  const std::vector<float> first = mask(0.5f, 1, {.step = 3});

  EXPECT_NE(mask(0.5f, 1, {.step = 4}), first);
  EXPECT_NE(mask(0.5f, 1, {.step = 3, .first_sample = 1}), first);
  EXPECT_NE(mask(0.5f, 1, {.step = 3}, 2), first);
}

TEST(Dropout, GivesAPictureItsMaskWhateverTheMicroBatches) {
  const std::vector<float> whole = mask(0.5f, 4, {.step = 2, .first_sample = 8});

  std::vector<float> parts = mask(0.5f, 3, {.step = 2, .first_sample = 8});
  const std::vector<float> rest = mask(0.5f, 1, {.step = 2, .first_sample = 11, .is_first_micro_batch = false});
  parts.insert(parts.end(), rest.begin(), rest.end());

  EXPECT_EQ(parts, whole);
}

TEST(Dropout, GivesBlocksOfChannelsTheirMaskWhateverTheMicroBatches) {
  NetworkBuilder net(network_head(1, 4));
  net.append("ones", Convolution{.out_channels = 5, .kernel = 1, .has_bias = true});
  net.append("dropout", Dropout{.probability = 0.5f});
  const NetworkSpec network = finish_with_features(std::move(net));
  const NamedTensors parameters{{"ones.weight", std::vector<double>(5, 0.0)}, {"ones.bias", std::vector<double>(5, 1.0)}};
  const auto masks = [&](std::int64_t batch, std::int64_t first_sample) {
    CompiledNetwork compiled(network, {.batch = batch}, parameters);
    return compiled.forward(std::vector<double>(static_cast<std::size_t>(batch) * 16, 0.5), {.first_sample = first_sample});
  };

  const std::vector<float> whole = masks(6, 0);

  std::vector<float> parts;
  for (std::int64_t first = 0; first < 6; first += 2) {
    const std::vector<float> part = masks(2, first);
    parts.insert(parts.end(), part.begin(), part.end());
  }
  EXPECT_EQ(parts, whole);
}

TEST(Dropout, DrawsAMaskOfItsOwnInEachLayer) {
  // The second layer doubles what the first kept: 4 where both kept, 0 elsewhere. With equal masks half would be 4.
  NetworkBuilder net(network_head(1, 2));
  net.append_behind(kNetworkInput, "flatten", Flatten{});
  net.append("ones", Linear{.out_features = kFeatures});
  net.append("dropout1", Dropout{.probability = 0.5f});
  net.append("dropout2", Dropout{.probability = 0.5f});
  CompiledNetwork compiled(finish_with_features(std::move(net)), {.batch = 8}, ones());

  const std::vector<float> values = compiled.forward(std::vector<double>(32, 0.5));

  double kept = 0.0;
  for (const float value : values) kept += value == 4.0f ? 1.0 : 0.0;
  EXPECT_NEAR(kept, 2000.0, 5.0 * std::sqrt(8000.0 * 0.25 * 0.75));
}

TEST(Dropout, MasksTheGradientAsItMaskedTheResult) {
  CompiledNetwork compiled(ones_dropped(0.25f), {.batch = 4}, ones());
  const std::vector<double> diff_logits = random_values(4 * kFeatures, 3);

  const std::vector<float> values = compiled.forward(std::vector<double>(16, 0.5), {.step = 5});
  compiled.backward(diff_logits);

  std::vector<double> expected(kFeatures, 0.0);  // of the bias: Σ over pictures of mask·r/(1−p); the logits are mask/(1−p)
  for (std::size_t i = 0; i < values.size(); ++i) expected[i % kFeatures] += static_cast<double>(values[i]) * diff_logits[i];
  expect_close(plain_gradient(compiled.store(), "ones.bias"), expected, 4 * kUlp, "gradient of the bias");
}

TEST(Dropout, MasksTheGradientOfTheForwardBeforeItEvenWhenStepsAlternate) {
  CompiledNetwork compiled(ones_dropped(0.5f), {.batch = 1}, ones());
  const std::vector<double> diff_logits(kFeatures, 1.0);

  (void)compiled.forward(std::vector<double>(4, 0.5), {.step = 1});
  const std::vector<float> second = compiled.forward(std::vector<double>(4, 0.5), {.step = 2});
  compiled.backward(diff_logits);

  EXPECT_EQ(plain_gradient(compiled.store(), "ones.bias"), second);
}

TEST(Dropout, IsTheIdentityInEvaluation) {
  CompiledNetwork compiled(ones_dropped(0.5f), {.batch = 3, .training = false}, ones());

  EXPECT_EQ(compiled.forward(std::vector<double>(12, 0.5)), std::vector<float>(3 * kFeatures, 1.0f));
}

}  // namespace
}  // namespace dtrain
