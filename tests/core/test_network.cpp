// Shapes, parameters and operations that follow from a network's description.
#include <gtest/gtest.h>

#include <array>

#include "dtrain/error.hpp"
#include "dtrain/layers.hpp"
#include "tests/core/fixtures.hpp"

namespace dtrain {
namespace {

/// A network of one layer on single-channel square pictures.
NetworkSpec one_layer(const LayerSpec& layer, std::int64_t side) {
  return {.name = "one",
          .channels = 1,
          .height = side,
          .width = side,
          .num_classes = 1,
          .nodes = {{"layer", layer, {-1}}},
          .outputs = {{.node = 0}}};
}

std::string error_text(const NetworkSpec& network) {
  try {
    (void)output_shapes(network, 1);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(OutputShapes, FollowTheConvolutionFormula) {
  const auto side = [](std::int64_t extent, std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
    const Convolution conv{.out_channels = 6, .kernel = kernel, .stride = stride, .padding = padding};
    const Shape shape = output_shapes(one_layer(conv, extent), 2).front();
    EXPECT_EQ(shape, (Shape{2, 6, shape[2], shape[2]}));
    return shape[2];
  };

  EXPECT_EQ(side(224, 7, 2, 3), 112);
  EXPECT_EQ(side(225, 7, 2, 3), 113);
  EXPECT_EQ(side(28, 5, 1, 2), 28);
  EXPECT_EQ(side(5, 5, 1, 0), 1);
  EXPECT_EQ(side(1, 3, 2, 1), 1);
  EXPECT_EQ(side(8, 1, 2, 0), 4);
  EXPECT_EQ(side(7, 1, 2, 0), 4);
}

TEST(OutputShapes, FollowTheConvolutionFormulaInEachDirection) {
  const auto shape = [](Extent kernel, std::int64_t stride, Extent padding) {
    const Convolution conv{.out_channels = 6, .kernel = kernel, .stride = stride, .padding = padding};
    return output_shapes(one_layer(conv, 17), 2).front();
  };

  EXPECT_EQ(shape({1, 7}, 1, {0, 3}), (Shape{2, 6, 17, 17}));
  EXPECT_EQ(shape({7, 1}, 1, {3, 0}), (Shape{2, 6, 17, 17}));
  EXPECT_EQ(shape({1, 7}, 1, 0), (Shape{2, 6, 17, 11}));
  EXPECT_EQ(shape({7, 1}, 1, 0), (Shape{2, 6, 11, 17}));
  EXPECT_EQ(shape({3, 5}, 2, {1, 0}), (Shape{2, 6, 9, 7}));
  EXPECT_THROW((void)shape({1, 18}, 1, 0), ConfigError);
  EXPECT_THROW((void)shape({18, 1}, 1, {0, 9}), ConfigError);
}

/// A 3×3 convolution on 6 channels of 4×4 pixels.
NetworkSpec grouped(std::int64_t out_channels, std::int64_t groups) {
  NetworkSpec network = one_layer(Convolution{.out_channels = out_channels, .kernel = 3, .padding = 1, .groups = groups}, 4);
  network.channels = 6;
  return network;
}

TEST(OutputShapes, OfGroupedConvolutionsDivideTheWeightsInputsAmongGroups) {
  EXPECT_EQ(output_shapes(grouped(12, 3), 2).front(), (Shape{2, 12, 4, 4}));
  EXPECT_EQ(parameters_by_node(grouped(12, 3))[0].front().shape, (Shape{12, 2, 3, 3}));
  EXPECT_EQ(parameters_by_node(grouped(6, 6))[0].front().shape, (Shape{6, 1, 3, 3}));
  EXPECT_THROW((void)output_shapes(grouped(12, 4), 1), std::logic_error);  // 6 inputs in 4 groups
  EXPECT_THROW((void)output_shapes(grouped(7, 3), 1), std::logic_error);
  EXPECT_THROW((void)output_shapes(grouped(6, 0), 1), std::logic_error);
}

TEST(OutputShapes, OfAdaptivePoolsAreThoseAskedForWhateverThePicture) {
  const auto shape = [](std::int64_t extent, std::int64_t side) {
    return output_shapes(one_layer(AdaptiveAveragePool{.side = side}, extent), 2).front();
  };

  EXPECT_EQ(shape(7, 1), (Shape{2, 1, 1, 1}));
  EXPECT_EQ(shape(7, 7), (Shape{2, 1, 7, 7}));
  EXPECT_EQ(shape(13, 6), (Shape{2, 1, 6, 6}));
  EXPECT_EQ(shape(1, 6), (Shape{2, 1, 6, 6}));
}

TEST(OutputShapes, OfConcatenationsAddChannels) {
  NetworkSpec network{.name = "concat", .channels = 3, .height = 5, .width = 4, .num_classes = 1, .nodes = {}};
  network.nodes = {{"a", Convolution{.out_channels = 2}, {kNetworkInput}},
                   {"b", Convolution{.out_channels = 7}, {kNetworkInput}},
                   {"ab", Concat{}, {0, 1}},
                   {"all", Concat{}, {2, kNetworkInput, 0}},
                   {"bn", BatchNorm{}, {3}},
                   {"conv", Convolution{.out_channels = 1, .kernel = {1, 3}}, {3}}};

  const std::vector<Shape> shapes = output_shapes(network, 2);

  EXPECT_EQ(shapes[2], (Shape{2, 9, 5, 4}));
  EXPECT_EQ(shapes[3], (Shape{2, 14, 5, 4}));
  const auto parameters = parameters_by_node(network);
  EXPECT_TRUE(parameters[3].empty());
  EXPECT_EQ(parameters[4].front().shape, (Shape{14}));
  EXPECT_EQ(parameters[5].front().shape, (Shape{1, 14, 1, 3}));
}

TEST(OutputShapes, OfPoolsEqualPyTorchs) {
  // extent, kernel, stride, padding, output in floor mode, in ceil mode: torch.nn.functional.max_pool2d of PyTorch 1.13.
  constexpr std::array<std::array<std::int64_t, 6>, 48> kExpected{
      {{3, 2, 2, 0, 1, 2},     {4, 2, 2, 0, 2, 2},     {5, 2, 2, 0, 2, 3},    {6, 2, 2, 0, 3, 3},    {7, 2, 2, 0, 3, 4},
       {8, 2, 2, 0, 4, 4},     {13, 2, 2, 0, 6, 7},    {14, 2, 2, 0, 7, 7},   {3, 3, 2, 0, 1, 1},    {4, 3, 2, 0, 1, 2},
       {5, 3, 2, 0, 2, 2},     {6, 3, 2, 0, 2, 3},     {7, 3, 2, 0, 3, 3},    {8, 3, 2, 0, 3, 4},    {13, 3, 2, 0, 6, 6},
       {14, 3, 2, 0, 6, 7},    {3, 3, 2, 1, 2, 2},     {4, 3, 2, 1, 2, 3},    {5, 3, 2, 1, 3, 3},    {6, 3, 2, 1, 3, 4},
       {7, 3, 2, 1, 4, 4},     {8, 3, 2, 1, 4, 5},     {13, 3, 2, 1, 7, 7},   {14, 3, 2, 1, 7, 8},   {3, 2, 3, 0, 1, 1},
       {4, 2, 3, 0, 1, 2},     {5, 2, 3, 0, 2, 2},     {6, 2, 3, 0, 2, 2},    {7, 2, 3, 0, 2, 3},    {8, 2, 3, 0, 3, 3},
       {13, 2, 3, 0, 4, 5},    {14, 2, 3, 0, 5, 5},    {3, 2, 3, 1, 2, 2},    {4, 2, 3, 1, 2, 2},    {5, 2, 3, 1, 2, 2},
       {6, 2, 3, 1, 3, 3},     {7, 2, 3, 1, 3, 3},     {8, 2, 3, 1, 3, 3},    {13, 2, 3, 1, 5, 5},   {14, 2, 3, 1, 5, 5},
       {3, 3, 1, 1, 3, 3},     {4, 3, 1, 1, 4, 4},     {13, 3, 1, 1, 13, 13}, {14, 3, 1, 1, 14, 14}, {1, 3, 2, 1, 1, 1},
       {112, 3, 2, 1, 56, 57}, {113, 3, 2, 1, 57, 57}, {54, 3, 2, 0, 26, 27}}};
  for (const auto& [extent, kernel, stride, padding, floored, ceiled] : kExpected) {
    for (const bool ceil_mode : {false, true}) {
      const Pool pool{.kernel = kernel, .stride = stride, .padding = padding, .ceil_mode = ceil_mode};
      const Shape shape = output_shapes(one_layer(pool, extent), 1).front();
      EXPECT_EQ(shape[2], ceil_mode ? ceiled : floored)
          << "extent " << extent << ", kernel " << kernel << ", stride " << stride << ", padding " << padding;
    }
  }
}

TEST(OutputShapes, AcceptACeilModePoolWiderThanThePictureExactlyWherePyTorchDoes) {
  const auto pool = [](std::int64_t kernel, std::int64_t stride) {
    return Pool{.kernel = kernel, .stride = stride, .padding = 0, .ceil_mode = true};
  };

  EXPECT_EQ(output_shapes(one_layer(pool(3, 2), 2), 1).front()[2], 1);
  EXPECT_EQ(output_shapes(one_layer(pool(2, 3), 1), 1).front()[2], 1);
  EXPECT_EQ(output_shapes(one_layer(pool(4, 2), 3), 1).front()[2], 1);
  EXPECT_THROW((void)output_shapes(one_layer(pool(3, 2), 1), 1), ConfigError);
  EXPECT_THROW((void)output_shapes(one_layer(pool(4, 2), 2), 1), ConfigError);
  EXPECT_THROW((void)output_shapes(one_layer(pool(5, 2), 3), 1), ConfigError);
}

TEST(OutputShapes, CoverEveryKindOfLayer) {
  NetworkSpec network{.name = "all", .channels = 4, .height = 9, .width = 6, .num_classes = 7, .nodes = {}};
  network.nodes = {{"conv", Convolution{.out_channels = 8, .kernel = 3, .stride = 2, .padding = 1}, {kNetworkInput}},
                   {"bn", BatchNorm{}, {0}},
                   {"shortcut", PadShortcut{.out_channels = 8}, {kNetworkInput}},
                   {"add", Add{}, {1, 2}},
                   {"relu", Relu{}, {3}},
                   {"pool", Pool{.kind = Pool::Kind::average, .kernel = 3, .stride = 1, .padding = 0}, {4}},
                   {"dropout", Dropout{}, {5}},
                   {"concat", Concat{}, {6, 5, 6}},
                   {"avgpool", AdaptiveAveragePool{}, {7}},
                   {"flatten", Flatten{}, {8}},
                   {"fc", Linear{.out_features = 7}, {9}}};

  const std::vector<Shape> expected{{3, 8, 5, 3}, {3, 8, 5, 3},  {3, 8, 5, 3},  {3, 8, 5, 3}, {3, 8, 5, 3}, {3, 8, 3, 1},
                                    {3, 8, 3, 1}, {3, 24, 3, 1}, {3, 24, 1, 1}, {3, 24},      {3, 7}};
  EXPECT_EQ(output_shapes(network, 3), expected);
}

TEST(OutputShapes, FlattenMultipliesWhatIsLeft) {
  EXPECT_EQ(output_shapes(test::small_network(), 2)[4], (Shape{2, 5 * 4 * 4}));
}

TEST(OutputShapes, NameTheNodeItsInputAndTheSmallestPicture) {
  NetworkSpec network = one_layer(Convolution{.out_channels = 1, .kernel = 5, .stride = 2}, 8);
  network.nodes.push_back({"second", Convolution{.out_channels = 1, .kernel = 3}, {0}});

  const std::string text = error_text(network);

  // ⌊(8−5)/2⌋+1 = 2 < 3; the smallest side s has ⌊(s−5)/2⌋+1 ≥ 3: s = 9.
  EXPECT_NE(text.find("second"), std::string::npos) << text;
  EXPECT_NE(text.find("(1, 1, 2, 2)"), std::string::npos) << text;
  EXPECT_NE(text.find("at least 9×9"), std::string::npos) << text;
  network.height = network.width = 9;
  EXPECT_EQ(output_shapes(network, 1).back(), (Shape{1, 1, 1, 1}));
}

TEST(OutputShapes, RefuseMalformedDescriptions) {
  NetworkSpec unequal = one_layer(Convolution{.out_channels = 2, .kernel = 1}, 4);
  unequal.nodes.push_back({"add", Add{}, {0, kNetworkInput}});
  EXPECT_THROW((void)output_shapes(unequal, 1), std::logic_error);

  NetworkSpec forward_reference = one_layer(Relu{}, 4);
  forward_reference.nodes[0].inputs = {0};
  EXPECT_THROW((void)output_shapes(forward_reference, 1), std::logic_error);

  EXPECT_THROW((void)output_shapes(one_layer(Linear{.out_features = 2}, 4), 1), std::logic_error);
  EXPECT_THROW((void)output_shapes(one_layer(AdaptiveAveragePool{.side = 0}, 4), 1), std::logic_error);
  for (const Extent kernel : {Extent(0, 1), Extent(1, 0)}) {
    EXPECT_THROW((void)output_shapes(one_layer(Convolution{.out_channels = 1, .kernel = kernel}, 4), 1), std::logic_error);
  }
  for (const Extent padding : {Extent(-1, 0), Extent(0, -1)}) {
    EXPECT_THROW((void)output_shapes(one_layer(Convolution{.out_channels = 1, .padding = padding}, 4), 1), std::logic_error);
  }
}

TEST(OutputShapes, RefuseToConcatenateWhatDiffersInMoreThanChannels) {
  for (const Extent kernel : {Extent(2, 1), Extent(1, 2)}) {
    NetworkSpec smaller = one_layer(Convolution{.out_channels = 1, .kernel = kernel}, 4);
    smaller.nodes.push_back({"concat", Concat{}, {kNetworkInput, 0}});
    EXPECT_THROW((void)output_shapes(smaller, 1), std::logic_error);
  }

  NetworkSpec rows = one_layer(Flatten{}, 4);
  rows.nodes.push_back({"concat", Concat{}, {0, 0}});
  EXPECT_THROW((void)output_shapes(rows, 1), std::logic_error);
  rows.nodes.back().inputs = {kNetworkInput, 0};
  EXPECT_THROW((void)output_shapes(rows, 1), std::logic_error);

  NetworkSpec nothing = one_layer(Concat{}, 4);
  nothing.nodes.front().inputs.clear();
  EXPECT_THROW((void)output_shapes(nothing, 1), std::logic_error);
}

TEST(ParametersByNode, HaveTorchvisionsNamesShapesAndOrder) {
  NetworkSpec network = test::small_network();
  std::get<Convolution>(network.nodes[0].layer).has_bias = true;

  const auto by_node = parameters_by_node(network);

  using Kind = ParameterSpec::Kind;
  const std::vector<std::vector<ParameterSpec>> expected{
      {{"conv1.weight", {5, 2, 3, 3}, Kind::conv_weight}, {"conv1.bias", {5}, Kind::bias}},
      {{"bn1.weight", {5}, Kind::norm_weight},
       {"bn1.bias", {5}, Kind::norm_bias},
       {"bn1.running_mean", {5}, Kind::running_mean},
       {"bn1.running_var", {5}, Kind::running_var}},
      {},
      {},
      {},
      {{"fc.weight", {3, 80}, Kind::linear_weight}, {"fc.bias", {3}, Kind::bias}}};
  EXPECT_EQ(by_node, expected);
}

TEST(TensorNames, ListEveryTensorInExecutionOrder) {
  EXPECT_EQ(tensor_names(test::small_network()),
            (std::vector<std::string>{"conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
                                      "fc.weight", "fc.bias"}));
}

TEST(HeadTensorNames, AreThoseOfTheLastLayerBeforeEachOutputThatIsLinearOrAConvolution) {
  NetworkSpec convolutional = test::small_network();
  convolutional.nodes.push_back({"expand", Convolution{.out_channels = 3, .has_bias = true}, {2}});
  convolutional.nodes.push_back({"norm", BatchNorm{}, {6}});
  convolutional.outputs = {{.node = 7}};
  NetworkSpec two_heads = convolutional;
  two_heads.outputs.push_back({.node = 5, .loss_weight = 0.5f});

  EXPECT_EQ(head_tensor_names(test::small_network()), (std::vector<std::string>{"fc.weight", "fc.bias"}));
  EXPECT_EQ(head_tensor_names(convolutional), (std::vector<std::string>{"expand.weight", "expand.bias"}));
  EXPECT_EQ(head_tensor_names(two_heads), (std::vector<std::string>{"expand.weight", "expand.bias", "fc.weight", "fc.bias"}));
  EXPECT_TRUE(head_tensor_names(one_layer(Relu{}, 2)).empty());
}

TEST(ForwardFlops, CountTwoPerMultiplyAdd) {
  // conv: 2·3·3·2 per output of 5·8·8; linear: 2·80·3.
  EXPECT_EQ(forward_flops(test::small_network()), 2 * 9 * 2 * 5 * 64 + 2 * 80 * 3);
  // 2·1·3 per output of 5·4·2.
  EXPECT_EQ(forward_flops(one_layer(Convolution{.out_channels = 5, .kernel = {1, 3}}, 4)), 2 * 3 * 5 * 4 * 2);
}

TEST(ForwardFlops, CountTheInputsOfAGroupAlone) {
  // 2·3·3·2 per output of 12·4·4.
  EXPECT_EQ(forward_flops(grouped(12, 3)), 2 * 9 * 2 * 12 * 16);
}

TEST(TrainingFlops, CountTheGradientsOfWeightsAndOfInputsButNotOfPictures) {
  // The first convolution has no gradient of its input: twice its forward operations; the linear layer: three times.
  EXPECT_EQ(training_flops(test::small_network()), 2 * (2 * 9 * 2 * 5 * 64) + 3 * (2 * 80 * 3));
}

TEST(TrainingFlops, LeaveOutTheInputsOfEveryLayerThatReadsPicturesHoweverIndirectly) {
  NetworkSpec network{.name = "stems", .channels = 3, .height = 4, .width = 4, .num_classes = 1, .nodes = {}};
  network.nodes = {{"pool", Pool{.kernel = 2, .stride = 2}, {kNetworkInput}},
                   {"left", Convolution{.out_channels = 5}, {0}},
                   {"right", Convolution{.out_channels = 7}, {0}},
                   {"both", Concat{}, {1, 2}},
                   {"mixed", Concat{}, {3, 0}},
                   {"last", Convolution{.out_channels = 2}, {4}}};

  // Per pixel of 2·2: left 2·3·5 and right 2·3·7, two times; last 2·(5 + 7 + 3)·2, three times.
  EXPECT_EQ(training_flops(network), 4 * (2 * (30 + 42) + 3 * 60));
}

TEST(ActivationElements, CountEveryResultThatIsNotMadeInPlace) {
  // conv and batch-norm 5·8·8 each, pool 5·4·4, linear 3; ReLU and Flatten nothing.
  EXPECT_EQ(activation_elements(test::small_network()), 2 * 5 * 64 + 5 * 16 + 3);
}

}  // namespace
}  // namespace dtrain
