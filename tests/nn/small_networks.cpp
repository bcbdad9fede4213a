// The networks of small_networks.hpp, written with the builder that the published ones are written with.
#include "tests/nn/small_networks.hpp"

#include <string>
#include <utility>

namespace dtrain {
namespace {

NetworkBuilder begin(std::string name, std::int64_t channels, std::int64_t side) {
  return NetworkBuilder(
      {.name = std::move(name), .channels = channels, .height = side, .width = side, .num_classes = 0, .nodes = {}});
}

Convolution conv3(std::int64_t channels, std::int64_t stride = 1) {
  return {.out_channels = channels, .kernel = 3, .stride = stride, .padding = 1};
}

Convolution conv1(std::int64_t channels, std::int64_t stride = 1, bool has_bias = false) {
  return {.out_channels = channels, .kernel = 1, .stride = stride, .padding = 0, .has_bias = has_bias};
}

/// conv – BN – ReLU; returns the ReLU.
LayerIndex append_stem(NetworkBuilder& net, std::int64_t channels) {
  net.append("stem.conv", conv3(channels));
  net.append("stem.bn", BatchNorm{});
  return net.append("stem.relu", Relu{});
}

}  // namespace

NetworkSpec finish_with_features(NetworkBuilder net) {
  NetworkSpec network = std::move(net).finish();
  if (output_shapes(network, 1).back().size() == 4) {
    NetworkOutput& main = network.outputs.front();
    network.nodes.push_back({.name = "features", .layer = Flatten{}, .inputs = {main.node}});
    main.node = static_cast<LayerIndex>(network.nodes.size()) - 1;
  }
  network.num_classes = output_shapes(network, 1).back()[1];
  return network;
}

NetworkSpec residual_chain() {
  NetworkBuilder net = begin("residual_chain", 3, 7);
  LayerIndex shortcut = append_stem(net, 16);
  for (int block = 0; block < 3; ++block) {
    const std::string name = "block" + std::to_string(block);
    net.append(name + ".conv1", conv3(16));
    net.append(name + ".bn1", BatchNorm{});
    net.append(name + ".relu1", Relu{});
    net.append(name + ".conv2", conv3(16));
    const LayerIndex branch = net.append(name + ".bn2", BatchNorm{});
    net.add(name + ".add", branch, shortcut);
    shortcut = net.append(name + ".relu", Relu{});
  }
  net.append("avgpool", AdaptiveAveragePool{});
  net.append("flatten", Flatten{});
  net.append("fc", Linear{.out_features = 5});
  return finish_with_features(std::move(net));
}

NetworkSpec downsampling_block() {
  NetworkBuilder net = begin("downsampling_block", 3, 8);
  const LayerIndex input = append_stem(net, 16);
  net.append("conv1", conv3(32, 2));
  net.append("bn1", BatchNorm{});
  net.append("relu1", Relu{});
  net.append("conv2", conv3(32));
  const LayerIndex branch = net.append("bn2", BatchNorm{});
  net.append_behind(input, "downsample.0", conv1(32, 2));
  const LayerIndex shortcut = net.append("downsample.1", BatchNorm{});
  net.add("add", branch, shortcut);
  net.append("relu", Relu{});
  return finish_with_features(std::move(net));
}

NetworkSpec three_readers() {
  NetworkBuilder net = begin("three_readers", 3, 6);
  const LayerIndex value = append_stem(net, 16);
  const LayerIndex a = net.append_behind(value, "a", conv3(16));
  const LayerIndex b = net.append_behind(value, "b", conv1(16, 1, true));
  const LayerIndex sum = net.add("add_ab", a, b);
  net.add("add_value", sum, value);
  return finish_with_features(std::move(net));
}

NetworkSpec five_readers() {
  NetworkBuilder net = begin("five_readers", 3, 6);
  const LayerIndex value = net.append("value", conv1(16, 1, true));
  const LayerIndex relu = net.append_behind(value, "relu", Relu{});
  const LayerIndex norm = net.append_behind(value, "norm", BatchNorm{});
  const LayerIndex conv = net.append_behind(value, "conv", conv3(16));
  const LayerIndex pool =
      net.append_behind(value, "pool", Pool{.kind = Pool::Kind::max, .kernel = 3, .stride = 1, .padding = 1});
  LayerIndex sum = net.add("add1", relu, value);
  sum = net.add("add2", norm, sum);
  sum = net.add("add3", sum, conv);
  net.add("add4", pool, sum);
  return finish_with_features(std::move(net));
}

NetworkSpec readers_behind_pools() {
  NetworkBuilder net = begin("readers_behind_pools", 3, 8);
  const LayerIndex value = append_stem(net, 16);
  const Pool halve{.kind = Pool::Kind::max, .kernel = 3, .stride = 2, .padding = 1};
  Pool average = halve;
  average.kind = Pool::Kind::average;
  net.append_behind(value, "maxpool", halve);
  const LayerIndex a = net.append("conv_a", conv3(16));
  net.append_behind(value, "avgpool", average);
  const LayerIndex b = net.append("conv_b", conv1(16));
  const LayerIndex c = net.append_behind(value, "shortcut", PadShortcut{.out_channels = 16});
  const LayerIndex sum = net.add("add_ab", a, b);
  net.add("add_c", sum, c);
  net.append("relu", Relu{});
  return finish_with_features(std::move(net));
}

NetworkSpec doubled_value() {
  NetworkBuilder net = begin("doubled_value", 2, 5);
  const LayerIndex value = net.append("conv", conv3(5));
  net.add("add", value, value);
  net.append("relu", Relu{});
  return finish_with_features(std::move(net));
}

NetworkSpec norm_plus_its_input() {
  NetworkBuilder net = begin("norm_plus_its_input", 2, 6);
  const LayerIndex value = net.append("conv", conv3(16));
  const LayerIndex norm = net.append("norm", BatchNorm{});
  net.add("add", norm, value);
  net.append("relu", Relu{});
  net.append("last", conv1(4));
  return finish_with_features(std::move(net));
}

NetworkSpec sums_without_norm() {
  NetworkBuilder net = begin("sums_without_norm", 3, 6);
  Convolution biased = conv3(16);
  biased.has_bias = true;
  const LayerIndex first = net.append("conv1", biased);
  const LayerIndex second = net.append("conv2", biased);
  net.add("add1", second, first);
  const LayerIndex relu = net.append("relu1", Relu{});
  const LayerIndex third = net.append("conv3", biased);
  net.add("add2", relu, third);
  net.append("relu2", Relu{});
  return finish_with_features(std::move(net));
}

NetworkSpec convolutions_and_linear() {
  NetworkBuilder net = begin("convolutions_and_linear", 1, 12);
  const Pool halve{.kind = Pool::Kind::max, .kernel = 2, .stride = 2};
  net.append("conv1", Convolution{.out_channels = 6, .kernel = 5, .padding = 2, .has_bias = true});
  net.append("relu1", Relu{});
  net.append("pool1", halve);
  net.append("conv2", Convolution{.out_channels = 16, .kernel = 3, .has_bias = true});
  net.append("relu2", Relu{});
  net.append("pool2", halve);
  net.append("flatten", Flatten{});
  net.append("fc1", Linear{.out_features = 20});
  net.append("relu3", Relu{});
  net.append("fc2", Linear{.out_features = 7});
  return finish_with_features(std::move(net));
}

NetworkSpec relus_in_a_row() {
  NetworkBuilder net = begin("relus_in_a_row", 2, 5);
  net.append("conv1", conv3(16));
  net.append("relu1", Relu{});
  const LayerIndex value = net.append("relu2", Relu{});
  net.append("conv2", conv1(16, 1, true));
  const LayerIndex branch = net.append("relu3", Relu{});
  net.add("add", value, branch);
  net.append("relu4", Relu{});
  net.append("relu5", Relu{});
  return finish_with_features(std::move(net));
}

NetworkSpec layers_on_pictures() {
  NetworkBuilder net = begin("layers_on_pictures", 16, 6);
  const LayerIndex conv = net.append_behind(kNetworkInput, "conv", conv3(16));
  const LayerIndex norm = net.append_behind(kNetworkInput, "norm", BatchNorm{});
  const LayerIndex pool =
      net.append_behind(kNetworkInput, "pool", Pool{.kind = Pool::Kind::average, .kernel = 3, .stride = 1, .padding = 1});
  LayerIndex sum = net.add("add1", conv, kNetworkInput);
  sum = net.add("add2", norm, sum);
  net.add("add3", sum, pool);
  return finish_with_features(std::move(net));
}

NetworkSpec dropouts() {
  NetworkBuilder net = begin("dropouts", 3, 6);
  append_stem(net, 16);
  net.append("dropout1", Dropout{.probability = 0.25f});
  net.append("conv", conv3(5));
  net.append("dropout2", Dropout{.probability = 0.5f});
  net.append("flatten", Flatten{});
  net.append("fc1", Linear{.out_features = 24});
  net.append("relu", Relu{});
  net.append("dropout3", Dropout{.probability = 0.5f});
  net.append("fc2", Linear{.out_features = 6});
  return finish_with_features(std::move(net));
}

NetworkSpec inception_block() {
  NetworkBuilder net = begin("inception_block", 3, 7);
  const LayerIndex input = append_stem(net, 32);
  const auto branch = [&](LayerIndex from, const std::string& name, const Convolution& conv) {
    net.append_behind(from, name + ".conv", conv);
    net.append(name + ".bn", BatchNorm{});
    return net.append(name + ".relu", Relu{});
  };
  const LayerIndex a = branch(input, "a", conv1(16));
  const LayerIndex b = branch(branch(input, "b1", conv1(16)), "b2", conv3(32));
  const LayerIndex pool =
      net.append_behind(input, "pool", Pool{.kind = Pool::Kind::max, .kernel = 3, .stride = 1, .padding = 1});
  const LayerIndex c = branch(pool, "c", conv1(16));
  const LayerIndex whole = net.concat("cat1", {a, b, pool, c});
  // Read by six: more gradients than a part adds up by itself.
  std::vector<LayerIndex> readers;
  for (int k = 0; k < 5; ++k) readers.push_back(branch(whole, "r" + std::to_string(k), conv1(16)));
  readers.push_back(net.append_behind(whole, "r5", Pool{.kind = Pool::Kind::average, .kernel = 3, .stride = 1, .padding = 1}));
  net.concat("cat2", readers);
  net.append("last", conv1(8));
  return finish_with_features(std::move(net));
}

NetworkSpec fire_blocks() {
  NetworkBuilder net = begin("fire_blocks", 3, 8);
  net.append("stem", conv1(16, 1, true));
  net.append("stem.relu", Relu{});
  for (int fire = 0; fire < 2; ++fire) {
    const std::string name = "fire" + std::to_string(fire);
    net.append(name + ".squeeze", conv1(16, 1, true));
    const LayerIndex squeezed = net.append(name + ".squeeze.relu", Relu{});
    net.append(name + ".expand1", conv1(16, 1, true));
    const LayerIndex one = net.append(name + ".expand1.relu", Relu{});
    net.append_behind(squeezed, name + ".expand3",
                      Convolution{.out_channels = 32, .kernel = 3, .padding = 1, .has_bias = true});
    const LayerIndex three = net.append(name + ".expand3.relu", Relu{});
    net.concat(name + ".cat", {one, three});
    if (fire == 0) net.append(name + ".pool", Pool{.kind = Pool::Kind::max, .kernel = 3, .stride = 2, .ceil_mode = true});
  }
  net.append("classifier", conv1(10, 1, true));
  net.append("classifier.relu", Relu{});
  net.append("avgpool", AdaptiveAveragePool{});
  return finish_with_features(std::move(net));
}

NetworkSpec dense_block() {
  NetworkBuilder net = begin("dense_block", 3, 6);
  std::vector<LayerIndex> features{append_stem(net, 32)};
  for (int layer = 0; layer < 3; ++layer) {
    const std::string name = "layer" + std::to_string(layer);
    if (features.size() > 1) net.concat(name + ".cat", features);
    net.append_behind(features.size() > 1 ? net.newest() : features[0], name + ".norm1", BatchNorm{});
    net.append(name + ".relu1", Relu{});
    net.append(name + ".conv1", conv1(32));
    net.append(name + ".norm2", BatchNorm{});
    net.append(name + ".relu2", Relu{});
    features.push_back(net.append(name + ".conv2", conv3(16)));
  }
  net.concat("cat", features);
  net.append("norm", BatchNorm{});
  net.append("relu", Relu{});
  net.append("pool", Pool{.kind = Pool::Kind::average, .kernel = 2, .stride = 2});
  net.append("last", conv1(8));
  return finish_with_features(std::move(net));
}

NetworkSpec inverted_residuals() {
  NetworkBuilder net = begin("inverted_residuals", 3, 7);
  LayerIndex shortcut = append_stem(net, 16);
  for (int block = 0; block < 2; ++block) {
    const std::string name = "block" + std::to_string(block);
    const std::int64_t stride = block == 0 ? 2 : 1;
    const std::int64_t channels = 24;  // and 72 hidden ones: they fill blocks of 8 but not of 16
    const std::int64_t hidden = block == 0 ? 32 : 72;
    net.append_behind(shortcut, name + ".expand", conv1(hidden));
    net.append(name + ".bn1", BatchNorm{});
    net.append(name + ".relu1", Relu{.ceiling = 2.0f});
    net.append(name + ".depthwise",
               Convolution{.out_channels = hidden, .kernel = 3, .stride = stride, .padding = 1, .groups = hidden});
    net.append(name + ".bn2", BatchNorm{});
    net.append(name + ".relu2", Relu{.ceiling = 2.0f});
    net.append(name + ".project", conv1(channels));
    const LayerIndex branch = net.append(name + ".bn3", BatchNorm{});
    shortcut = block == 0 ? branch : net.add(name + ".add", branch, shortcut);
  }
  net.append("avgpool", AdaptiveAveragePool{});
  net.append("flatten", Flatten{});
  net.append("fc", Linear{.out_features = 5});
  return finish_with_features(std::move(net));
}

NetworkSpec odd_concat() {
  NetworkBuilder net = begin("odd_concat", 2, 5);
  const LayerIndex value = append_stem(net, 5);
  const LayerIndex conv = net.append("conv", conv3(7));
  const LayerIndex twice = net.concat("cat1", {value, conv, kNetworkInput, value});
  net.append("norm", BatchNorm{});
  const LayerIndex norm = net.append("relu", Relu{});
  const LayerIndex all = net.concat("cat2", {norm, twice});
  net.append_behind(all, "norm2", BatchNorm{});
  net.append("last", conv1(4));
  return finish_with_features(std::move(net));
}

NetworkSpec auxiliary_heads() {
  NetworkBuilder net = begin("auxiliary_heads", 3, 6);
  const LayerIndex value = append_stem(net, 16);
  net.append("aux1.avgpool", AdaptiveAveragePool{.side = 2});
  net.append("aux1.flatten", Flatten{});
  net.append("aux1.fc1", Linear{.out_features = 12});
  net.append("aux1.relu", Relu{});
  net.append("aux1.fc2", Linear{.out_features = 5});
  net.end_auxiliary_head(0.25f, value);
  net.append("conv", conv3(16));
  net.append("bn", BatchNorm{});
  const LayerIndex relu = net.append("relu", Relu{});
  const LayerIndex pool =
      net.append_behind(value, "pool", Pool{.kind = Pool::Kind::max, .kernel = 3, .stride = 1, .padding = 1});
  const LayerIndex whole = net.concat("cat", {relu, pool});
  net.append("aux2.conv", conv1(5, 1, true));
  net.append("aux2.avgpool", AdaptiveAveragePool{});
  net.append("aux2.flatten", Flatten{});
  net.end_auxiliary_head(0.5f, whole);
  net.append("last", conv3(16));
  net.append("last.bn", BatchNorm{});
  net.append("avgpool", AdaptiveAveragePool{});
  net.append("flatten", Flatten{});
  net.append("fc", Linear{.out_features = 5});
  return finish_with_features(std::move(net));
}

std::vector<NetworkSpec> small_networks() {
  return {inception_block(),    fire_blocks(),
          dense_block(),        odd_concat(),
          inverted_residuals(), residual_chain(),
          downsampling_block(), three_readers(),
          five_readers(),       readers_behind_pools(),
          doubled_value(),      norm_plus_its_input(),
          sums_without_norm(),  convolutions_and_linear(),
          relus_in_a_row(),     layers_on_pictures(),
          dropouts(),           auxiliary_heads()};
}

}  // namespace dtrain
