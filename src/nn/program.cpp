// From operations to instructions; see program.hpp.
#include "src/nn/program.hpp"

#include <algorithm>
#include <map>

#include "dtrain/error.hpp"

namespace dtrain::nn {
namespace {

class ProgramBuilder {
 public:
  ProgramBuilder(const NetworkSpec& network, const CompileOptions& options, const Device& device,
                 const ParameterStore* parameters)
      : network_(network),
        options_(options),
        device_(device),
        parameters_(parameters),
        shapes_(output_shapes(network, options.batch)) {}

  std::vector<Instruction> build() && {
    const std::vector<Operation> operations = fuse(network_, options_.fusions, options_.training);
    for (const Operation& operation : operations) {
      for (const int input : operation.inputs) ++readers_[input];
    }
    for (const Operation& operation : operations) {
      const Node& node = network_.nodes[static_cast<std::size_t>(operation.node)];
      std::holds_alternative<Concat>(node.layer) ? append_concat(operation, node) : append(operation, node);
    }
    for (std::size_t k = 0; k < operations.size(); ++k) {
      if (operations[k].output >= 0) give_logits(result_of_[k], operations[k].output);
    }
    return std::move(program_);
  }

 private:
  Desc desc_of_input(int instruction) const {
    return instruction == kNetworkInput ? pictures_desc(network_, options_.batch) : at(instruction).dst;
  }
  bool has_gradient(int instruction) const { return instruction != kNetworkInput && at(instruction).has_gradient; }
  const Instruction& at(int instruction) const { return program_[static_cast<std::size_t>(instruction)]; }

  LayerContext context(const std::string& name, const std::vector<int>& inputs) const {
    LayerContext context{.device = device_, .options = options_, .parameters = parameters_, .name = name};
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

  std::vector<int> instructions_of(const std::vector<int>& operations) const {
    std::vector<int> instructions;
    for (const int operation : operations) {
      instructions.push_back(operation == kNetworkInput ? kNetworkInput : result_of_[static_cast<std::size_t>(operation)]);
    }
    return instructions;
  }

  int push_reorder(const std::string& name, int input, const Desc& wish) {
    return push({.name = name + ".reorder",
                 .layer = make_reorder(wish, context(name + ".reorder", {input})),
                 .inputs = {input},
                 .nodes = {},
                 .dst = {},
                 .needs = {}});
  }

  /// Makes a result an output of the network, row-major and in f32.
  void give_logits(int instruction, int output) {
    const Desc logits = plain_desc(dims_of(at(instruction).dst));
    if (at(instruction).dst != logits) {
      instruction = push_reorder(output == 0 ? "logits" : at(instruction).name + ".logits", instruction, logits);
    }
    program_[static_cast<std::size_t>(instruction)].output = output;
  }

  void append(const Operation& operation, const Node& node) {
    std::vector<int> inputs = instructions_of(operation.inputs);
    LayerContext layer_context = context(node.name, inputs);
    layer_context.dst_shape = shapes_[static_cast<std::size_t>(operation.nodes.back())];
    layer_context.relu = operation.relu;
    layer_context.ceiling = operation.ceiling;
    layer_context.pool = operation.pool;
    layer_context.concatenates = operation.concatenates;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      const Desc wish = wished_src(node.layer, layer_context, static_cast<int>(k));
      if (wish == layer_context.src[k]) continue;
      inputs[k] = push_reorder(node.name, inputs[k], wish);
      layer_context.src[k] = wish;
    }
    layer_context.position = operation.node;
    layer_context.gives_logits = operation.output >= 0;
    result_of_.push_back(push({.name = node.name,
                               .layer = make_layer(node.layer, std::move(layer_context)),
                               .inputs = inputs,
                               .nodes = operation.nodes,
                               .dst = {},
                               .needs = {}}));
  }

  /// See Note [Parts are made in place]. An input that cannot be made in place is copied to its slice.
  void append_concat(const Operation& operation, const Node& node) {
    std::vector<int> inputs = instructions_of(operation.inputs);
    const int block = common_block(inputs);
    for (std::size_t k = 0; k < inputs.size(); ++k) {
      const Desc actual = desc_of_input(inputs[k]);
      const DataType type = activation_type(options_);
      const Desc wish = block != 0 ? channel_blocked_desc(dims_of(actual), block, type) : plain_desc(dims_of(actual), type);
      const bool is_read_by_others = readers_[operation.inputs[k]] > 1;
      if (wish != actual) inputs[k] = push_reorder(node.name, inputs[k], wish);
      const bool is_made_in_place = options_.fusions.concat_slices && inputs[k] != kNetworkInput &&
                                    at(inputs[k]).needs.dst_may_be_slice && !is_read_by_others;
      if (is_made_in_place) continue;
      const std::string name = node.name + ".copy" + std::to_string(k);
      inputs[k] = push({.name = name,
                        .layer = make_slice_copy(context(name, {inputs[k]})),
                        .inputs = {inputs[k]},
                        .nodes = {},
                        .dst = {},
                        .needs = {}});
    }
    LayerContext layer_context = context(node.name, inputs);
    layer_context.dst_shape = shapes_[static_cast<std::size_t>(operation.node)];
    const int whole = push({.name = node.name,
                            .layer = make_concat(std::move(layer_context)),
                            .inputs = inputs,
                            .nodes = operation.nodes,
                            .dst = {},
                            .needs = {}});
    std::int64_t channel = 0;
    for (const int input : inputs) {
      Instruction& part = program_[static_cast<std::size_t>(input)];
      part.part_of = whole;
      part.first_channel = channel;
      channel += dims_of(part.dst)[1];
    }
    result_of_.push_back(whole);
  }

  /// The block of channels that all inputs have and that slices can be cut at; 0: row-major.
  int common_block(const std::vector<int>& inputs) const {
    const int block = channel_block(desc_of_input(inputs.front()));
    if (block == 0) return 0;
    const bool fits = std::all_of(inputs.begin(), inputs.end(), [&](int input) {
      const Desc desc = desc_of_input(input);
      return channel_block(desc) == block && dims_of(desc)[1] % block == 0;
    });
    return fits ? block : 0;
  }

  const NetworkSpec& network_;
  const CompileOptions& options_;
  const Device& device_;
  const ParameterStore* parameters_;
  std::vector<Shape> shapes_;
  std::vector<Instruction> program_;
  std::vector<int> result_of_;  // operation → instruction
  std::map<int, int> readers_;  // operation → operations that read it
};

}  // namespace

Desc pictures_desc(const NetworkSpec& network, std::int64_t batch) {
  return plain_desc({batch, network.channels, network.height, network.width});
}

std::vector<Instruction> build_program(const NetworkSpec& network, const CompileOptions& options, const Device& device,
                                       const ParameterStore* parameters) {
  check(options.batch > 0, "a graph is compiled for at least one picture");
  check(!network.nodes.empty() && !network.outputs.empty(), "a network has nodes, and one gives the logits");
  if (options.precision == Precision::bf16 && bf16_support() == Bf16Support::none) {
    throw ConfigError(Fault{.doing = "compiling " + network.name + " for bf16",
                            .expected = "a CPU with AVX-512",
                            .found = "one without, for which oneDNN has no bf16 convolutions",
                            .remedy = "--precision fp32"});
  }
  return ProgramBuilder(network, options, device, parameters).build();
}

}  // namespace dtrain::nn
