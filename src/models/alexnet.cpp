// AlexNet in its version for one column, node for node as in torchvision.
#include "src/models/builder.hpp"
#include "src/models/families.hpp"

namespace dtrain {

NetworkSpec build_alexnet(const FamilyOptions& options) {
  const Pool halve{.kind = Pool::Kind::max, .kernel = 3, .stride = 2};

  NetworkBuilder net(options.head);
  net.append("features.0", Convolution{.out_channels = 64, .kernel = 11, .stride = 4, .padding = 2, .has_bias = true});
  net.append("features.1", Relu{});
  net.append("features.2", halve);
  net.append("features.3", Convolution{.out_channels = 192, .kernel = 5, .padding = 2, .has_bias = true});
  net.append("features.4", Relu{});
  net.append("features.5", halve);
  net.append("features.6", Convolution{.out_channels = 384, .kernel = 3, .padding = 1, .has_bias = true});
  net.append("features.7", Relu{});
  net.append("features.8", Convolution{.out_channels = 256, .kernel = 3, .padding = 1, .has_bias = true});
  net.append("features.9", Relu{});
  net.append("features.10", Convolution{.out_channels = 256, .kernel = 3, .padding = 1, .has_bias = true});
  net.append("features.11", Relu{});
  net.append("features.12", halve);
  net.append("avgpool", AdaptiveAveragePool{.side = 6});
  net.append("flatten", Flatten{});
  net.append("classifier.0", Dropout{});
  net.append("classifier.1", Linear{.out_features = 4096});
  net.append("classifier.2", Relu{});
  net.append("classifier.3", Dropout{});
  net.append("classifier.4", Linear{.out_features = 4096});
  net.append("classifier.5", Relu{});
  net.append("classifier.6", Linear{.out_features = options.head.num_classes});
  net.draw_convolutions(kPyTorchUniform);
  net.draw_linears(kPyTorchUniform);
  return std::move(net).finish();
}

}  // namespace dtrain
