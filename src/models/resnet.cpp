// Residual networks for ImageNet, node for node as in torchvision: ResNet-18, 34, 50, 101, 152 (version 1.5), Wide ResNet-50-2.
#include <array>
#include <string>

#include "dtrain/error.hpp"
#include "src/models/builder.hpp"
#include "src/models/families.hpp"

namespace dtrain {
namespace {

struct Architecture {
  bool has_bottlenecks = false;
  std::array<int, 4> blocks{};    ///< in each stage
  std::int64_t width_factor = 1;  ///< of a bottleneck's 3×3 convolution
};

Architecture architecture_of(int depth) {
  switch (depth) {
    case 18:
      return {.has_bottlenecks = false, .blocks = {2, 2, 2, 2}};
    case 34:
      return {.has_bottlenecks = false, .blocks = {3, 4, 6, 3}};
    case 50:
      return {.has_bottlenecks = true, .blocks = {3, 4, 6, 3}};
    case 101:
      return {.has_bottlenecks = true, .blocks = {3, 4, 23, 3}};
    case 152:
      return {.has_bottlenecks = true, .blocks = {3, 8, 36, 3}};
    default:
      check(false, "ResNets have 18, 34, 50, 101 or 152 layers");
      return {};
  }
}

struct ImagenetBlock {
  std::string name;        ///< "layer2.0"
  std::int64_t width = 0;  ///< channels of the 3×3 convolutions
  std::int64_t out_channels = 0;
  std::int64_t stride = 1;
  bool zero_init = false;
};

Convolution convolution_3x3(std::int64_t out_channels, std::int64_t stride) {
  return {.out_channels = out_channels, .kernel = 3, .stride = stride, .padding = 1};
}

Convolution convolution_1x1(std::int64_t out_channels, std::int64_t stride) {
  return {.out_channels = out_channels, .kernel = 1, .stride = stride};
}

/// conv3×3 – BN – ReLU – conv3×3 – BN. Returns the last node.
LayerIndex append_basic_branch(NetworkBuilder& net, const ImagenetBlock& block) {
  net.append(block.name + ".conv1", convolution_3x3(block.width, block.stride));
  net.append(block.name + ".bn1", BatchNorm{});
  net.append(block.name + ".relu1", Relu{});
  net.append(block.name + ".conv2", convolution_3x3(block.out_channels, 1));
  return net.append(block.name + ".bn2", BatchNorm{.zero_init = block.zero_init});
}

/// conv1×1 – BN – ReLU – conv3×3 with the stride – BN – ReLU – conv1×1 – BN. Returns the last node.
LayerIndex append_bottleneck_branch(NetworkBuilder& net, const ImagenetBlock& block) {
  net.append(block.name + ".conv1", convolution_1x1(block.width, 1));
  net.append(block.name + ".bn1", BatchNorm{});
  net.append(block.name + ".relu1", Relu{});
  net.append(block.name + ".conv2", convolution_3x3(block.width, block.stride));
  net.append(block.name + ".bn2", BatchNorm{});
  net.append(block.name + ".relu2", Relu{});
  net.append(block.name + ".conv3", convolution_1x1(block.out_channels, 1));
  return net.append(block.name + ".bn3", BatchNorm{.zero_init = block.zero_init});
}

/// The identity where shapes agree, else a strided 1×1 convolution with batch-norm. Returns its last node.
LayerIndex append_shortcut(NetworkBuilder& net, LayerIndex input, const ImagenetBlock& block) {
  if (block.stride == 1 && net.channels(input) == block.out_channels) return input;
  net.append_behind(input, block.name + ".downsample.0", convolution_1x1(block.out_channels, block.stride));
  return net.append(block.name + ".downsample.1", BatchNorm{});
}

NetworkSpec build_architecture(const Architecture& architecture, const FamilyOptions& options) {
  const std::int64_t expansion = architecture.has_bottlenecks ? 4 : 1;

  NetworkBuilder net(options.head);
  net.append("conv1", Convolution{.out_channels = 64, .kernel = 7, .stride = 2, .padding = 3});
  net.append("bn1", BatchNorm{});
  net.append("relu", Relu{});
  net.append("maxpool", Pool{.kind = Pool::Kind::max, .kernel = 3, .stride = 2, .padding = 1});

  for (std::size_t stage = 0; stage < architecture.blocks.size(); ++stage) {
    const std::int64_t channels = std::int64_t{64} << stage;
    for (int b = 0; b < architecture.blocks[stage]; ++b) {
      const ImagenetBlock block{.name = "layer" + std::to_string(stage + 1) + "." + std::to_string(b),
                                .width = channels * architecture.width_factor,
                                .out_channels = channels * expansion,
                                .stride = stage > 0 && b == 0 ? 2 : 1,
                                .zero_init = options.zero_init_last_norm};
      const LayerIndex input = net.newest();
      const LayerIndex branch =
          architecture.has_bottlenecks ? append_bottleneck_branch(net, block) : append_basic_branch(net, block);
      const LayerIndex shortcut = append_shortcut(net, input, block);
      net.add(block.name + ".add", branch, shortcut);
      net.append(block.name + ".relu", Relu{});
    }
  }
  net.append_classifier("fc");
  net.draw_linears(kQuietHead);
  return std::move(net).finish();
}

}  // namespace

NetworkSpec build_resnet(int depth, const FamilyOptions& options) {
  return build_architecture(architecture_of(depth), options);
}

NetworkSpec build_wide_resnet50_2(const FamilyOptions& options) {
  Architecture architecture = architecture_of(50);
  architecture.width_factor = 2;
  return build_architecture(architecture, options);
}

}  // namespace dtrain
