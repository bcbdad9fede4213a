// Convolution against plain loops, forward and backward, over kernels, strides and channel counts that fill vectors or do not.
#include <gtest/gtest.h>

#include <ostream>
#include <string>

#include "src/nn/onednn.hpp"
#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

struct ConvolutionShape {
  std::string name;
  std::int64_t in_channels = 0;
  std::int64_t side = 0;
  Convolution layer;
};

void PrintTo(const ConvolutionShape& c, std::ostream* out) { *out << c.name; }

/// The layer alone, reading the pictures as a network's first convolution does.
NetworkSpec on_pictures(const ConvolutionShape& c) {
  NetworkBuilder net(network_head(c.in_channels, c.side));
  net.append("conv", c.layer);
  return finish_with_features(std::move(net));
}

/// The layer behind a 1×1 convolution, whose gradients are functions of the layer's data gradient.
NetworkSpec behind_another(const ConvolutionShape& c) {
  NetworkBuilder net(network_head(4, c.side));
  net.append("front", Convolution{.out_channels = c.in_channels, .kernel = 1, .has_bias = true});
  net.append("conv", c.layer);
  return finish_with_features(std::move(net));
}

class ConvolutionCase : public testing::TestWithParam<ConvolutionShape> {};

TEST_P(ConvolutionCase, EqualsPlainLoopsOnPictures) {
  expect_matches_reference(on_pictures(GetParam()), {.batch = 2, .conv_algorithm = ConvAlgorithm::direct});
}

TEST_P(ConvolutionCase, GivesTheLayerInFrontItsGradient) {
  expect_matches_reference(behind_another(GetParam()), {.batch = 2, .conv_algorithm = ConvAlgorithm::direct});
}

TEST_P(ConvolutionCase, EqualsPlainLoopsInEvaluation) {
  expect_evaluation_matches_reference(behind_another(GetParam()), {.batch = 3, .conv_algorithm = ConvAlgorithm::direct});
}

std::vector<ConvolutionShape> convolution_cases() {
  std::vector<ConvolutionShape> cases;
  struct Window {
    const char* name;
    std::int64_t kernel, stride, padding, side;
  };
  const Window windows[] = {{"1x1", 1, 1, 0, 5},          {"1x1_stride2", 1, 2, 0, 7}, {"3x3", 3, 1, 1, 6},
                            {"3x3_unpadded", 3, 1, 0, 6}, {"3x3_stride2", 3, 2, 1, 7}, {"5x5", 5, 1, 2, 7},
                            {"7x7_stride2", 7, 2, 3, 11}};
  const std::pair<std::int64_t, std::int64_t> channels[] = {{3, 5}, {6, 16}, {20, 24}, {16, 32}, {1, 8}};
  for (const Window& window : windows) {
    for (const auto& [in, out] : channels) {
      for (const bool has_bias : {false, true}) {
        cases.push_back(
            {std::string(window.name) + "_" + std::to_string(in) + "to" + std::to_string(out) + (has_bias ? "_bias" : ""), in,
             window.side,
             Convolution{.out_channels = out,
                         .kernel = window.kernel,
                         .stride = window.stride,
                         .padding = window.padding,
                         .has_bias = has_bias}});
      }
    }
  }
  return cases;
}

std::vector<ConvolutionShape> grouped_cases() {
  std::vector<ConvolutionShape> cases;
  struct Groups {
    std::int64_t in, out, groups;
  };
  // Depthwise with channels that fill blocks or do not, with two results a channel, and groups of several channels.
  for (const Groups& g : {Groups{32, 32, 32}, {24, 24, 24}, {5, 5, 5}, {16, 32, 16}, {32, 64, 2}, {12, 6, 3}}) {
    for (const std::int64_t stride : {1, 2}) {
      for (const std::int64_t kernel : {1, 3, 5}) {
        cases.push_back({std::to_string(kernel) + "x" + std::to_string(kernel) + (stride == 2 ? "_stride2" : "") + "_" +
                             std::to_string(g.in) + "to" + std::to_string(g.out) + "_in_" + std::to_string(g.groups) +
                             "_groups",
                         g.in, 7,
                         Convolution{.out_channels = g.out,
                                     .kernel = kernel,
                                     .stride = stride,
                                     .padding = kernel / 2,
                                     .groups = g.groups,
                                     .has_bias = stride == 2}});
      }
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Groups, ConvolutionCase, testing::ValuesIn(grouped_cases()),
                         [](const testing::TestParamInfo<ConvolutionShape>& tested) { return tested.param.name; });

INSTANTIATE_TEST_SUITE_P(Shapes, ConvolutionCase, testing::ValuesIn(convolution_cases()),
                         [](const testing::TestParamInfo<ConvolutionShape>& tested) { return tested.param.name; });

// Winograd F(4×4, 3×3) adds and subtracts with factors up to 5 (input) and 8 (output) before the products are summed: worst
// case ‖Aᵀ‖∞²·‖Bᵀ‖∞²·‖G‖∞² = 19²·10²·1² = 36 100 ulps, and, errors being independent, near the root of that, 190. Hence 256
// ulps on logits; gradients pass through two such transforms.
constexpr Tolerances kWinograd{.logits = 256 * kUlp, .gradients = 512 * kUlp};

/// 3 pictures of 14×14 have 3·4·4 = 48 tiles, 4 of which reach over the border: the least for which Winograd is chosen.
const ConvolutionShape kEnoughTiles{"winograd", 16, 14,
                                    Convolution{.out_channels = 32, .kernel = 3, .stride = 1, .padding = 1}};

/// Asks oneDNN for that convolution: 2.6 has Winograd for AVX-512, 3 on x86 has none.
bool has_winograd() {
  const nn::Device device;
  const dnnl::primitive_attr attributes;
  try {
    nn::describe_primitive<dnnl::convolution_forward>({device.engine, attributes}, dnnl::prop_kind::forward_training,
                                                      dnnl::algorithm::convolution_winograd, nn::any_desc({3, 16, 14, 14}),
                                                      nn::any_desc({32, 16, 3, 3}), nn::any_desc({3, 32, 14, 14}),
                                                      nn::Dims{1, 1}, nn::Dims{1, 1}, nn::Dims{1, 1});
    return true;
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) throw;
    return false;
  }
}

TEST(ConvolutionWinograd, IsChosenForEnoughTilesAndNeverWhenDirectIsAsked) {
  const NetworkSpec network = on_pictures(kEnoughTiles);
  const auto description = [&](const CompileOptions& options) {
    return CompiledNetwork(network, options, random_parameters(network, 1)).graph().describe();
  };

  const std::string enough = description({.batch = 3});
  const std::string too_few = description({.batch = 2});
  const std::string direct = description({.batch = 3, .conv_algorithm = ConvAlgorithm::direct});

  EXPECT_EQ(enough.find("wino") != std::string::npos, has_winograd()) << enough;
  EXPECT_EQ(too_few.find("wino"), std::string::npos) << too_few;
  EXPECT_EQ(direct.find("wino"), std::string::npos) << direct;
}

TEST(ConvolutionWinograd, EqualsPlainLoops) { expect_matches_reference(on_pictures(kEnoughTiles), {.batch = 3}, kWinograd); }

TEST(ConvolutionWinograd, EqualsPlainLoopsWithBiasAndGivesTheLayerInFrontItsGradient) {
  ConvolutionShape biased = kEnoughTiles;
  biased.layer.has_bias = true;
  expect_matches_reference(behind_another(biased), {.batch = 3}, kWinograd);
}

TEST(ConvolutionWinograd, EqualsPlainLoopsInEvaluation) {
  expect_evaluation_matches_reference(behind_another(kEnoughTiles), {.batch = 3}, kWinograd);
}

/// Tiles of 4 pictures take more scratch than Winograd may have, those of one are enough to be fast.
const ConvolutionShape kMuchScratch{"in parts", 64, 112,
                                    Convolution{.out_channels = 128, .kernel = 3, .padding = 1, .has_bias = true}};
/// The same for gradients of weights.
const ConvolutionShape kMuchScratchForWeights{"weights in parts", 256, 56,
                                              Convolution{.out_channels = 256, .kernel = 3, .padding = 1, .has_bias = true}};

TEST(ConvolutionWinograd, RunsOnFewerPicturesAtATimeWhereItsTilesTakeMuchMemory) {
  if (!has_winograd()) GTEST_SKIP() << "this oneDNN has no Winograd for this CPU";
  bool has_parts = false;
  for (const ConvolutionShape& shape : {kMuchScratch, kMuchScratchForWeights}) {
    const NetworkSpec network = behind_another(shape);
    const NamedTensors parameters = random_parameters(network, 1);
    const std::vector<double> pictures = random_values(picture_elements(network, 4), 2);
    const std::vector<double> diff_logits = random_values(4 * network.num_classes, 3);
    // Two micro-batches, the second of which adds its gradients.
    const auto step = [&](CompiledNetwork& compiled) {
      const std::vector<float> logits = compiled.forward(pictures);
      compiled.backward(diff_logits);
      (void)compiled.forward(pictures, {.is_first_micro_batch = false});
      compiled.backward(diff_logits);
      return logits;
    };
    CompiledNetwork direct(network, {.batch = 4, .conv_algorithm = ConvAlgorithm::direct}, parameters);
    CompiledNetwork in_parts(network, {.batch = 4}, parameters);
    // On CPUs with large caches oneDNN transforms a few tiles at a time by itself.
    has_parts = has_parts || in_parts.graph().describe().find("pictures at a time") != std::string::npos;

    const std::vector<float> expected = step(direct);
    expect_close(step(in_parts), {expected.begin(), expected.end()}, kWinograd.logits, shape.name + ": logits");
    const auto gradients = plain_gradients(in_parts.store());
    for (const auto& [name, gradient] : plain_gradients(direct.store())) {
      expect_close(gradients.at(name), {gradient.begin(), gradient.end()}, kWinograd.gradients, shape.name + ": " + name);
    }
  }
  if (!has_parts) GTEST_SKIP() << "on this CPU Winograd takes little memory: the results are right, but not of parts";
}

TEST(ConvolutionWinograd, AddsUpTheGradientsOfItsPartsWithoutMicroBatches) {
  if (!has_winograd()) GTEST_SKIP() << "this oneDNN has no Winograd for this CPU";
  const NetworkSpec network = behind_another(kMuchScratchForWeights);
  const NamedTensors parameters = random_parameters(network, 1);
  const auto gradients = [&](bool accumulates) {
    CompiledNetwork compiled(network, {.batch = 4, .accumulates = accumulates}, parameters);
    (void)compiled.forward(random_values(picture_elements(network, 4), 2));
    compiled.backward(random_values(4 * network.num_classes, 3));
    return plain_gradients(compiled.store());
  };

  EXPECT_EQ(gradients(false), gradients(true));
}

}  // namespace
}  // namespace dtrain
