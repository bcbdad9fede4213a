// From operations to instructions; see program.hpp.
#include "src/nn/program.hpp"

#include <algorithm>

#include "dtrain/error.hpp"

namespace dtrain::nn {
namespace {

class ProgramBuilder {
 public:
  ProgramBuilder(const NetworkSpec& network, const CompileOptions& options, const Device& device)
      : network_(network), options_(options), device_(device), shapes_(output_shapes(network, options.batch)) {}

  std::vector<Instruction> build() && {
    for (const Operation& operation : fuse(network_)) append(operation);
    return std::move(program_);
  }

 private:
  Desc desc_of_input(int instruction) const {
    return instruction == kNetworkInput ? pictures_desc(network_, options_.batch) : at(instruction).dst;
  }
  bool has_gradient(int instruction) const { return instruction != kNetworkInput && at(instruction).has_gradient; }
  const Instruction& at(int instruction) const { return program_[static_cast<std::size_t>(instruction)]; }

  LayerContext context(const std::string& name, const std::vector<int>& inputs) const {
    LayerContext context{.device = device_, .options = options_, .name = name};
    for (const int input : inputs) {
      context.src.push_back(desc_of_input(input));
      context.wants_diff_src.push_back(options_.training && has_gradient(input));
    }
    context.position = static_cast<int>(program_.size());
    return context;
  }

  int push(Instruction instruction) {
    instruction.dst = instruction.layer->dst_desc();
    instruction.needs = instruction.layer->needs();
    const auto parameters = instruction.layer->parameters();
    instruction.has_gradient =
        options_.training &&
        (std::any_of(parameters.begin(), parameters.end(), [](const LayerParameter& p) { return p.spec.is_trained(); }) ||
         std::any_of(instruction.inputs.begin(), instruction.inputs.end(), [&](int input) { return has_gradient(input); }));
    program_.push_back(std::move(instruction));
    return static_cast<int>(program_.size()) - 1;
  }

  void append(const Operation& operation) {
    const Node& node = network_.nodes[static_cast<std::size_t>(operation.node)];
    std::vector<int> inputs;
    for (const int input : operation.inputs) inputs.push_back(input == kNetworkInput ? kNetworkInput : result_of_[input]);

    LayerContext layer_context = context(node.name, inputs);
    layer_context.dst_shape = shapes_[static_cast<std::size_t>(operation.nodes.back())];
    layer_context.relu = operation.relu;
    layer_context.pool = operation.pool;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      const Desc wish = wished_src(node.layer, layer_context, static_cast<int>(k));
      if (wish == layer_context.src[k]) continue;
      LayerContext reorder_context = context(node.name + ".reorder", {inputs[k]});
      inputs[k] = push({.name = node.name + ".reorder",
                        .layer = make_reorder(wish, std::move(reorder_context)),
                        .inputs = {inputs[k]},
                        .nodes = {},
                        .dst = {},
                        .needs = {}});
      layer_context.src[k] = wish;
    }
    layer_context.position = operation.node;
    result_of_.push_back(push({.name = node.name,
                               .layer = make_layer(node.layer, std::move(layer_context)),
                               .inputs = inputs,
                               .nodes = operation.nodes,
                               .dst = {},
                               .needs = {}}));
  }

  const NetworkSpec& network_;
  const CompileOptions& options_;
  const Device& device_;
  std::vector<Shape> shapes_;
  std::vector<Instruction> program_;
  std::vector<int> result_of_;  // operation → instruction
};

}  // namespace

Desc pictures_desc(const NetworkSpec& network, std::int64_t batch) {
  return plain_desc({batch, network.channels, network.height, network.width});
}

std::vector<Instruction> build_program(const NetworkSpec& network, const CompileOptions& options, const Device& device) {
  check(options.batch > 0, "a graph is compiled for at least one picture");
  check(!network.nodes.empty(), "a network has nodes");
  if (options.precision != Precision::fp32) {
    throw ConfigError(Fault{.doing = "compiling " + network.name,
                            .expected = "precision fp32",
                            .found = "bf16, whose kernels are not built yet",
                            .remedy = "--precision fp32"});
  }
  return ProgramBuilder(network, options, device).build();
}

}  // namespace dtrain::nn
