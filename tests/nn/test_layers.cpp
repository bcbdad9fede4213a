// The layers without a file of their own against plain loops: linear, ReLU, add, flatten, padded shortcut; and the small
// networks in which results have several readers.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

Convolution biased_1x1(std::int64_t channels) { return {.out_channels = channels, .kernel = 1, .has_bias = true}; }

TEST(Linear, EqualsPlainLoopsForFeaturesThatFillVectorsOrNot) {
  for (const std::int64_t hidden : {1, 10, 16, 37, 64}) {
    for (const std::int64_t batch : {1, 3, 16}) {
      NetworkBuilder net(network_head(2, 3));
      net.append_behind(kNetworkInput, "flatten", Flatten{});
      net.append("fc1", Linear{.out_features = hidden});
      net.append("fc2", Linear{.out_features = 10});
      const NetworkSpec network = finish_with_features(std::move(net));

      expect_matches_reference(network, {.batch = batch});
      expect_evaluation_matches_reference(network, {.batch = batch});
    }
  }
}

TEST(Linear, ReadsPicturesChannelByChannelWhateverTheLayoutInFront) {
  for (const std::int64_t channels : {5, 16, 24}) {
    for (const std::int64_t side : {1, 4}) {  // with one pixel, channels in blocks lie as channels in a row do
      NetworkBuilder net(network_head(3, side));
      net.append("conv", biased_1x1(channels));
      net.append("bn", BatchNorm{});
      net.append("flatten", Flatten{});
      net.append("fc", Linear{.out_features = 7});
      const NetworkSpec network = finish_with_features(std::move(net));

      expect_matches_reference(network, {.batch = 4});
      expect_evaluation_matches_reference(network, {.batch = 4});
    }
  }
}

TEST(Relu, EqualsPlainLoopsBehindConvolutionAndLinear) {
  for (const float ceiling : {kNoCeiling, 0.5f}) {
    for (const std::int64_t channels : {5, 16}) {
      NetworkBuilder net(network_head(3, 5));
      net.append("conv", biased_1x1(channels));
      net.append("relu1", Relu{.ceiling = ceiling});
      net.append("flatten", Flatten{});
      net.append("fc", Linear{.out_features = 9});
      net.append("relu2", Relu{.ceiling = ceiling});
      const NetworkSpec network = finish_with_features(std::move(net));

      expect_matches_reference(network, {.batch = 3});
      expect_evaluation_matches_reference(network, {.batch = 3});
    }
  }
}

TEST(Relu, PassesGradientsStrictlyBetweenZeroAndItsCeiling) {
  NetworkBuilder net(network_head(1, 1));
  net.append("fc", Flatten{});
  net.append("scale", Linear{.out_features = 8});
  net.append("relu", Relu{.ceiling = 6.0f});
  const NetworkSpec network = finish_with_features(std::move(net));
  const float infinity = std::numeric_limits<float>::infinity();
  // All of them bf16 numbers.
  const std::vector<double> biases{-1.0, 0.0, 0x1p-7, 3.0, 5.96875, 6.0, 6.03125, 100.0};
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    if (precision == Precision::bf16 && bf16_support() == Bf16Support::none) continue;
    CompiledNetwork compiled(network, {.batch = 1, .precision = precision},
                             {{"scale.weight", std::vector<double>(8, 1.0)}, {"scale.bias", biases}});

    const std::vector<float> logits = compiled.forward({0.0});
    compiled.backward(std::vector<double>(8, 2.0));

    EXPECT_EQ(logits, (std::vector<float>{0, 0, 0x1p-7f, 3, 5.96875f, 6, 6, 6}));
    EXPECT_EQ(plain_gradient(compiled.store(), "scale.bias"), (std::vector<float>{0, 0, 2, 2, 2, 0, 0, 0}));
    EXPECT_EQ(compiled.forward({static_cast<double>(infinity)}), std::vector<float>(8, 6.0f));
    EXPECT_TRUE(std::isnan(compiled.forward({std::nan("")})[0])) << "a diverged run must show in its loss";
  }
}

TEST(Add, EqualsPlainLoopsWithAndWithoutRelu) {
  for (const std::int64_t channels : {5, 16, 24}) {
    for (const bool has_relu : {false, true}) {
      NetworkBuilder net(network_head(3, 5));
      const LayerIndex a = net.append_behind(kNetworkInput, "a", biased_1x1(channels));
      const LayerIndex b =
          net.append_behind(kNetworkInput, "b", Convolution{.out_channels = channels, .kernel = 3, .padding = 1});
      net.add("add", a, b);
      if (has_relu) net.append("relu", Relu{});
      const NetworkSpec network = finish_with_features(std::move(net));

      expect_matches_reference(network, {.batch = 2});
      expect_evaluation_matches_reference(network, {.batch = 2});
    }
  }
}

TEST(Add, OfFeaturesEqualsPlainLoops) {
  NetworkBuilder net(network_head(2, 3));
  const LayerIndex features = net.append_behind(kNetworkInput, "flatten", Flatten{});
  const LayerIndex a = net.append_behind(features, "fc_a", Linear{.out_features = 11});
  const LayerIndex b = net.append_behind(features, "fc_b", Linear{.out_features = 11});
  net.add("add", a, b);
  net.append("relu", Relu{});
  const NetworkSpec network = finish_with_features(std::move(net));

  expect_matches_reference(network, {.batch = 3});
  expect_evaluation_matches_reference(network, {.batch = 3});
}

TEST(Flatten, OfPicturesIsRowMajor) {
  NetworkBuilder net(network_head(2, 2));
  net.append_behind(kNetworkInput, "flatten", Flatten{});
  const NetworkSpec network = finish_with_features(std::move(net));
  CompiledNetwork compiled(network, {.batch = 2}, {});

  const std::vector<float> logits = compiled.forward({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});

  EXPECT_EQ(logits, (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}));
}

TEST(PadShortcut, EqualsPlainLoopsForOddAndEvenSides) {
  for (const std::int64_t channels : {4, 16}) {
    for (const std::int64_t side : {1, 4, 7}) {
      NetworkBuilder net(network_head(3, side));
      net.append("conv", biased_1x1(channels));
      net.append("shortcut", PadShortcut{.out_channels = 2 * channels});
      const NetworkSpec network = finish_with_features(std::move(net));

      expect_matches_reference(network, {.batch = 2});
      expect_evaluation_matches_reference(network, {.batch = 2});
    }
  }
}

TEST(SmallNetworks, EqualPlainLoopsInTraining) {
  for (const NetworkSpec& network : small_networks()) {
    if (network.name == "dropouts") continue;  // random: test_dropout.cpp
    SCOPED_TRACE(network.name);
    expect_matches_reference(network, {.batch = 4});
  }
}

TEST(SmallNetworks, EqualPlainLoopsInEvaluation) {
  for (const NetworkSpec& network : small_networks()) {
    SCOPED_TRACE(network.name);
    expect_evaluation_matches_reference(network, {.batch = 3});
  }
}

}  // namespace
}  // namespace dtrain
