// Floating-point operations and bytes from shapes and types; see instruction_work.hpp.
#include "src/nn/instruction_work.hpp"

#include <algorithm>

namespace dtrain::nn {
namespace {

using InstructionKind = InstructionProfile::Kind;

InstructionKind kind_of(const NetworkSpec& network, const Instruction& instruction) {
  if (instruction.nodes.empty()) return InstructionKind::reorder;
  const auto holds = [&]<typename Layer>(Layer) {
    return std::any_of(instruction.nodes.begin(), instruction.nodes.end(), [&](LayerIndex node) {
      return std::holds_alternative<Layer>(network.nodes[static_cast<std::size_t>(node)].layer);
    });
  };
  if (holds(Convolution{})) return InstructionKind::convolution;
  if (holds(Linear{})) return InstructionKind::linear;
  if (holds(BatchNorm{})) return InstructionKind::batch_norm;
  if (holds(Pool{}) || holds(AdaptiveAveragePool{})) return InstructionKind::pool;
  return holds(Flatten{}) || holds(Concat{}) ? InstructionKind::reorder : InstructionKind::element_wise;
}

std::int64_t bytes_of(const Desc& desc) { return static_cast<std::int64_t>(desc.get_size()); }

std::int64_t weight_elements(const Instruction& instruction) {
  std::int64_t elements = 0;
  for (const LayerParameter& parameter : instruction.layer->parameters()) {
    if (parameter.spec.decays()) elements += element_count(parameter.spec.shape);
  }
  return elements;
}

}  // namespace

InstructionProfile work_of(const NetworkSpec& network, const std::vector<Instruction>& program, const Instruction& instruction,
                           const CompileOptions& options) {
  InstructionProfile work;
  work.name = instruction.name;
  work.kind = kind_of(network, instruction);
  work.description = instruction.layer->describe();
  const bool is_in_place = std::any_of(program.begin(), program.end(), [&](const Instruction& other) {
    return other.is_part() && &program[static_cast<std::size_t>(other.part_of)] == &instruction;
  });
  if (is_in_place) return work;  // a Concat

  std::int64_t src_bytes = 0;
  std::int64_t wanted_bytes = 0;  // of the gradients of inputs
  std::int64_t read_again_bytes = instruction.needs.dst_in_backward ? bytes_of(instruction.dst) : 0;
  for (std::size_t k = 0; k < instruction.inputs.size(); ++k) {
    const int input = instruction.inputs[k];
    const Desc desc =
        input == kNetworkInput ? pictures_desc(network, options.batch) : program[static_cast<std::size_t>(input)].dst;
    src_bytes += bytes_of(desc);
    if (instruction.needs.src_in_backward[k]) read_again_bytes += bytes_of(desc);
    if (input != kNetworkInput && program[static_cast<std::size_t>(input)].has_gradient) wanted_bytes += bytes_of(desc);
  }
  const std::int64_t weights = weight_elements(instruction);
  const auto element_bytes = static_cast<std::int64_t>(dnnl::memory::data_type_size(activation_type(options)));
  const std::int64_t dst_bytes = bytes_of(instruction.dst);
  // A weight takes part in as many products as the result has pixels (a linear layer's has one).
  const Dims dims = dims_of(instruction.dst);
  const std::int64_t flops = 2 * weights * dims[0] * (dims.size() == 4 ? dims[2] * dims[3] : 1);

  work.forward = {.flops = flops, .bytes = src_bytes + dst_bytes + weights * element_bytes};
  if (!instruction.has_gradient) return work;
  if (weights > 0) {
    work.backward_weights = {.flops = flops,
                             .bytes = read_again_bytes + dst_bytes + weights * static_cast<std::int64_t>(sizeof(float))};
    if (wanted_bytes > 0) {
      work.backward_data = {.flops = flops, .bytes = dst_bytes + wanted_bytes + weights * element_bytes};
    }
  } else {
    work.backward_data = {.flops = 0, .bytes = dst_bytes + read_again_bytes + wanted_bytes};
  }
  return work;
}

}  // namespace dtrain::nn
