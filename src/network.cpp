// What follows from a network's description by arithmetic alone: shapes, parameters, operations.
#include <algorithm>
#include <numeric>
#include <optional>

#include "dtrain/error.hpp"
#include "dtrain/layers.hpp"

namespace dtrain {
namespace {

/// Combines lambdas into one visitor.
template <typename... Cases>
struct Match : Cases... {
  using Cases::operator()...;
};

/// Places of a window of `kernel` that moves by `stride` over `extent` + 2·`padding` elements; 0 or less: it does not fit.
std::int64_t window_places(std::int64_t extent, std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
  const std::int64_t room = extent + 2 * padding - kernel;
  return room < 0 ? 0 : room / stride + 1;
}

/// PyTorch's rule: rounded up in ceil mode, but the last window must start inside the picture or its left padding.
std::int64_t pool_places(std::int64_t extent, const Pool& pool) {
  const std::int64_t room = extent + 2 * pool.padding - pool.kernel;
  if (!pool.ceil_mode) return window_places(extent, pool.kernel, pool.stride, pool.padding);
  if (room <= -pool.stride) return 0;
  std::int64_t places = (room < 0 ? 0 : (room + pool.stride - 1) / pool.stride) + 1;
  if ((places - 1) * pool.stride >= extent + pool.padding) --places;
  return places;
}

/// Output shape of a layer; nullopt when the picture is too small for its window.
std::optional<Shape> output_shape(const LayerSpec& layer, const std::vector<Shape>& inputs) {
  const Shape& src = inputs.front();
  const auto check_picture = [&] { check(src.size() == 4, "the layer takes pictures (n, c, h, w)"); };
  const auto picture = [](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) -> std::optional<Shape> {
    if (h < 1 || w < 1) return std::nullopt;
    return Shape{n, c, h, w};
  };
  return std::visit(Match{
                        [&](const Convolution& conv) {
                          check_picture();
                          check(conv.out_channels > 0 && conv.kernel.height > 0 && conv.kernel.width > 0 && conv.stride > 0 &&
                                    conv.padding.height >= 0 && conv.padding.width >= 0,
                                "a convolution has positive extents");
                          check(conv.groups > 0 && src[1] % conv.groups == 0 && conv.out_channels % conv.groups == 0,
                                "a convolution's groups share its channels out evenly");
                          return picture(src[0], conv.out_channels,
                                         window_places(src[2], conv.kernel.height, conv.stride, conv.padding.height),
                                         window_places(src[3], conv.kernel.width, conv.stride, conv.padding.width));
                        },
                        [&](const Pool& pool) {
                          check_picture();
                          check(pool.kernel > 0 && pool.stride > 0 && pool.padding >= 0 && 2 * pool.padding <= pool.kernel,
                                "a pooling window has positive extents and at most half of it is padding");
                          return picture(src[0], src[1], pool_places(src[2], pool), pool_places(src[3], pool));
                        },
                        [&](const AdaptiveAveragePool& pool) {
                          check_picture();
                          check(pool.side > 0, "adaptive pooling has a positive extent");
                          return picture(src[0], src[1], pool.side, pool.side);
                        },
                        [&](const PadShortcut& shortcut) {
                          check_picture();
                          check(shortcut.out_channels >= src[1] && (shortcut.out_channels - src[1]) % 2 == 0,
                                "a padded shortcut adds as many channels in front as behind");
                          return picture(src[0], shortcut.out_channels, (src[2] + 1) / 2, (src[3] + 1) / 2);
                        },
                        [&](const BatchNorm&) {
                          check_picture();
                          return std::optional(src);
                        },
                        [&](const Flatten&) {
                          check_picture();
                          return std::optional(Shape{src[0], src[1] * src[2] * src[3]});
                        },
                        [&](const Linear& linear) {
                          check(src.size() == 2, "a linear layer takes rows (n, features)");
                          check(linear.out_features > 0, "a linear layer has outputs");
                          return std::optional(Shape{src[0], linear.out_features});
                        },
                        [&](const Add&) {
                          check(inputs.size() == 2 && inputs[0] == inputs[1], "an addition has two inputs of equal shape");
                          return std::optional(src);
                        },
                        [&](const Concat&) {
                          check_picture();
                          std::int64_t channels = 0;
                          for (const Shape& input : inputs) {
                            check(input.size() == 4 && input[0] == src[0] && input[2] == src[2] && input[3] == src[3],
                                  "concatenated pictures differ in channels alone");
                            channels += input[1];
                          }
                          return picture(src[0], channels, src[2], src[3]);
                        },
                        [&](const Relu&) { return std::optional(src); },
                        [&](const Dropout&) { return std::optional(src); },
                    },
                    layer);
}

Shape picture_shape(const NetworkSpec& network, std::int64_t batch) {
  return {batch, network.channels, network.height, network.width};
}

std::vector<Shape> input_shapes(const NetworkSpec& network, const Node& node, const std::vector<Shape>& outputs,
                                std::int64_t batch) {
  check(!node.inputs.empty(), "a node has an input: " + node.name);
  std::vector<Shape> inputs;
  for (const LayerIndex input : node.inputs) {
    check(input >= kNetworkInput && input < static_cast<LayerIndex>(outputs.size()), "inputs precede a node: " + node.name);
    inputs.push_back(input == kNetworkInput ? picture_shape(network, batch) : outputs[static_cast<std::size_t>(input)]);
  }
  return inputs;
}

/// Output shapes up to the first node for which the picture is too small; all of them when it is large enough.
std::vector<Shape> shapes_until_too_small(const NetworkSpec& network, std::int64_t batch) {
  std::vector<Shape> outputs;
  for (const Node& node : network.nodes) {
    std::optional<Shape> shape = output_shape(node.layer, input_shapes(network, node, outputs, batch));
    if (!shape) break;
    outputs.push_back(std::move(*shape));
  }
  return outputs;
}

/// Side of the smallest square picture that every layer accepts; 0 when none up to 4096 is.
std::int64_t smallest_picture(NetworkSpec network) {
  for (std::int64_t side = 1; side <= 4096; ++side) {
    network.height = network.width = side;
    if (shapes_until_too_small(network, 1).size() == network.nodes.size()) return side;
  }
  return 0;
}

ConfigError too_small_error(const NetworkSpec& network, std::int64_t batch, const std::vector<Shape>& outputs) {
  const Node& node = network.nodes[outputs.size()];
  const std::int64_t smallest = smallest_picture(network);
  const std::string side = std::to_string(smallest);
  return ConfigError(Fault{
      .doing = "planning layer " + node.name + " of " + (network.name.empty() ? "the network" : network.name) +
               " for pictures of " + std::to_string(network.height) + "×" + std::to_string(network.width),
      .expected = "an input that its window fits into",
      .found = "an input of shape " + to_text(input_shapes(network, node, outputs, batch).front()),
      .remedy = smallest > 0 ? "pictures of at least " + side + "×" + side : "another network",
  });
}

std::vector<ParameterSpec> parameters_of(const Node& node, const Shape& src) {
  using Kind = ParameterSpec::Kind;
  const auto named = [&](const char* suffix) { return node.name + "." + suffix; };
  std::vector<ParameterSpec> specs;
  if (const auto* conv = std::get_if<Convolution>(&node.layer)) {
    specs.push_back({named("weight"),
                     {conv->out_channels, src[1] / conv->groups, conv->kernel.height, conv->kernel.width},
                     Kind::conv_weight});
    if (conv->has_bias) specs.push_back({named("bias"), {conv->out_channels}, Kind::bias});
  } else if (std::holds_alternative<BatchNorm>(node.layer)) {
    specs.push_back({named("weight"), {src[1]}, Kind::norm_weight});
    specs.push_back({named("bias"), {src[1]}, Kind::norm_bias});
    specs.push_back({named("running_mean"), {src[1]}, Kind::running_mean});
    specs.push_back({named("running_var"), {src[1]}, Kind::running_var});
  } else if (const auto* linear = std::get_if<Linear>(&node.layer)) {
    specs.push_back({named("weight"), {linear->out_features, src[1]}, Kind::linear_weight});
    specs.push_back({named("bias"), {linear->out_features}, Kind::bias});
  }
  return specs;
}

/// Floating-point operations of each node for one picture.
std::vector<std::int64_t> forward_flops_by_node(const NetworkSpec& network) {
  const std::vector<Shape> outputs = output_shapes(network, 1);
  std::vector<std::int64_t> flops(network.nodes.size(), 0);
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    const Node& node = network.nodes[i];
    const Shape src = input_shapes(network, node, outputs, 1).front();
    if (const auto* conv = std::get_if<Convolution>(&node.layer)) {
      flops[i] = 2 * conv->kernel.height * conv->kernel.width * (src[1] / conv->groups) * element_count(outputs[i]);
    } else if (std::holds_alternative<Linear>(node.layer)) {
      flops[i] = 2 * src[1] * element_count(outputs[i]);
    }
  }
  return flops;
}

bool has_weights(const LayerSpec& layer) {
  return std::holds_alternative<Linear>(layer) || std::holds_alternative<Convolution>(layer);
}

/// Whether a layer's result takes memory of its own, as a rule: element-wise layers are fused into their producers or write
/// over what they read, the inputs of a Concat are made where its result lies, and a Flatten moves nothing.
bool has_memory_of_its_own(const LayerSpec& layer) {
  return std::visit(
      Match{[](const Relu&) { return false; }, [](const Add&) { return false; }, [](const Dropout&) { return false; },
            [](const Concat&) { return false; }, [](const Flatten&) { return false; }, [](const auto&) { return true; }},
      layer);
}

}  // namespace

std::vector<Shape> output_shapes(const NetworkSpec& network, std::int64_t batch) {
  check(batch > 0 && network.channels > 0, "a batch has pictures, and pictures have channels");
  std::vector<Shape> outputs = shapes_until_too_small(network, batch);
  if (outputs.size() < network.nodes.size()) throw too_small_error(network, batch, outputs);
  return outputs;
}

std::vector<std::vector<ParameterSpec>> parameters_by_node(const NetworkSpec& network) {
  const std::vector<Shape> outputs = output_shapes(network, 1);
  std::vector<std::vector<ParameterSpec>> parameters;
  for (const Node& node : network.nodes) {
    parameters.push_back(parameters_of(node, input_shapes(network, node, outputs, 1).front()));
  }
  return parameters;
}

std::vector<std::string> tensor_names(const NetworkSpec& network) {
  std::vector<std::string> names;
  for (const auto& specs : parameters_by_node(network)) {
    for (const ParameterSpec& spec : specs) names.push_back(spec.name);
  }
  return names;
}

std::vector<std::string> head_tensor_names(const NetworkSpec& network) {
  const auto by_node = parameters_by_node(network);
  std::vector<std::string> names;
  for (const NetworkOutput& output : network.outputs) {
    LayerIndex node = output.node;
    while (node != kNetworkInput && !has_weights(network.nodes[static_cast<std::size_t>(node)].layer)) {
      node = network.nodes[static_cast<std::size_t>(node)].inputs.front();
    }
    if (node == kNetworkInput) continue;
    for (const ParameterSpec& spec : by_node[static_cast<std::size_t>(node)]) names.push_back(spec.name);
  }
  return names;
}

std::int64_t forward_flops(const NetworkSpec& network) {
  const std::vector<std::int64_t> by_node = forward_flops_by_node(network);
  return std::accumulate(by_node.begin(), by_node.end(), std::int64_t{0});
}

std::int64_t training_flops(const NetworkSpec& network) {
  const std::vector<std::int64_t> forward = forward_flops_by_node(network);
  const auto parameters = parameters_by_node(network);
  std::int64_t flops = 0;
  std::vector<bool> has_gradient;  // of a node's result: it depends on a parameter
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    const std::vector<LayerIndex>& inputs = network.nodes[i].inputs;
    const bool wants_diff_src = std::any_of(inputs.begin(), inputs.end(), [&](LayerIndex input) {
      return input != kNetworkInput && has_gradient[static_cast<std::size_t>(input)];
    });
    flops += (wants_diff_src ? 3 : 2) * forward[i];
    has_gradient.push_back(wants_diff_src || !parameters[i].empty());
  }
  return flops;
}

std::int64_t activation_elements(const NetworkSpec& network) {
  const std::vector<Shape> outputs = output_shapes(network, 1);
  std::int64_t elements = 0;
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    if (has_memory_of_its_own(network.nodes[i].layer)) elements += element_count(outputs[i]);
  }
  return elements;
}

}  // namespace dtrain
