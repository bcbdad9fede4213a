// VGG-11, 13, 16, 19, with and without batch-norm, node for node as in torchvision.
#include <algorithm>
#include <array>
#include <string>

#include "dtrain/error.hpp"
#include "src/models/builder.hpp"
#include "src/models/families.hpp"

namespace dtrain {
namespace {

/// Convolutions before each of the five pools: configurations A, B, D and E of the paper.
std::array<int, 5> vgg_convolutions(int depth) {
  switch (depth) {
    case 11:
      return {1, 1, 2, 2, 2};
    case 13:
      return {2, 2, 2, 2, 2};
    case 16:
      return {2, 2, 3, 3, 3};
    case 19:
      return {2, 2, 4, 4, 4};
    default:
      check(false, "VGGs have 11, 13, 16 or 19 layers");
      return {};
  }
}

}  // namespace

NetworkSpec build_vgg(int depth, bool has_batch_norm, const FamilyOptions& options) {
  NetworkBuilder net(options.head);
  // torchvision numbers the nodes through, so a name's number is the node's index.
  const auto append_feature = [&](LayerSpec layer) {
    net.append("features." + std::to_string(net.newest() + 1), std::move(layer));
  };
  std::int64_t channels = 64;
  for (const int convolutions : vgg_convolutions(depth)) {
    for (int c = 0; c < convolutions; ++c) {
      append_feature(Convolution{.out_channels = channels, .kernel = 3, .padding = 1, .has_bias = true});
      if (has_batch_norm) append_feature(BatchNorm{});
      append_feature(Relu{});
    }
    append_feature(Pool{.kind = Pool::Kind::max, .kernel = 2, .stride = 2});
    channels = std::min<std::int64_t>(2 * channels, 512);
  }
  net.append("avgpool", AdaptiveAveragePool{.side = 7});
  net.append("flatten", Flatten{});
  net.append("classifier.0", Linear{.out_features = 4096});
  net.append("classifier.1", Relu{});
  net.append("classifier.2", Dropout{});
  net.append("classifier.3", Linear{.out_features = 4096});
  net.append("classifier.4", Relu{});
  net.append("classifier.5", Dropout{});
  // Behind batch-norm the head reads values that are too large for torchvision's N(0, 0.01).
  net.append("classifier.6", Linear{.out_features = options.head.num_classes,
                                    .initial = has_batch_norm ? kQuietHead : normal_draw(0.01)});
  return std::move(net).finish();
}

}  // namespace dtrain
