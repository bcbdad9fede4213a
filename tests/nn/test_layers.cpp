// The layers without a file of their own against plain loops: linear, ReLU, add, flatten, padded shortcut; and the small
// networks in which results have several readers.
#include <gtest/gtest.h>

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
  for (const std::int64_t channels : {5, 16}) {
    NetworkBuilder net(network_head(3, 5));
    net.append("conv", biased_1x1(channels));
    net.append("relu1", Relu{});
    net.append("flatten", Flatten{});
    net.append("fc", Linear{.out_features = 9});
    net.append("relu2", Relu{});
    const NetworkSpec network = finish_with_features(std::move(net));

    expect_matches_reference(network, {.batch = 3});
    expect_evaluation_matches_reference(network, {.batch = 3});
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
