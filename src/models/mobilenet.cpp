// MobileNet v2, node for node as in torchvision.
#include <array>
#include <string>

#include "src/models/builder.hpp"
#include "src/models/families.hpp"

namespace dtrain {
namespace {

/// A row of the paper's table 2: blocks alike but for the stride, which is the first one's.
struct Stage {
  std::int64_t expansion, out_channels;
  int blocks;
  std::int64_t stride;
};
constexpr std::array<Stage, 7> kStages{
    {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}}};

/// Convolution – BN – ReLU6: name.0, name.1 and name.2.
void append_step(NetworkBuilder& net, const std::string& name, const Convolution& convolution) {
  net.append(name + ".0", convolution);
  net.append(name + ".1", BatchNorm{});
  net.append(name + ".2", Relu{.ceiling = 6.0f});
}

/// 1×1 to more channels, 3×3 on each of them alone, 1×1 to few without ReLU; the sum with the block's input where shapes agree.
void append_inverted_residual(NetworkBuilder& net, const std::string& name, const Stage& stage, std::int64_t stride,
                              bool zero_init) {
  const LayerIndex input = net.newest();
  const std::int64_t hidden = stage.expansion * net.channels(input);
  const bool has_shortcut = stride == 1 && net.channels(input) == stage.out_channels;
  int index = 0;
  const auto next_name = [&] { return name + ".conv." + std::to_string(index++); };
  if (stage.expansion > 1) append_step(net, next_name(), Convolution{.out_channels = hidden, .kernel = 1});
  append_step(net, next_name(),
              Convolution{.out_channels = hidden, .kernel = 3, .stride = stride, .padding = 1, .groups = hidden});
  net.append(next_name(), Convolution{.out_channels = stage.out_channels, .kernel = 1});
  const LayerIndex branch = net.append(next_name(), BatchNorm{.zero_init = zero_init && has_shortcut});
  if (has_shortcut) net.add(name + ".add", branch, input);
}

}  // namespace

NetworkSpec build_mobilenet_v2(const FamilyOptions& options) {
  NetworkBuilder net(options.head);
  int index = 0;
  const auto next_name = [&] { return "features." + std::to_string(index++); };
  append_step(net, next_name(), Convolution{.out_channels = 32, .kernel = 3, .stride = 2, .padding = 1});
  for (const Stage& stage : kStages) {
    for (int block = 0; block < stage.blocks; ++block) {
      append_inverted_residual(net, next_name(), stage, block == 0 ? stage.stride : 1, options.zero_init_last_norm);
    }
  }
  append_step(net, next_name(), Convolution{.out_channels = 1280, .kernel = 1});
  net.append("avgpool", AdaptiveAveragePool{});
  net.append("flatten", Flatten{});
  net.append("classifier.0", Dropout{.probability = 0.2f});
  net.append("classifier.1", Linear{.out_features = options.head.num_classes});
  return std::move(net).finish();
}

}  // namespace dtrain
