// LeNet-5 for 28×28 gray pictures.
#include "src/models/builder.hpp"
#include "src/models/families.hpp"

namespace dtrain {

NetworkSpec build_lenet5(const FamilyOptions& options) {
  const Pool halve{.kind = Pool::Kind::max, .kernel = 2, .stride = 2};

  NetworkBuilder net(options.head);
  net.append("conv1", Convolution{.out_channels = 6, .kernel = 5, .padding = 2, .has_bias = true});
  net.append("relu1", Relu{});
  net.append("pool1", halve);
  net.append("conv2", Convolution{.out_channels = 16, .kernel = 5, .has_bias = true});
  net.append("relu2", Relu{});
  net.append("pool2", halve);
  net.append("flatten", Flatten{});
  net.append("fc1", Linear{.out_features = 120});
  net.append("relu3", Relu{});
  net.append("fc2", Linear{.out_features = 84});
  net.append("relu4", Relu{});
  net.append("fc3", Linear{.out_features = options.head.num_classes});
  net.draw_convolutions(kPyTorchUniform);
  net.draw_linears(kPyTorchUniform);
  return std::move(net).finish();
}

}  // namespace dtrain
