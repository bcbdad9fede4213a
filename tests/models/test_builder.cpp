// The verbs with which networks are written.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
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

TEST(NetworkBuilder, RefusesPicturesThatAreTooSmallWhenItFinishes) {
  NetworkBuilder net(head());
  net.append("conv", Convolution{.out_channels = 4, .kernel = 9});

  EXPECT_THROW((void)std::move(net).finish(), ConfigError);
}

}  // namespace
}  // namespace dtrain
