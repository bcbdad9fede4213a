// How the published networks are wired: shapes along the way, and which node reads which.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include "dtrain/models.hpp"

namespace dtrain {
namespace {

const Node& find_node(const NetworkSpec& network, const std::string& name) {
  for (const Node& node : network.nodes) {
    if (node.name == name) return node;
  }
  throw std::out_of_range(network.name + " has no node " + name);
}

LayerIndex index_of(const NetworkSpec& network, const std::string& name) {
  return static_cast<LayerIndex>(&find_node(network, name) - network.nodes.data());
}

TEST(Wiring, OfResNet50GivesTorchvisionsShapesAtAnyPictureSize) {
  // Output shapes of torchvision.models.resnet50 for 224, 225 and 33 pixels.
  const std::map<std::int64_t, std::vector<std::int64_t>> sides{
      {224, {112, 56, 56, 28, 14, 7}}, {225, {113, 57, 57, 29, 15, 8}}, {33, {17, 9, 9, 5, 3, 2}}};
  for (const auto& [image_size, expected] : sides) {
    const NetworkSpec network = build_model("resnet50", {.image_size = image_size});
    const std::vector<Shape> shapes = output_shapes(network, 2);
    const auto shape = [&](const std::string& name) { return shapes[static_cast<std::size_t>(index_of(network, name))]; };
    EXPECT_EQ(shape("conv1"), (Shape{2, 64, expected[0], expected[0]}));
    EXPECT_EQ(shape("maxpool"), (Shape{2, 64, expected[1], expected[1]}));
    EXPECT_EQ(shape("layer1.2.relu"), (Shape{2, 256, expected[2], expected[2]}));
    EXPECT_EQ(shape("layer2.0.conv2"), (Shape{2, 128, expected[3], expected[3]}));
    EXPECT_EQ(shape("layer2.3.relu"), (Shape{2, 512, expected[3], expected[3]}));
    EXPECT_EQ(shape("layer3.5.relu"), (Shape{2, 1024, expected[4], expected[4]}));
    EXPECT_EQ(shape("layer4.2.relu"), (Shape{2, 2048, expected[5], expected[5]}));
    EXPECT_EQ(shape("avgpool"), (Shape{2, 2048, 1, 1}));
  }
}

TEST(Wiring, OfBranchesGivesTorchvisionsShapes) {
  // Output shapes of torchvision's modules for one picture of the models' own sizes.
  const std::map<std::string, std::map<std::string, Shape>> expected{
      {"densenet121",
       {{"features.pool0", {1, 64, 56, 56}},
        {"features.denseblock1.denselayer1.conv2", {1, 32, 56, 56}},
        {"features.denseblock1.denselayer6.norm1", {1, 224, 56, 56}},
        {"features.denseblock1.concat", {1, 256, 56, 56}},
        {"features.transition1.pool", {1, 128, 28, 28}},
        {"features.transition2.pool", {1, 256, 14, 14}},
        {"features.transition3.pool", {1, 512, 7, 7}},
        {"features.norm5", {1, 1024, 7, 7}}}},
      {"inception_v3",
       {{"Conv2d_2b_3x3.relu", {1, 64, 147, 147}},
        {"maxpool2", {1, 192, 35, 35}},
        {"Mixed_5b.concat", {1, 256, 35, 35}},
        {"Mixed_5d.concat", {1, 288, 35, 35}},
        {"Mixed_6a.concat", {1, 768, 17, 17}},
        {"Mixed_6b.branch7x7_2.conv", {1, 128, 17, 17}},
        {"Mixed_6e.concat", {1, 768, 17, 17}},
        {"Mixed_7a.concat", {1, 1280, 8, 8}},
        {"Mixed_7b.branch3x3_2b.conv", {1, 384, 8, 8}},
        {"Mixed_7c.concat", {1, 2048, 8, 8}}}},
      {"googlenet",
       {{"conv1.relu", {1, 64, 112, 112}},
        {"maxpool1", {1, 64, 56, 56}},
        {"maxpool2", {1, 192, 28, 28}},
        {"inception3a.concat", {1, 256, 28, 28}},
        {"inception3b.concat", {1, 480, 28, 28}},
        {"maxpool3", {1, 480, 14, 14}},
        {"inception4e.concat", {1, 832, 14, 14}},
        {"maxpool4", {1, 832, 7, 7}},
        {"inception5b.concat", {1, 1024, 7, 7}}}},
      {"squeezenet1_0",
       {{"features.0", {1, 96, 109, 109}},
        {"features.2", {1, 96, 54, 54}},
        {"features.6", {1, 256, 27, 27}},
        {"features.11", {1, 512, 13, 13}},
        {"features.12.concat", {1, 512, 13, 13}}}},
      {"squeezenet1_1",
       {{"features.0", {1, 64, 111, 111}}, {"features.2", {1, 64, 55, 55}}, {"features.12.concat", {1, 512, 13, 13}}}},
      {"mobilenet_v2",
       {{"features.0.2", {1, 32, 112, 112}},
        {"features.1.conv.0.0", {1, 32, 112, 112}},
        {"features.2.conv.0.2", {1, 96, 112, 112}},
        {"features.2.conv.1.2", {1, 96, 56, 56}},
        {"features.3.add", {1, 24, 56, 56}},
        {"features.7.conv.3", {1, 64, 14, 14}},
        {"features.14.conv.3", {1, 160, 7, 7}},
        {"features.17.conv.3", {1, 320, 7, 7}},
        {"features.18.2", {1, 1280, 7, 7}}}},
      {"alexnet", {{"features.0", {1, 64, 55, 55}}, {"features.12", {1, 256, 6, 6}}, {"flatten", {1, 9216}}}},
      {"vgg11_bn", {{"features.27", {1, 512, 14, 14}}, {"features.28", {1, 512, 7, 7}}, {"flatten", {1, 25088}}}}};
  for (const auto& [name, nodes] : expected) {
    const NetworkSpec network = build_model(name, {});
    const std::vector<Shape> shapes = output_shapes(network, 1);
    for (const auto& [node, shape] : nodes) {
      EXPECT_EQ(shapes.at(static_cast<std::size_t>(index_of(network, node))), shape) << name << " " << node;
    }
  }
}

TEST(Wiring, PoolsWhatIsLeftToTheExtentThatTheClassifierTakes) {
  const auto shape_of_avgpool = [](std::string_view name, std::int64_t image_size) {
    const NetworkSpec network = build_model(name, {.image_size = image_size});
    return output_shapes(network, 1)[static_cast<std::size_t>(index_of(network, "avgpool"))];
  };

  for (const std::int64_t side : {63, 224, 320}) EXPECT_EQ(shape_of_avgpool("alexnet", side), (Shape{1, 256, 6, 6}));
  for (const std::int64_t side : {32, 224, 320}) EXPECT_EQ(shape_of_avgpool("vgg11", side), (Shape{1, 512, 7, 7}));
}

TEST(Wiring, OfCifarResNetsHalvesThePictureTwice) {
  const NetworkSpec network = build_model("resnet20", {});
  const std::vector<Shape> shapes = output_shapes(network, 1);
  const auto shape = [&](const std::string& name) { return shapes[static_cast<std::size_t>(index_of(network, name))]; };

  EXPECT_EQ(shape("layer1.2.relu"), (Shape{1, 16, 32, 32}));
  EXPECT_EQ(shape("layer2.0.shortcut"), (Shape{1, 32, 16, 16}));
  EXPECT_EQ(shape("layer3.2.relu"), (Shape{1, 64, 8, 8}));
}

TEST(Wiring, PutsTheStrideOfABottleneckIntoIts3x3Convolution) {
  const NetworkSpec network = build_model("resnet50", {});

  EXPECT_EQ(std::get<Convolution>(find_node(network, "layer2.0.conv1").layer).stride, 1);
  EXPECT_EQ(std::get<Convolution>(find_node(network, "layer2.0.conv2").layer).stride, 2);
  EXPECT_EQ(std::get<Convolution>(find_node(network, "layer2.0.downsample.0").layer).stride, 2);
  EXPECT_EQ(std::get<Convolution>(find_node(network, "layer1.0.downsample.0").layer).stride, 1);
}

TEST(Wiring, AddsTheBranchBeforeItsShortcut) {
  const NetworkSpec network = build_model("resnet18", {});

  const std::vector<LayerIndex> with_downsample{index_of(network, "layer2.0.bn2"), index_of(network, "layer2.0.downsample.1")};
  const std::vector<LayerIndex> with_identity{index_of(network, "layer2.1.bn2"), index_of(network, "layer2.0.relu")};
  EXPECT_EQ(find_node(network, "layer2.0.add").inputs, with_downsample);
  EXPECT_EQ(find_node(network, "layer2.1.add").inputs, with_identity);
  EXPECT_LT(with_downsample[0], with_downsample[1]);
}

TEST(Wiring, OfMobileNetAddsWhereShapesAgreeAndConvolvesEveryChannelAlone) {
  const NetworkSpec network = build_model("mobilenet_v2", {});
  const auto layer = [&](const std::string& name) { return find_node(network, name).layer; };

  const std::vector<LayerIndex> added{index_of(network, "features.6.conv.3"), index_of(network, "features.5.add")};
  EXPECT_EQ(find_node(network, "features.6.add").inputs, added);
  EXPECT_EQ(find_node(network, "features.7.conv.0.0").inputs, std::vector<LayerIndex>{index_of(network, "features.6.add")});
  EXPECT_EQ(std::ranges::count_if(network.nodes, [](const Node& node) { return std::holds_alternative<Add>(node.layer); }), 10);
  EXPECT_EQ(std::get<Convolution>(layer("features.1.conv.0.0")).groups, 32);
  EXPECT_EQ(std::get<Convolution>(layer("features.17.conv.1.0")).groups, 960);
  EXPECT_EQ(std::get<Convolution>(layer("features.17.conv.0.0")).groups, 1);
  EXPECT_EQ(std::get<Convolution>(layer("features.14.conv.1.0")).stride, 2);
  EXPECT_EQ(std::get<Relu>(layer("features.18.2")).ceiling, 6.0f);
}

TEST(Wiring, OfDenseNetReadsWhatAllEarlierLayersMade) {
  const NetworkSpec network = build_model("densenet121", {});
  const auto inputs = [&](const std::string& name) { return find_node(network, name).inputs; };
  const std::string block = "features.denseblock2";
  const LayerIndex input = index_of(network, "features.transition1.pool");
  std::vector<LayerIndex> features{input};

  EXPECT_EQ(inputs(block + ".denselayer1.norm1"), std::vector<LayerIndex>{input});
  for (int layer = 2; layer <= 12; ++layer) {
    features.push_back(index_of(network, block + ".denselayer" + std::to_string(layer - 1) + ".conv2"));
    const std::string name = block + ".denselayer" + std::to_string(layer);
    EXPECT_EQ(inputs(name + ".concat"), features);
    EXPECT_EQ(inputs(name + ".norm1"), std::vector<LayerIndex>{index_of(network, name + ".concat")});
  }
  features.push_back(index_of(network, block + ".denselayer12.conv2"));
  EXPECT_EQ(inputs(block + ".concat"), features);
  EXPECT_EQ(inputs("features.transition2.norm"), std::vector<LayerIndex>{index_of(network, block + ".concat")});
  EXPECT_EQ(inputs("features.norm5"), std::vector<LayerIndex>{index_of(network, "features.denseblock4.concat")});
}

TEST(Wiring, ConcatenatesBranchesInTorchvisionsOrder) {
  const auto expect_parts = [](const NetworkSpec& network, const std::string& block, const std::vector<std::string>& parts) {
    std::vector<LayerIndex> indices;
    for (const std::string& part : parts) indices.push_back(index_of(network, block + "." + part));
    EXPECT_EQ(find_node(network, block + ".concat").inputs, indices) << block;
  };
  const NetworkSpec inception = build_model("inception_v3", {});

  expect_parts(build_model("googlenet", {}), "inception4c",
               {"branch1.relu", "branch2.1.relu", "branch3.1.relu", "branch4.1.relu"});
  expect_parts(build_model("squeezenet1_1", {}), "features.7", {"expand1x1_activation", "expand3x3_activation"});
  expect_parts(inception, "Mixed_5c", {"branch1x1.relu", "branch5x5_2.relu", "branch3x3dbl_3.relu", "branch_pool.relu"});
  expect_parts(inception, "Mixed_6a", {"branch3x3.relu", "branch3x3dbl_3.relu", "max_pool"});
  expect_parts(inception, "Mixed_6d", {"branch1x1.relu", "branch7x7_3.relu", "branch7x7dbl_5.relu", "branch_pool.relu"});
  expect_parts(inception, "Mixed_7a", {"branch3x3_2.relu", "branch7x7x3_4.relu", "max_pool"});
  expect_parts(inception, "Mixed_7b",
               {"branch1x1.relu", "branch3x3_2a.relu", "branch3x3_2b.relu", "branch3x3dbl_3a.relu", "branch3x3dbl_3b.relu",
                "branch_pool.relu"});
}

TEST(Wiring, OfAuxiliaryHeadsIsTorchvisions) {
  const NetworkSpec googlenet = build_model("googlenet", {.aux_heads = true});
  const NetworkSpec inception = build_model("inception_v3", {.aux_heads = true});
  const auto input = [](const NetworkSpec& network, const std::string& name) {
    return network.nodes[static_cast<std::size_t>(find_node(network, name).inputs.at(0))].name;
  };
  const auto shape = [](const NetworkSpec& network, const std::string& name) {
    return output_shapes(network, 1)[static_cast<std::size_t>(index_of(network, name))];
  };

  EXPECT_EQ(input(googlenet, "aux1.avgpool"), "inception4a.concat");
  EXPECT_EQ(input(googlenet, "aux2.avgpool"), "inception4d.concat");
  EXPECT_EQ(input(googlenet, "aux2.dropout"), "aux2.relu");
  EXPECT_EQ(input(googlenet, "avgpool"), "inception5b.concat");
  EXPECT_EQ(shape(googlenet, "aux1.conv.relu"), (Shape{1, 128, 4, 4}));
  EXPECT_EQ(shape(googlenet, "aux2.fc1"), (Shape{1, 1024}));
  EXPECT_EQ(input(inception, "AuxLogits.avg_pool"), "Mixed_6e.concat");
  EXPECT_EQ(input(inception, "Mixed_7a.branch3x3_1.conv"), "Mixed_6e.concat");
  EXPECT_EQ(shape(inception, "AuxLogits.avg_pool"), (Shape{1, 768, 5, 5}));
  EXPECT_EQ(shape(inception, "AuxLogits.conv1.relu"), (Shape{1, 768, 1, 1}));
}

TEST(Wiring, NeverConcatenatesASingleInput) {
  for (const ModelEntry& entry : list_models()) {
    for (const Node& node : build_model(entry.name, {}).nodes) {
      EXPECT_TRUE(!std::holds_alternative<Concat>(node.layer) || node.inputs.size() > 1) << entry.name << ": " << node.name;
    }
  }
}

TEST(Wiring, OfInceptionNormalisesWithTorchvisionsEpsilon) {
  const std::map<std::string, float> expected{{"googlenet", 1e-3f}, {"inception_v3", 1e-3f}, {"densenet121", 1e-5f}};
  for (const auto& [name, epsilon] : expected) {
    for (const Node& node : build_model(name, {}).nodes) {
      const auto* const norm = std::get_if<BatchNorm>(&node.layer);
      EXPECT_TRUE(norm == nullptr || norm->epsilon == epsilon) << name << ": " << node.name;
    }
  }
}

}  // namespace
}  // namespace dtrain
