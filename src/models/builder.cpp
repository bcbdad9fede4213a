// Appends nodes to a network description and checks the whole when it is finished.
#include "src/models/builder.hpp"

#include <utility>

#include "dtrain/error.hpp"

namespace dtrain {

NetworkBuilder::NetworkBuilder(NetworkSpec head) : network_(std::move(head)) {
  check(network_.nodes.empty(), "a builder starts with an empty network");
}

std::int64_t NetworkBuilder::channels(LayerIndex node) const {
  // Follows the first input until a layer says how many channels it makes.
  while (node != kNetworkInput) {
    const Node& at = network_.nodes[static_cast<std::size_t>(node)];
    if (const auto* conv = std::get_if<Convolution>(&at.layer)) return conv->out_channels;
    if (const auto* shortcut = std::get_if<PadShortcut>(&at.layer)) return shortcut->out_channels;
    if (const auto* linear = std::get_if<Linear>(&at.layer)) return linear->out_features;
    if (std::holds_alternative<Concat>(at.layer)) {
      std::int64_t sum = 0;
      for (const LayerIndex input : at.inputs) sum += channels(input);
      return sum;
    }
    check(!std::holds_alternative<Flatten>(at.layer), "channels are asked before flattening");
    node = at.inputs.front();
  }
  return network_.channels;
}

LayerIndex NetworkBuilder::push(Node node) {
  network_.nodes.push_back(std::move(node));
  return newest_ = static_cast<LayerIndex>(network_.nodes.size()) - 1;
}

LayerIndex NetworkBuilder::append_behind(LayerIndex input, std::string name, LayerSpec layer) {
  return push({.name = std::move(name), .layer = std::move(layer), .inputs = {input}});
}

LayerIndex NetworkBuilder::add(std::string name, LayerIndex branch, LayerIndex shortcut) {
  return push({.name = std::move(name), .layer = Add{}, .inputs = {branch, shortcut}});
}

LayerIndex NetworkBuilder::concat(std::string name, std::vector<LayerIndex> nodes) {
  return push({.name = std::move(name), .layer = Concat{}, .inputs = std::move(nodes)});
}

void NetworkBuilder::append_classifier(const std::string& linear_name) {
  append("avgpool", AdaptiveAveragePool{});
  append("flatten", Flatten{});
  append(linear_name, Linear{.out_features = network_.num_classes});
}

void NetworkBuilder::draw_convolutions(const InitialDraw& draw) {
  for (Node& node : network_.nodes) {
    if (auto* const convolution = std::get_if<Convolution>(&node.layer)) convolution->initial = draw;
  }
}

void NetworkBuilder::draw_linears(const InitialDraw& draw) {
  for (Node& node : network_.nodes) {
    if (auto* const linear = std::get_if<Linear>(&node.layer)) linear->initial = draw;
  }
}

void NetworkBuilder::end_auxiliary_head(float loss_weight, LayerIndex trunk) {
  network_.outputs.push_back({.node = newest_, .loss_weight = loss_weight});
  newest_ = trunk;
}

NetworkSpec NetworkBuilder::finish() && {
  network_.outputs.insert(network_.outputs.begin(), {.node = newest_});
  (void)output_shapes(network_, 1);
  return std::move(network_);
}

}  // namespace dtrain
