// Published networks: parameter counts, tensor names and shapes as published, and what is refused.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "dtrain/error.hpp"
#include "dtrain/models.hpp"

namespace dtrain {
namespace {

std::int64_t parameter_count(const NetworkSpec& network) {
  std::int64_t count = 0;
  for (const auto& specs : parameters_by_node(network)) {
    for (const ParameterSpec& spec : specs) count += spec.is_trained() ? element_count(spec.shape) : 0;
  }
  return count;
}

/// A line "name (extents)" for each tensor of PyTorch's state_dict, in its order; `counters` with num_batches_tracked.
std::string state_dict_text(const NetworkSpec& network, bool counters) {
  std::string text;
  for (const auto& specs : parameters_by_node(network)) {
    for (const ParameterSpec& spec : specs) {
      text += spec.name + " " + to_text(spec.shape) + "\n";
      const std::size_t suffix = spec.name.find(".running_var");
      if (counters && suffix != std::string::npos) text += spec.name.substr(0, suffix) + ".num_batches_tracked ()\n";
    }
  }
  return text;
}

/// Source: Fowler, Noll & Vo, FNV-1a with 64 bits; three lines in any language, with which the expected values were made.
std::uint64_t fnv1a(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

const Node& find_node(const NetworkSpec& network, const std::string& name) {
  return *std::find_if(network.nodes.begin(), network.nodes.end(), [&](const Node& node) { return node.name == name; });
}

LayerIndex index_of(const NetworkSpec& network, const std::string& name) {
  return static_cast<LayerIndex>(&find_node(network, name) - network.nodes.data());
}

std::string fault_of(std::string_view name, const ModelOptions& options) {
  try {
    (void)build_model(name, options);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Models, HaveThePublishedParameterCounts) {
  const std::map<std::string, std::int64_t> expected{{"resnet18", 11689512},  {"resnet34", 21797672},  {"resnet50", 25557032},
                                                     {"resnet101", 44549160}, {"resnet152", 60192808}, {"resnet20", 269722},
                                                     {"resnet32", 464154},    {"resnet44", 658586},    {"resnet56", 853018},
                                                     {"resnet110", 1727962},  {"lenet5", 61706}};

  ASSERT_EQ(list_models().size(), expected.size());
  for (const ModelEntry& entry : list_models()) {
    EXPECT_EQ(parameter_count(build_model(entry.name, {})), expected.at(entry.name)) << entry.name;
  }
}

TEST(Models, HaveTheTensorNamesShapesAndOrderOfTorchvision) {
  // FNV-1a of the state_dict's lines, torchvision 0.14.1.
  const std::map<std::string, std::uint64_t> expected{{"resnet18", 0x57ec3faa9b331d38ULL},
                                                      {"resnet34", 0x6368208644692e88ULL},
                                                      {"resnet50", 0xfee1da97b049dc98ULL},
                                                      {"resnet101", 0x8cbbb7ddbd855f49ULL},
                                                      {"resnet152", 0x4ae6459a29159dd6ULL}};
  for (const auto& [name, hash] : expected) {
    const std::string text = state_dict_text(build_model(name, {}), true);
    EXPECT_EQ(fnv1a(text), hash) << text;
  }
}

TEST(Models, HaveTheTensorNamesShapesAndOrderOfPublishedCifarWeights) {
  // FNV-1a of the lines of the published ResNet-20 (resnet20-12fca82f.th), which has no batch counters.
  EXPECT_EQ(fnv1a(state_dict_text(build_model("resnet20", {}), false)), 0xef8a9e41cc75d3d5ULL);
}

TEST(Models, HaveTheStatedExtentsAndClasses) {
  for (const ModelEntry& entry : list_models()) {
    const NetworkSpec network = build_model(entry.name, {});
    EXPECT_EQ(network.name, entry.name);
    EXPECT_EQ(network.channels, entry.channels);
    EXPECT_EQ(network.height, entry.image_size);
    EXPECT_EQ(network.width, entry.image_size);
    EXPECT_EQ(output_shapes(network, 2).back(), (Shape{2, entry.num_classes})) << entry.name;
    EXPECT_FALSE(entry.source.empty());
  }
}

TEST(Models, NameEveryNodeOnce) {
  for (const ModelEntry& entry : list_models()) {
    std::set<std::string> names;
    for (const Node& node : build_model(entry.name, {}).nodes) {
      EXPECT_TRUE(names.insert(node.name).second) << entry.name << ": " << node.name;
    }
  }
}

TEST(Models, OfResNet50HaveTorchvisionsShapesAtAnyPictureSize) {
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

TEST(Models, OfCifarResNetsHalveThePictureTwice) {
  const NetworkSpec network = build_model("resnet20", {});
  const std::vector<Shape> shapes = output_shapes(network, 1);
  const auto shape = [&](const std::string& name) { return shapes[static_cast<std::size_t>(index_of(network, name))]; };

  EXPECT_EQ(shape("layer1.2.relu"), (Shape{1, 16, 32, 32}));
  EXPECT_EQ(shape("layer2.0.shortcut"), (Shape{1, 32, 16, 16}));
  EXPECT_EQ(shape("layer3.2.relu"), (Shape{1, 64, 8, 8}));
}

TEST(Models, CostThePublishedOperations) {
  // 4.09 and 1.81 billion multiply-adds (torchvision's tables, GFLOPS column: 4.09, 1.81), two operations each.
  EXPECT_NEAR(static_cast<double>(forward_flops(build_model("resnet50", {}))), 2 * 4.09e9, 2 * 0.005e9);
  EXPECT_NEAR(static_cast<double>(forward_flops(build_model("resnet18", {}))), 2 * 1.81e9, 2 * 0.005e9);
}

TEST(Models, PutTheStrideOfABottleneckIntoIts3x3Convolution) {
  const NetworkSpec network = build_model("resnet50", {});

  EXPECT_EQ(std::get<Convolution>(find_node(network, "layer2.0.conv1").layer).stride, 1);
  EXPECT_EQ(std::get<Convolution>(find_node(network, "layer2.0.conv2").layer).stride, 2);
  EXPECT_EQ(std::get<Convolution>(find_node(network, "layer2.0.downsample.0").layer).stride, 2);
  EXPECT_EQ(std::get<Convolution>(find_node(network, "layer1.0.downsample.0").layer).stride, 1);
}

TEST(Models, AddTheBranchBeforeItsShortcut) {
  const NetworkSpec network = build_model("resnet18", {});

  const std::vector<LayerIndex> with_downsample{index_of(network, "layer2.0.bn2"), index_of(network, "layer2.0.downsample.1")};
  const std::vector<LayerIndex> with_identity{index_of(network, "layer2.1.bn2"), index_of(network, "layer2.0.relu")};
  EXPECT_EQ(find_node(network, "layer2.0.add").inputs, with_downsample);
  EXPECT_EQ(find_node(network, "layer2.1.add").inputs, with_identity);
  EXPECT_LT(with_downsample[0], with_downsample[1]);
}

TEST(Models, ZeroTheLastNormOfEveryBlockWhenAsked) {
  for (const auto& [name, blocks, last] :
       {std::tuple("resnet50", 16, ".bn3"), std::tuple("resnet18", 8, ".bn2"), std::tuple("resnet20", 9, ".bn2")}) {
    int zeroed = 0;
    for (const Node& node : build_model(name, {.zero_init_last_norm = true}).nodes) {
      const auto* const norm = std::get_if<BatchNorm>(&node.layer);
      if (norm == nullptr || !norm->zero_init) continue;
      ++zeroed;
      EXPECT_TRUE(node.name.ends_with(last)) << node.name;
    }
    EXPECT_EQ(zeroed, blocks) << name;
    for (const Node& node : build_model(name, {}).nodes) {
      const auto* const norm = std::get_if<BatchNorm>(&node.layer);
      EXPECT_TRUE(norm == nullptr || !norm->zero_init);
    }
  }
}

TEST(Models, TakeAnyNumberOfClasses) {
  for (const ModelEntry& entry : list_models()) {
    EXPECT_EQ(output_shapes(build_model(entry.name, {.num_classes = 14}), 1).back(), (Shape{1, 14})) << entry.name;
  }
}

TEST(Models, OfUnknownNameAreRefusedWithTheNearest) {
  EXPECT_NE(fault_of("resnet-50", {}).find("--model resnet50"), std::string::npos) << fault_of("resnet-50", {});
  EXPECT_NE(fault_of("resnet1O1", {}).find("--model resnet101"), std::string::npos);
  EXPECT_NE(fault_of("lenet", {}).find("--model lenet5"), std::string::npos);
  EXPECT_NE(fault_of("", {}).find("resnet152"), std::string::npos);
}

TEST(Models, RefuseWhatTheyCannotHonour) {
  EXPECT_NE(fault_of("resnet50", {.dropout = 0.5f}).find("dropout"), std::string::npos);
  EXPECT_NE(fault_of("resnet50", {.num_classes = -1}).find("-1"), std::string::npos);
  EXPECT_NE(fault_of("resnet50", {.image_size = 31}).find("at least 32×32"), std::string::npos);
  EXPECT_NE(fault_of("resnet50", {.image_size = -224}).find("-224"), std::string::npos);
  EXPECT_NE(fault_of("lenet5", {.image_size = 11}).find("at least 12×12"), std::string::npos);
  EXPECT_EQ(fault_of("resnet50", {.image_size = 32}), "no error");
  EXPECT_EQ(fault_of("lenet5", {.image_size = 12}), "no error");
}

}  // namespace
}  // namespace dtrain
