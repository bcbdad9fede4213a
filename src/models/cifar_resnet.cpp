// Residual networks for 32×32 pictures: ResNet-20, 32, 44, 56, 110, with parameter-free shortcuts.
#include <string>

#include "dtrain/error.hpp"
#include "src/models/builder.hpp"
#include "src/models/families.hpp"

namespace dtrain {
namespace {

struct CifarBlock {
  std::string name;  ///< "layer2.0"
  std::int64_t channels = 0;
  std::int64_t stride = 1;
  bool zero_init = false;
};

void append_block(NetworkBuilder& net, const CifarBlock& block) {
  const LayerIndex input = net.newest();
  net.append(block.name + ".conv1",
             Convolution{.out_channels = block.channels, .kernel = 3, .stride = block.stride, .padding = 1});
  net.append(block.name + ".bn1", BatchNorm{});
  net.append(block.name + ".relu1", Relu{});
  net.append(block.name + ".conv2", Convolution{.out_channels = block.channels, .kernel = 3, .stride = 1, .padding = 1});
  const LayerIndex branch = net.append(block.name + ".bn2", BatchNorm{.zero_init = block.zero_init});
  const LayerIndex shortcut =
      block.stride == 1 ? input
                        : net.append_behind(input, block.name + ".shortcut", PadShortcut{.out_channels = block.channels});
  net.add(block.name + ".add", branch, shortcut);
  net.append(block.name + ".relu", Relu{});
}

}  // namespace

NetworkSpec build_cifar_resnet(int depth, const FamilyOptions& options) {
  check(depth >= 8 && (depth - 2) % 6 == 0, "residual networks for small pictures have 6n + 2 layers");
  const int blocks = (depth - 2) / 6;

  NetworkBuilder net(options.head);
  net.append("conv1", Convolution{.out_channels = 16, .kernel = 3, .stride = 1, .padding = 1});
  net.append("bn1", BatchNorm{});
  net.append("relu", Relu{});
  for (int stage = 0; stage < 3; ++stage) {
    for (int b = 0; b < blocks; ++b) {
      append_block(net, {.name = "layer" + std::to_string(stage + 1) + "." + std::to_string(b),
                         .channels = std::int64_t{16} << stage,
                         .stride = stage > 0 && b == 0 ? 2 : 1,
                         .zero_init = options.zero_init_last_norm});
    }
  }
  net.append_classifier("linear");
  net.draw_convolutions(kHeNormalFanIn);
  return std::move(net).finish();
}

}  // namespace dtrain
