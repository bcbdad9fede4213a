// The verbs with which networks are written.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
#include "src/models/branches.hpp"
#include "src/models/builder.hpp"

namespace dtrain {
namespace {

NetworkSpec head() { return {.name = "test", .channels = 2, .height = 8, .width = 8, .num_classes = 5, .nodes = {}}; }

TEST(NetworkBuilder, AppendsBehindTheNewestNode) {
  NetworkBuilder net(head());

  EXPECT_EQ(net.newest(), kNetworkInput);
  EXPECT_EQ(net.append("conv", Convolution{.out_channels = 4, .kernel = 3}), 0);
  EXPECT_EQ(net.append("relu", Relu{}), 1);

  const NetworkSpec network = std::move(net).finish();
  EXPECT_EQ(network.nodes[0].inputs, std::vector<LayerIndex>{kNetworkInput});
  EXPECT_EQ(network.nodes[1].inputs, std::vector<LayerIndex>{0});
  EXPECT_EQ(network.nodes[1].name, "relu");
}

TEST(NetworkBuilder, JoinsABranchAndItsShortcut) {
  NetworkBuilder net(head());
  const LayerIndex branch = net.append("conv", Convolution{.out_channels = 4, .kernel = 1});
  const LayerIndex shortcut = net.append_behind(kNetworkInput, "shortcut", Convolution{.out_channels = 4, .kernel = 1});

  net.add("add", branch, shortcut);

  const NetworkSpec network = std::move(net).finish();
  EXPECT_EQ(network.nodes[1].inputs, std::vector<LayerIndex>{kNetworkInput});
  EXPECT_EQ(network.nodes[2].inputs, (std::vector<LayerIndex>{0, 1}));
}

TEST(NetworkBuilder, ConcatenatesNodesInTheGivenOrder) {
  NetworkBuilder net(head());
  const LayerIndex wide = net.append("wide", Convolution{.out_channels = 4, .kernel = 1});
  const LayerIndex narrow = net.append_behind(kNetworkInput, "narrow", Convolution{.out_channels = 3, .kernel = 1});

  const LayerIndex inner = net.concat("inner", {narrow, wide});
  const LayerIndex outer = net.concat("outer", {inner, kNetworkInput, wide});

  EXPECT_EQ(net.newest(), outer);
  EXPECT_EQ(net.channels(inner), 7);
  EXPECT_EQ(net.channels(outer), 7 + 2 + 4);
  const NetworkSpec network = std::move(net).finish();
  EXPECT_EQ(network.nodes[2].inputs, (std::vector<LayerIndex>{1, 0}));
  EXPECT_EQ(output_shapes(network, 3).back(), (Shape{3, 13, 8, 8}));
}

TEST(NetworkBuilder, AppendsBranchesSideBySide) {
  NetworkBuilder net(head());

  append_branches(net, "block",
                  {{{"a", convolution_same(4, {1, 3})}, {"b", convolution_same(3, 5)}},
                   {{"pool", Pool{.kernel = 3, .stride = 1, .padding = 1}}}});

  const NetworkSpec network = std::move(net).finish();
  std::vector<std::string> names;
  for (const Node& node : network.nodes) names.push_back(node.name);
  EXPECT_EQ(names, (std::vector<std::string>{"block.a.conv", "block.a.bn", "block.a.relu", "block.b.conv", "block.b.bn",
                                             "block.b.relu", "block.pool", "block.concat"}));
  EXPECT_EQ(network.nodes[6].inputs, std::vector<LayerIndex>{kNetworkInput});
  EXPECT_EQ(network.nodes[7].inputs, (std::vector<LayerIndex>{5, 6}));
  EXPECT_EQ(output_shapes(network, 1).back(), (Shape{1, 3 + 2, 8, 8}));
}

TEST(NetworkBuilder, KnowsChannelsThroughLayersThatKeepThem) {
  NetworkBuilder net(head());
  const LayerIndex relu = net.append("relu", Relu{});
  net.append("conv", Convolution{.out_channels = 4, .kernel = 1});
  net.append("bn", BatchNorm{});
  const LayerIndex pool = net.append("pool", Pool{});
  const LayerIndex wide = net.append("pad", PadShortcut{.out_channels = 6});

  EXPECT_EQ(net.channels(kNetworkInput), 2);
  EXPECT_EQ(net.channels(relu), 2);
  EXPECT_EQ(net.channels(pool), 4);
  EXPECT_EQ(net.channels(wide), 6);
}

TEST(NetworkBuilder, EndsWithAClassifierOfTheNetworksClasses) {
  NetworkBuilder net(head());
  net.append_classifier("fc");

  const NetworkSpec network = std::move(net).finish();

  EXPECT_EQ(output_shapes(network, 3).back(), (Shape{3, 5}));
  EXPECT_EQ(network.nodes.back().name, "fc");
}

TEST(NetworkBuilder, GoesOnFromTheTrunkBehindAnAuxiliaryHead) {
  NetworkBuilder net(head());
  const LayerIndex trunk = net.append("conv", Convolution{.out_channels = 4});
  net.append("aux.flatten", Flatten{});
  const LayerIndex aux = net.append("aux.fc", Linear{.out_features = 5});
  net.end_auxiliary_head(0.5f, trunk);

  EXPECT_EQ(net.newest(), trunk);
  net.append_classifier("fc");
  const NetworkSpec network = std::move(net).finish();

  EXPECT_EQ(network.nodes[static_cast<std::size_t>(aux) + 1].inputs, std::vector<LayerIndex>{trunk});
  ASSERT_EQ(network.outputs.size(), 2U);
  EXPECT_EQ(network.outputs[0].node, static_cast<LayerIndex>(network.nodes.size()) - 1);
  EXPECT_EQ(network.outputs[0].loss_weight, 1.0f);
  EXPECT_EQ(network.outputs[1].node, aux);
  EXPECT_EQ(network.outputs[1].loss_weight, 0.5f);
}

TEST(NetworkBuilder, RefusesPicturesThatAreTooSmallWhenItFinishes) {
  NetworkBuilder net(head());
  net.append("conv", Convolution{.out_channels = 4, .kernel = 9});

  EXPECT_THROW((void)std::move(net).finish(), ConfigError);
}

}  // namespace
}  // namespace dtrain
