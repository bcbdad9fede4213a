// GoogLeNet with batch-norm, node for node as in torchvision.
#include <string>

#include "src/models/branches.hpp"
#include "src/models/builder.hpp"
#include "src/models/families.hpp"

namespace dtrain {
namespace {

/// Output channels of a block's convolutions: a row of the paper's table 1.
struct GoogLeNetBlock {
  std::string name;
  std::int64_t conv1x1, reduce3x3, conv3x3, reduce5x5, conv5x5, pool_projection;
};

Pool ceil_max_pool(std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
  return {.kind = Pool::Kind::max, .kernel = kernel, .stride = stride, .padding = padding, .ceil_mode = true};
}

void append_googlenet_block(NetworkBuilder& net, const GoogLeNetBlock& block) {
  // The paper's 5×5 convolution is a 3×3 one in torchvision, and so in the weights that are published for it.
  append_branches(net, block.name,
                  {{{"branch1", convolution_same(block.conv1x1, 1)}},
                   {{"branch2.0", convolution_same(block.reduce3x3, 1)}, {"branch2.1", convolution_same(block.conv3x3, 3)}},
                   {{"branch3.0", convolution_same(block.reduce5x5, 1)}, {"branch3.1", convolution_same(block.conv5x5, 3)}},
                   {{"branch4.0", ceil_max_pool(3, 1, 1)}, {"branch4.1", convolution_same(block.pool_projection, 1)}}});
}

/// A classifier of what `input` gives. Weight of its loss: the paper, §5.
void append_googlenet_aux(NetworkBuilder& net, const std::string& name, LayerIndex input, std::int64_t num_classes) {
  const LayerIndex trunk = net.newest();
  net.append_behind(input, name + ".avgpool", AdaptiveAveragePool{.side = 4});
  append_branch(net, net.newest(), name + ".", {{"conv", convolution_same(128, 1)}});
  net.append(name + ".flatten", Flatten{});
  net.append(name + ".fc1", Linear{.out_features = 1024});
  net.append(name + ".relu", Relu{});
  net.append(name + ".dropout", Dropout{.probability = 0.7f});
  net.append(name + ".fc2", Linear{.out_features = num_classes});
  net.end_auxiliary_head(0.3f, trunk);
}

}  // namespace

NetworkSpec build_googlenet(const FamilyOptions& options) {
  const std::int64_t num_classes = options.head.num_classes;
  NetworkBuilder net(options.head);
  append_branch(net, kNetworkInput, "",
                {{"conv1", Convolution{.out_channels = 64, .kernel = 7, .stride = 2, .padding = 3}},
                 {"maxpool1", ceil_max_pool(3, 2, 0)},
                 {"conv2", convolution_same(64, 1)},
                 {"conv3", convolution_same(192, 3)},
                 {"maxpool2", ceil_max_pool(3, 2, 0)}});
  append_googlenet_block(net, {"inception3a", 64, 96, 128, 16, 32, 32});
  append_googlenet_block(net, {"inception3b", 128, 128, 192, 32, 96, 64});
  net.append("maxpool3", ceil_max_pool(3, 2, 0));
  append_googlenet_block(net, {"inception4a", 192, 96, 208, 16, 48, 64});
  const LayerIndex inception4a = net.newest();
  append_googlenet_block(net, {"inception4b", 160, 112, 224, 24, 64, 64});
  append_googlenet_block(net, {"inception4c", 128, 128, 256, 24, 64, 64});
  append_googlenet_block(net, {"inception4d", 112, 144, 288, 32, 64, 64});
  const LayerIndex inception4d = net.newest();
  append_googlenet_block(net, {"inception4e", 256, 160, 320, 32, 128, 128});
  net.append("maxpool4", ceil_max_pool(2, 2, 0));
  append_googlenet_block(net, {"inception5a", 256, 160, 320, 32, 128, 128});
  append_googlenet_block(net, {"inception5b", 384, 192, 384, 48, 128, 128});
  if (options.aux_heads) {  // torchvision lists their tensors here
    append_googlenet_aux(net, "aux1", inception4a, num_classes);
    append_googlenet_aux(net, "aux2", inception4d, num_classes);
  }
  net.append("avgpool", AdaptiveAveragePool{});
  net.append("flatten", Flatten{});
  net.append("dropout", Dropout{.probability = 0.2f});
  net.append("fc", Linear{.out_features = num_classes});
  net.draw_convolutions(normal_draw(0.01));
  net.draw_linears(normal_draw(0.01).with(InitialDraw::Bias::uniform));
  return std::move(net).finish();
}

}  // namespace dtrain
