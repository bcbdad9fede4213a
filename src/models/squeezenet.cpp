// SqueezeNet 1.0 and 1.1, node for node as in torchvision.
#include <string>
#include <vector>

#include "src/models/builder.hpp"
#include "src/models/families.hpp"

namespace dtrain {
namespace {

struct SqueezeNet {
  Convolution first;
  std::vector<std::vector<std::int64_t>> stages;  ///< of each fire module behind a pool: channels that it squeezes to
};

SqueezeNet squeezenet_of(SqueezeNetVersion version) {
  if (version == SqueezeNetVersion::v1_0) {
    return {.first = {.out_channels = 96, .kernel = 7, .stride = 2, .has_bias = true},
            .stages = {{16, 16, 32}, {32, 48, 48, 64}, {64}}};
  }
  return {.first = {.out_channels = 64, .kernel = 3, .stride = 2, .has_bias = true},
          .stages = {{16, 16}, {32, 32}, {48, 48, 64, 64}}};
}

/// A 1×1 convolution to few channels, which a 1×1 and a 3×3 convolution beside each other expand to eight times as many.
void append_fire(NetworkBuilder& net, const std::string& name, std::int64_t squeezed) {
  net.append(name + ".squeeze", Convolution{.out_channels = squeezed, .kernel = 1, .has_bias = true});
  const LayerIndex squeeze = net.append(name + ".squeeze_activation", Relu{});
  net.append(name + ".expand1x1", Convolution{.out_channels = 4 * squeezed, .kernel = 1, .has_bias = true});
  const LayerIndex expand1x1 = net.append(name + ".expand1x1_activation", Relu{});
  net.append_behind(squeeze, name + ".expand3x3",
                    Convolution{.out_channels = 4 * squeezed, .kernel = 3, .padding = 1, .has_bias = true});
  const LayerIndex expand3x3 = net.append(name + ".expand3x3_activation", Relu{});
  net.concat(name + ".concat", {expand1x1, expand3x3});
}

}  // namespace

NetworkSpec build_squeezenet(SqueezeNetVersion version, const FamilyOptions& options) {
  const SqueezeNet squeezenet = squeezenet_of(version);

  NetworkBuilder net(options.head);
  net.append("features.0", squeezenet.first);
  net.append("features.1", Relu{});
  int index = 2;
  const auto next_name = [&] { return "features." + std::to_string(index++); };
  for (const std::vector<std::int64_t>& stage : squeezenet.stages) {
    net.append(next_name(), Pool{.kind = Pool::Kind::max, .kernel = 3, .stride = 2, .ceil_mode = true});
    for (const std::int64_t squeezed : stage) append_fire(net, next_name(), squeezed);
  }
  net.draw_convolutions(kHeUniform);
  net.append("classifier.0", Dropout{});
  net.append("classifier.1", Convolution{.out_channels = options.head.num_classes,
                                         .kernel = 1,
                                         .has_bias = true,
                                         .initial = normal_draw(0.01)});
  net.append("classifier.2", Relu{});
  net.append("classifier.3", AdaptiveAveragePool{});
  net.append("flatten", Flatten{});
  return std::move(net).finish();
}

}  // namespace dtrain
