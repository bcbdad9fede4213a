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

std::string fault_of(std::string_view name, const ModelOptions& options) {
  try {
    (void)build_model(name, options);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Models, HaveThePublishedParameterCounts) {
  const std::map<std::string, std::int64_t> expected{
      {"resnet18", 11689512},     {"resnet34", 21797672},     {"resnet50", 25557032},
      {"resnet101", 44549160},    {"resnet152", 60192808},    {"wide_resnet50_2", 68883240},
      {"alexnet", 61100840},      {"vgg11", 132863336},       {"vgg13", 133047848},
      {"vgg16", 138357544},       {"vgg19", 143667240},       {"vgg11_bn", 132868840},
      {"vgg13_bn", 133053736},    {"vgg16_bn", 138365992},    {"vgg19_bn", 143678248},
      {"googlenet", 6624904},     {"inception_v3", 23834568}, {"densenet121", 7978856},
      {"densenet161", 28681000},  {"densenet169", 14149480},  {"densenet201", 20013928},
      {"squeezenet1_0", 1248424}, {"squeezenet1_1", 1235496}, {"resnet20", 269722},
      {"resnet32", 464154},       {"resnet44", 658586},       {"resnet56", 853018},
      {"resnet110", 1727962},     {"mobilenet_v2", 3504872},  {"lenet5", 61706}};

  ASSERT_EQ(list_models().size(), expected.size());
  for (const ModelEntry& entry : list_models()) {
    EXPECT_EQ(parameter_count(build_model(entry.name, {})), expected.at(entry.name)) << entry.name;
  }
}

TEST(Models, HaveTheTensorNamesShapesAndOrderOfTorchvision) {
  // FNV-1a of the state_dict's lines, torchvision 0.14.1, aux_logits=False.
  const std::map<std::string, std::uint64_t> expected{
      {"resnet18", 0x57ec3faa9b331d38ULL},      {"resnet34", 0x6368208644692e88ULL},
      {"resnet50", 0xfee1da97b049dc98ULL},      {"resnet101", 0x8cbbb7ddbd855f49ULL},
      {"resnet152", 0x4ae6459a29159dd6ULL},     {"wide_resnet50_2", 0x04fe47b378919ff4ULL},
      {"alexnet", 0x6b32841d21fea1f0ULL},       {"vgg11", 0x64255f15a49691f5ULL},
      {"vgg13", 0x8ac673460d43526aULL},         {"vgg16", 0x71e71fc9a7949c72ULL},
      {"vgg19", 0x87b90e620444b8aeULL},         {"vgg11_bn", 0xb1e276edc9188ef5ULL},
      {"vgg13_bn", 0xac666577c967a2f7ULL},      {"vgg16_bn", 0x3bb1681cfcadb517ULL},
      {"vgg19_bn", 0xc8f9939f19ea6f1dULL},      {"googlenet", 0xd6ea4ff3cb4e49a1ULL},
      {"inception_v3", 0x8fb7d86e430c3c90ULL},  {"densenet121", 0x58b86a57797b3711ULL},
      {"densenet161", 0x0d2ab88b169e9f50ULL},   {"densenet169", 0x373306972cabbc73ULL},
      {"densenet201", 0xe6765ffcac54496dULL},   {"squeezenet1_0", 0xb33b45f47b8be83fULL},
      {"squeezenet1_1", 0x3398b0dfff7b5e66ULL}, {"mobilenet_v2", 0x810f0d8d95b2fd81ULL}};
  for (const auto& [name, hash] : expected) {
    const std::string text = state_dict_text(build_model(name, {}), true);
    EXPECT_EQ(fnv1a(text), hash) << text;
  }
}

TEST(Models, HaveTheTensorNamesShapesAndOrderOfPublishedCifarWeights) {
  // FNV-1a of the lines of the published ResNet-20 (resnet20-12fca82f.th), which has no batch counters.
  EXPECT_EQ(fnv1a(state_dict_text(build_model("resnet20", {}), false)), 0xef8a9e41cc75d3d5ULL);
}

TEST(Models, HaveTheAuxiliaryHeadsOfTorchvisionWhenAsked) {
  // Parameters, and FNV-1a of the state_dict's lines, torchvision 0.14.1, aux_logits=True.
  const std::map<std::string, std::pair<std::int64_t, std::uint64_t>> expected{
      {"googlenet", {13004888, 0xde3cc5b5352adc36ULL}}, {"inception_v3", {27161264, 0x0382b556d5f4673eULL}}};
  for (const auto& [name, facts] : expected) {
    const NetworkSpec network = build_model(name, {.aux_heads = true});
    EXPECT_EQ(parameter_count(network), facts.first) << name;
    EXPECT_EQ(fnv1a(state_dict_text(network, true)), facts.second) << state_dict_text(network, true);
  }
}

TEST(Models, GiveTheLogitsOfAuxiliaryHeadsBesideTheMainOnes) {
  using Heads = std::vector<std::pair<std::string, float>>;
  const std::map<std::string, Heads> expected{{"googlenet", {{"fc", 1.0f}, {"aux1.fc2", 0.3f}, {"aux2.fc2", 0.3f}}},
                                              {"inception_v3", {{"fc", 1.0f}, {"AuxLogits.fc", 0.4f}}}};
  const auto heads = [](const NetworkSpec& network) {
    const std::vector<Shape> shapes = output_shapes(network, 2);
    Heads found;
    for (const NetworkOutput& output : network.outputs) {
      found.emplace_back(network.nodes[static_cast<std::size_t>(output.node)].name, output.loss_weight);
      EXPECT_EQ(shapes[static_cast<std::size_t>(output.node)], (Shape{2, 14})) << found.back().first;
    }
    return found;
  };
  for (const auto& [name, with] : expected) {
    const NetworkSpec network = build_model(name, {.num_classes = 14, .aux_heads = true});
    EXPECT_EQ(heads(network), with) << name;
    EXPECT_EQ(heads(build_model(name, {.num_classes = 14})), (Heads{{"fc", 1.0f}})) << name;
    std::vector<std::string> tensors;
    for (const auto& [head, weight] : with) tensors.insert(tensors.end(), {head + ".weight", head + ".bias"});
    EXPECT_EQ(head_tensor_names(network), tensors);
  }
  for (const ModelEntry& entry : list_models()) EXPECT_EQ(build_model(entry.name, {}).outputs.size(), 1U) << entry.name;
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

TEST(Models, CostThePublishedOperations) {
  // 4.09 and 1.81 billion multiply-adds (torchvision's tables, GFLOPS column: 4.09, 1.81), two operations each.
  EXPECT_NEAR(static_cast<double>(forward_flops(build_model("resnet50", {}))), 2 * 4.09e9, 2 * 0.005e9);
  EXPECT_NEAR(static_cast<double>(forward_flops(build_model("resnet18", {}))), 2 * 1.81e9, 2 * 0.005e9);
}

TEST(Models, CostTheOperationsOfTorchvisionsModules) {
  // Twice the multiply-adds of all Conv2d and Linear modules in a forward pass of one picture, torchvision 0.14.1.
  const std::map<std::string, std::int64_t> expected{{"alexnet", 1428376960},          {"vgg16", 30940528640},
                                                     {"googlenet", 2996752384},        {"inception_v3", 11426432192},
                                                     {"densenet121", 5668323328},      {"densenet161", 15455814144},
                                                     {"squeezenet1_0", 1637849152},    {"squeezenet1_1", 698303872},
                                                     {"wide_resnet50_2", 22796042240}, {"mobilenet_v2", 601548544}};
  for (const auto& [name, flops] : expected) EXPECT_EQ(forward_flops(build_model(name, {})), flops) << name;
}

TEST(Models, HaveTheLastLayerWithWeightsAsTheirHead) {
  const std::map<std::string, std::string> expected{{"alexnet", "classifier.6"},   {"vgg16", "classifier.6"},
                                                    {"googlenet", "fc"},           {"inception_v3", "fc"},
                                                    {"densenet169", "classifier"}, {"squeezenet1_0", "classifier.1"},
                                                    {"wide_resnet50_2", "fc"},     {"mobilenet_v2", "classifier.1"}};
  for (const auto& [name, head] : expected) {
    EXPECT_EQ(head_tensor_names(build_model(name, {})), (std::vector<std::string>{head + ".weight", head + ".bias"})) << name;
  }
}

TEST(Models, DropOutAsTorchvisionDoesOrAsAsked) {
  const std::map<std::string, std::vector<float>> expected{
      {"alexnet", {0.5f, 0.5f}}, {"vgg19_bn", {0.5f, 0.5f}}, {"googlenet", {0.2f}}, {"inception_v3", {0.5f}},
      {"squeezenet1_1", {0.5f}}, {"mobilenet_v2", {0.2f}},   {"densenet121", {}}};
  const auto probabilities = [](const NetworkSpec& network) {
    std::vector<float> found;
    for (const Node& node : network.nodes) {
      if (const auto* const dropout = std::get_if<Dropout>(&node.layer)) found.push_back(dropout->probability);
    }
    return found;
  };
  for (const auto& [name, own] : expected) {
    EXPECT_EQ(probabilities(build_model(name, {})), own) << name;
    if (own.empty()) continue;
    EXPECT_EQ(probabilities(build_model(name, {.dropout = 0.125f})), std::vector<float>(own.size(), 0.125f)) << name;
    EXPECT_EQ(probabilities(build_model(name, {.dropout = 0.0f})), std::vector<float>(own.size(), 0.0f)) << name;
  }
  EXPECT_EQ(probabilities(build_model("googlenet", {.aux_heads = true})), (std::vector<float>{0.7f, 0.7f, 0.2f}));
  EXPECT_EQ(probabilities(build_model("googlenet", {.aux_heads = true, .dropout = 0.0f})), std::vector<float>(3, 0.0f));
}

TEST(Models, ZeroTheLastNormOfEveryBlockWhenAsked) {
  for (const auto& [name, blocks, last] : {std::tuple("resnet50", 16, ".bn3"), std::tuple("resnet18", 8, ".bn2"),
                                           std::tuple("resnet20", 9, ".bn2"), std::tuple("mobilenet_v2", 10, ".conv.3")}) {
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

TEST(Models, AreKnownByTheirNamesInTfCnnBenchmarks) {
  const std::map<std::string, std::string> aliases{{"inception3", "inception_v3"},
                                                   {"mobilenet", "mobilenet_v2"},
                                                   {"resnet50_v1.5", "resnet50"},
                                                   {"resnet101_v1.5", "resnet101"},
                                                   {"resnet152_v1.5", "resnet152"}};
  for (const auto& [alias, name] : aliases) {
    EXPECT_EQ(build_model(alias, {}).name, name);
    EXPECT_EQ(model_entry(alias).name, name);
    EXPECT_EQ(model_entry(name).name, name);
    EXPECT_TRUE(std::ranges::none_of(list_models(), [&](const ModelEntry& entry) { return entry.name == alias; })) << alias;
  }
  EXPECT_NE(fault_of("inception-3", {}).find("--model inception_v3"), std::string::npos) << fault_of("inception-3", {});
  EXPECT_NE(fault_of("resnet50_v1_5", {}).find("--model resnet50"), std::string::npos) << fault_of("resnet50_v1_5", {});
  EXPECT_NE(fault_of("densenet40_k12", {}), "no error");
  EXPECT_THROW((void)model_entry("inception"), ConfigError);
}

TEST(Models, TakePicturesDownToTheLeastThatEveryLayerAccepts) {
  const std::map<std::string, std::int64_t> expected{{"alexnet", 63},     {"vgg11", 32},         {"vgg19_bn", 32},
                                                     {"googlenet", 15},   {"inception_v3", 75},  {"densenet121", 29},
                                                     {"densenet161", 29}, {"squeezenet1_0", 21}, {"squeezenet1_1", 17}};
  for (const auto& [name, least] : expected) {
    NetworkSpec network = build_model(name, {.image_size = least});
    EXPECT_EQ(output_shapes(network, 2).back(), (Shape{2, 1000})) << name;

    network.height = network.width = least - 1;
    EXPECT_THROW((void)output_shapes(network, 2), ConfigError) << name;

    const std::string side = std::to_string(least);
    const std::string fault = fault_of(name, {.image_size = least - 1});
    EXPECT_NE(fault.find("at least " + side + "×" + side), std::string::npos) << fault;
  }
}

TEST(Models, RefuseWhatTheyCannotHonour) {
  EXPECT_NE(fault_of("densenet121", {.dropout = 0.5f}).find("no dropout layer"), std::string::npos);
  EXPECT_NE(fault_of("resnet50", {.dropout = 0.5f}).find("dropout"), std::string::npos);
  EXPECT_NE(fault_of("resnet50", {.num_classes = -1}).find("-1"), std::string::npos);
  EXPECT_NE(fault_of("resnet50", {.image_size = 31}).find("at least 32×32"), std::string::npos);
  EXPECT_NE(fault_of("resnet50", {.image_size = 65537}).find("at most 65536×65536"), std::string::npos);
  EXPECT_NE(fault_of("resnet50", {.num_classes = std::int64_t{1} << 62}).find("1 to 2147483647 classes"), std::string::npos);
  EXPECT_NE(fault_of("resnet50", {.image_size = -224}).find("-224"), std::string::npos);
  EXPECT_NE(fault_of("lenet5", {.image_size = 11}).find("at least 12×12"), std::string::npos);
  const std::string no_heads = fault_of("resnet50", {.aux_heads = true});
  EXPECT_NE(no_heads.find("--aux-heads on"), std::string::npos) << no_heads;
  EXPECT_NE(no_heads.find("--model googlenet or inception_v3"), std::string::npos) << no_heads;
  const std::string small = fault_of("inception_v3", {.image_size = 298, .aux_heads = true});
  EXPECT_NE(small.find("AuxLogits.conv1.conv"), std::string::npos) << small;
  EXPECT_NE(small.find("at least 299×299"), std::string::npos) << small;
  EXPECT_EQ(fault_of("googlenet", {.image_size = 15, .aux_heads = true}), "no error");
  EXPECT_EQ(fault_of("resnet50", {.image_size = 32}), "no error");
  EXPECT_EQ(fault_of("lenet5", {.image_size = 12}), "no error");
}

}  // namespace
}  // namespace dtrain
