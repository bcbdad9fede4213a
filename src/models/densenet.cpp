// DenseNet-121, 161, 169, 201 with bottlenecks and compression, node for node as in torchvision.
#include <array>
#include <string>
#include <vector>

#include "dtrain/error.hpp"
#include "src/models/builder.hpp"
#include "src/models/families.hpp"

namespace dtrain {
namespace {

struct DenseNet {
  std::int64_t first_channels = 64;
  std::int64_t growth = 32;     ///< channels that a dense layer adds
  std::array<int, 4> layers{};  ///< in each dense block
};

DenseNet densenet_of(int depth) {
  switch (depth) {
    case 121:
      return {.layers = {6, 12, 24, 16}};
    case 161:
      return {.first_channels = 96, .growth = 48, .layers = {6, 12, 36, 24}};
    case 169:
      return {.layers = {6, 12, 32, 32}};
    case 201:
      return {.layers = {6, 12, 48, 32}};
    default:
      check(false, "DenseNets have 121, 161, 169 or 201 layers");
      return {};
  }
}

/// BN – ReLU – conv1×1 – BN – ReLU – conv3×3 behind the newest node. Returns the last node.
LayerIndex append_dense_layer(NetworkBuilder& net, const std::string& name, std::int64_t growth) {
  net.append(name + ".norm1", BatchNorm{});
  net.append(name + ".relu1", Relu{});
  net.append(name + ".conv1", Convolution{.out_channels = 4 * growth, .kernel = 1});
  net.append(name + ".norm2", BatchNorm{});
  net.append(name + ".relu2", Relu{});
  return net.append(name + ".conv2", Convolution{.out_channels = growth, .kernel = 3, .padding = 1});
}

/// Layers that each read the block's input and what all layers before them made; ends with the Concat of all that.
void append_dense_block(NetworkBuilder& net, const std::string& name, int layers, std::int64_t growth) {
  std::vector<LayerIndex> features{net.newest()};
  for (int layer = 1; layer <= layers; ++layer) {
    const std::string layer_name = name + ".denselayer" + std::to_string(layer);
    if (layer > 1) net.concat(layer_name + ".concat", features);
    features.push_back(append_dense_layer(net, layer_name, growth));
  }
  net.concat(name + ".concat", features);
}

/// Halves the channels and the picture's extents.
void append_transition(NetworkBuilder& net, const std::string& name) {
  const std::int64_t channels = net.channels(net.newest()) / 2;
  net.append(name + ".norm", BatchNorm{});
  net.append(name + ".relu", Relu{});
  net.append(name + ".conv", Convolution{.out_channels = channels, .kernel = 1});
  net.append(name + ".pool", Pool{.kind = Pool::Kind::average, .kernel = 2, .stride = 2});
}

}  // namespace

NetworkSpec build_densenet(int depth, const FamilyOptions& options) {
  const DenseNet densenet = densenet_of(depth);

  NetworkBuilder net(options.head);
  net.append("features.conv0", Convolution{.out_channels = densenet.first_channels, .kernel = 7, .stride = 2, .padding = 3});
  net.append("features.norm0", BatchNorm{});
  net.append("features.relu0", Relu{});
  net.append("features.pool0", Pool{.kind = Pool::Kind::max, .kernel = 3, .stride = 2, .padding = 1});
  for (std::size_t block = 0; block < densenet.layers.size(); ++block) {
    const std::string number = std::to_string(block + 1);
    if (block > 0) append_transition(net, "features.transition" + std::to_string(block));
    append_dense_block(net, "features.denseblock" + number, densenet.layers[block], densenet.growth);
  }
  net.append("features.norm5", BatchNorm{});
  net.append("relu", Relu{});
  net.append_classifier("classifier");
  net.draw_convolutions(kHeNormalFanIn);
  net.draw_linears(kPyTorchUniform.with(InitialDraw::Bias::zero));
  return std::move(net).finish();
}

}  // namespace dtrain
