// The compiled graph: programs, buffers and layers connected; forward and backward as two loops.
#include "dtrain/graph.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <sstream>
#include <utility>

#include "dtrain/error.hpp"
#include "src/nn/buffers.hpp"
#include "src/nn/finite.hpp"
#include "src/nn/instruction_work.hpp"
#include "src/nn/program.hpp"
#include "src/nn/rectify.hpp"

namespace dtrain {

using namespace nn;

std::string to_text(InstructionProfile::Kind kind) {
  switch (kind) {
    case InstructionProfile::Kind::convolution:
      return "convolution";
    case InstructionProfile::Kind::linear:
      return "linear";
    case InstructionProfile::Kind::batch_norm:
      return "batch-norm";
    case InstructionProfile::Kind::pool:
      return "pooling";
    case InstructionProfile::Kind::element_wise:
      return "element-wise";
    case InstructionProfile::Kind::reorder:
      return "reorder";
  }
  return {};
}

std::string to_text(Precision precision) { return precision == Precision::bf16 ? "bf16" : "fp32"; }

Bf16Support bf16_support() {
  using Isa = dnnl::cpu_isa;
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  const auto has = [&](Isa wanted) { return (isa & static_cast<unsigned>(wanted)) == static_cast<unsigned>(wanted); };
  if (has(Isa::avx512_core_bf16)) return Bf16Support::native;
  return has(Isa::avx512_core) ? Bf16Support::slow : Bf16Support::none;
}

namespace {

/// Where the buffers of a program lie in its arena, and what all of it takes.
struct ProgramMemory {
  BufferAssignment buffers;
  std::vector<std::size_t> offsets;  ///< per buffer
  MemoryPlan plan;
};

ProgramMemory plan_program(const std::vector<Instruction>& program, const CompileOptions& options) {
  ProgramMemory memory{.buffers = assign_buffers(program, options.training, options.recompute_norm), .offsets = {}, .plan = {}};
  ArenaPlan arena = plan_arena(memory.buffers.lifetimes);
  memory.offsets = std::move(arena.offsets);
  memory.plan.activations_bytes = arena.size_bytes;
  for (const Instruction& instruction : program) {
    memory.plan.scratchpad_bytes = std::max(memory.plan.scratchpad_bytes, instruction.needs.scratch_bytes);
  }
  return memory;
}

}  // namespace

struct Graph::Compiled {
  Compiled(const NetworkSpec& described, ParameterStore& store, const CompileOptions& compile_options)
      : network(described),
        options(compile_options),
        parameters(store),
        program(build_program(network, options, device, &store)),
        pictures(unbound(pictures_desc(network, options.batch), device)),
        logits(Shape{options.training ? std::ssize(network.outputs) : 1, options.batch, network.num_classes}),
        logits_memory(static_cast<std::size_t>(logits.shape().front())),
        diff_logits_memory(logits_memory.size()) {
    const ProgramMemory memory = plan_program(program, options);
    plan = memory.plan;
    offsets = memory.offsets;
    connect(memory.buffers);
  }

  /// Memory of a buffer with a layout; its address is set by bind.
  dnnl::memory view(BufferId buffer, const Desc& desc, std::size_t offset_bytes = 0) {
    dnnl::memory memory = unbound(desc, device);
    views.emplace_back(memory, offsets[static_cast<std::size_t>(buffer)] + offset_bytes);
    return memory;
  }

  /// Memory of an instruction's result, or of a gradient of it: a slice where it is part of another's.
  dnnl::memory result_view(BufferId buffer, const Instruction& instruction) {
    if (!instruction.is_part()) return view(buffer, instruction.dst);
    const Desc& whole = program[static_cast<std::size_t>(instruction.part_of)].dst;
    return view(buffer, channel_slice_desc(whole, dims_of(instruction.dst)[1]),
                channel_offset_bytes(whole, instruction.first_channel));
  }

  static Desc bytes_desc(std::size_t bytes) {
    return Desc({static_cast<std::int64_t>(bytes)}, dnnl::memory::data_type::u8, dnnl::memory::format_tag::a);
  }

  void connect(const BufferAssignment& assignment) {
    std::vector<dnnl::memory> results_in_backward;
    for (std::size_t i = 0; i < program.size(); ++i) {
      const Instruction& instruction = program[i];
      const InstructionBuffers& buffers = assignment.instructions[i];
      LayerConnections to{
          .dst = result_view(buffers.dst, instruction), .workspace = {}, .scratch = {}, .parameters = &parameters};
      if (buffers.recomputed_dst != kNoBuffer) to.recomputed_dst = view(buffers.recomputed_dst, instruction.dst);
      results.push_back(to.dst);
      results_in_backward.push_back(to.recomputed_dst ? to.recomputed_dst : to.dst);
      recompute_first.push_back(buffers.recompute_first);
      for (const int input : instruction.inputs) {
        const auto at = static_cast<std::size_t>(input);
        to.src.push_back(input == kNetworkInput ? pictures : results[at]);
        to.src_in_backward.push_back(input == kNetworkInput ? pictures : results_in_backward[at]);
      }
      if (buffers.workspace != kNoBuffer) to.workspace = view(buffers.workspace, bytes_desc(instruction.needs.workspace_bytes));
      if (buffers.scratch != kNoBuffer) to.scratch = view(buffers.scratch, bytes_desc(instruction.needs.scratch_bytes));
      to.diff_src.resize(instruction.inputs.size());
      to.adds_to_diff_src = buffers.adds_to_diff_src;
      extra_sums.emplace_back();
      for (std::size_t k = 0; k < buffers.diff_dst.size(); ++k) {
        const dnnl::memory addend = result_view(buffers.diff_dst[k], instruction);
        if (static_cast<int>(k) < instruction.needs.diff_dst_addends) {
          to.diff_dst.push_back(addend);
        } else {
          extra_sums.back().push_back({.from = addend, .to = to.diff_dst[0]});
        }
      }
      for (std::size_t k = 0; k < buffers.diff_src.size(); ++k) {
        if (buffers.diff_src[k] == kNoBuffer) continue;
        to.diff_src[k] = view(buffers.diff_src[k], program[static_cast<std::size_t>(instruction.inputs[k])].dst);
      }
      instruction.layer->connect(to);
      if (instruction.gives_logits()) {
        const auto output = static_cast<std::size_t>(instruction.output);
        check(to.dst.get_desc().get_size() == output_bytes(), "an output has logits of num_classes: " + instruction.name);
        logits_memory[output] = to.dst;
        if (options.training) diff_logits_memory[output] = to.diff_dst[0];
      }
    }
  }

  /// Of the logits of one output.
  std::size_t output_bytes() const { return logits.values().size_bytes() / logits_memory.size(); }

  /// from is added to `to` before the layer's backward runs.
  struct Sum {
    dnnl::memory from, to;
    Runs from_runs{}, to_runs{};
    void bound() { from_runs = Runs(from), to_runs = Runs(to); }
    void run() const { add(to_runs, from_runs, to_runs); }
  };

  Device device;
  NetworkSpec network;
  CompileOptions options;
  ParameterStore& parameters;
  std::vector<Instruction> program;
  std::vector<std::size_t> offsets;
  std::vector<std::pair<dnnl::memory, std::size_t>> views;
  std::vector<std::vector<Sum>> extra_sums;       // per instruction
  std::vector<std::vector<int>> recompute_first;  // per instruction
  std::vector<dnnl::memory> results;              // per instruction
  dnnl::memory pictures;
  std::size_t pictures_bytes = pictures.get_desc().get_size();
  MemoryPlan plan;
  Tensor logits;
  std::vector<dnnl::memory> logits_memory, diff_logits_memory;  // per output
  PassOptions pass;
  bool is_bound = false;
  std::vector<InstructionProfile> profile;  // per instruction; empty: not measured

  /// The node that gives an instruction its name and its weights.
  LayerIndex naming_node(const Instruction& instruction) const {
    const auto named = std::find_if(instruction.nodes.begin(), instruction.nodes.end(), [&](LayerIndex node) {
      return network.nodes[static_cast<std::size_t>(node)].name == instruction.name;
    });
    check(named != instruction.nodes.end(), "an instruction bears the name of a node: " + instruction.name);
    return *named;
  }

  bool has_finite_weights(const Instruction& instruction) const {
    const std::vector<LayerParameter> of_layer = instruction.layer->parameters();
    return std::all_of(of_layer.begin(), of_layer.end(), [&](const LayerParameter& parameter) {
      return !parameter.spec.is_trained() || all_finite(parameters.values(*parameters.find(parameter.spec.name)));
    });
  }

  /// Does the work, and adds the time it took where the graph is profiled.
  template <typename Work>
  void timed(std::size_t instruction, double& (*place)(InstructionProfile&), Work work) {
    if (profile.empty()) return work();
    const auto begin = std::chrono::steady_clock::now();
    work();
    place(profile[instruction]) += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
};

std::vector<ParameterStore::Entry> Graph::plan_parameters(const NetworkSpec& network, const CompileOptions& options,
                                                          bool plain) {
  const Device device;
  const std::vector<Instruction> program = build_program(network, options, device, nullptr);
  std::vector<ParameterStore::Entry> entries;
  for (auto instruction = program.rbegin(); instruction != program.rend(); ++instruction) {
    for (const LayerParameter& parameter : instruction->layer->parameters()) {
      entries.push_back({parameter.spec, plain ? plain_layout(parameter.spec.shape) : parameter.wish});
    }
  }
  return entries;
}

MemoryPlan Graph::plan_memory(const NetworkSpec& network, const ParameterStore& parameters, const CompileOptions& options) {
  const Device device;
  return plan_program(build_program(network, options, device, &parameters), options).plan;
}

namespace {

// The clocks of an instruction.
double& weights_brought(InstructionProfile& instruction) { return instruction.bring_weights_s; }
double& forward_time(InstructionProfile& instruction) { return instruction.forward.seconds; }
double& data_time(InstructionProfile& instruction) { return instruction.backward_data.seconds; }
double& weights_time(InstructionProfile& instruction) { return instruction.backward_weights.seconds; }

}  // namespace

Graph::Graph(const NetworkSpec& network, ParameterStore& parameters, const CompileOptions& options)
    : compiled_(std::make_unique<Compiled>(network, parameters, options)) {}
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;
Graph::~Graph() = default;

const CompileOptions& Graph::options() const { return compiled_->options; }
const MemoryPlan& Graph::memory_plan() const { return compiled_->plan; }

void Graph::bind(std::span<std::byte> arena) {
  check(arena.size() >= compiled_->plan.activations_bytes, "Graph::bind: the arena holds the plan");
  for (const auto& [memory, offset] : compiled_->views) memory.set_data_handle(arena.data() + offset);
  for (const Instruction& instruction : compiled_->program) instruction.layer->bound();
  for (std::vector<Compiled::Sum>& sums : compiled_->extra_sums) {
    for (Compiled::Sum& sum : sums) sum.bound();
  }
  compiled_->is_bound = true;
}

const Tensor& Graph::forward(std::span<const float> images, const PassOptions& pass,
                             const std::function<void(LayerIndex)>& before_layer) {
  Compiled& graph = *compiled_;
  check(graph.is_bound, "Graph::forward: bound before");
  check(images.size() * sizeof(float) >= graph.pictures_bytes, "Graph::forward: a whole batch of pictures");
  graph.pass = pass;
  graph.pictures.set_data_handle(const_cast<float*>(images.data()));  // read only: oneDNN's handles are not const
  for (std::size_t i = 0; i < graph.program.size(); ++i) {
    if (before_layer) {
      for (const LayerIndex node : graph.program[i].nodes) before_layer(node);
    }
    Layer& layer = *graph.program[i].layer;
    graph.timed(i, weights_brought, [&] { layer.bring_forward_weights(); });
    graph.timed(i, forward_time, [&] { layer.forward(pass); });
  }
  std::byte* logits = std::as_writable_bytes(graph.logits.values()).data();
  for (const dnnl::memory& output : graph.logits_memory) {
    std::memcpy(logits, output.get_data_handle(), graph.output_bytes());
    logits += graph.output_bytes();
  }
  return graph.logits;
}

void Graph::backward(std::span<const float> diff_logits, const std::function<void(LayerIndex)>& on_layer_done) {
  Compiled& graph = *compiled_;
  check(graph.options.training, "Graph::backward: compiled for training");
  check(diff_logits.size() == graph.logits.values().size(), "Graph::backward: (outputs, batch, classes) gradients");
  const std::byte* diff = std::as_bytes(diff_logits).data();
  for (const dnnl::memory& output : graph.diff_logits_memory) {
    std::memcpy(output.get_data_handle(), diff, graph.output_bytes());
    diff += graph.output_bytes();
  }
  for (std::size_t i = graph.program.size(); i-- > 0;) {
    const Instruction& instruction = graph.program[i];
    if (instruction.has_gradient) {
      Layer& layer = *instruction.layer;
      graph.timed(i, data_time, [&] {
        for (const Compiled::Sum& sum : graph.extra_sums[i]) sum.run();
      });
      for (const int recomputed : graph.recompute_first[i]) {
        const auto at = static_cast<std::size_t>(recomputed);
        graph.timed(at, data_time, [&] { graph.program[at].layer->recompute(); });
      }
      graph.timed(i, weights_time, [&] { layer.backward_weights(graph.pass); });
      graph.timed(i, weights_brought, [&] { layer.bring_backward_weights(); });
      graph.timed(i, data_time, [&] { layer.backward_data(graph.pass); });
    }
    for (auto node = instruction.nodes.rbegin(); node != instruction.nodes.rend(); ++node) on_layer_done(*node);
  }
}

void Graph::forward_without_pictures(const PassOptions& pass, const std::function<void(LayerIndex)>& before_layer) {
  Compiled& graph = *compiled_;
  check(graph.options.training && pass.across_ranks != nullptr, "Graph: without pictures beside other ranks in training");
  graph.pass = pass;
  for (const Instruction& instruction : graph.program) {
    if (before_layer) {
      for (const LayerIndex node : instruction.nodes) before_layer(node);
    }
    instruction.layer->forward_without_pictures(pass);
  }
}

void Graph::backward_without_pictures(const std::function<void(LayerIndex)>& on_layer_done) {
  Compiled& graph = *compiled_;
  for (auto instruction = graph.program.rbegin(); instruction != graph.program.rend(); ++instruction) {
    if (instruction->has_gradient) instruction->layer->backward_without_pictures(graph.pass);
    for (auto node = instruction->nodes.rbegin(); node != instruction->nodes.rend(); ++node) on_layer_done(*node);
  }
}

std::optional<NonFiniteNode> Graph::find_non_finite(std::span<const float> images, const PassOptions& pass) {
  Compiled& graph = *compiled_;
  check(graph.is_bound, "Graph::find_non_finite: bound before");
  const auto statistics = graph.parameters.statistics();
  const std::vector<float> statistics_before(statistics.begin(), statistics.end());
  graph.pictures.set_data_handle(const_cast<float*>(images.data()));
  std::optional<NonFiniteNode> found;
  if (!is_finite(Runs(graph.pictures))) found = NonFiniteNode{.node = kNetworkInput};
  // To the end, whatever is found: backward reads the results, and buffers are reused on the way.
  for (std::size_t i = 0; i < graph.program.size(); ++i) {
    const Instruction& instruction = graph.program[i];
    instruction.layer->bring_forward_weights();
    instruction.layer->forward(pass);
    if (found || instruction.nodes.empty()) continue;  // a reorder shows what its input is
    const bool in_weights = !graph.has_finite_weights(instruction);
    if (in_weights || !is_finite(Runs(graph.results[i]))) {
      found = NonFiniteNode{.node = graph.naming_node(instruction), .in_weights = in_weights};
    }
  }
  std::ranges::copy(statistics_before, statistics.begin());
  return found;
}

void Graph::start_profile() {
  Compiled& graph = *compiled_;
  graph.profile.clear();
  for (const Instruction& instruction : graph.program) {
    graph.profile.push_back(work_of(graph.network, graph.program, instruction, graph.options));
  }
}

std::vector<InstructionProfile> Graph::profile() const { return compiled_->profile; }

std::string Graph::describe() const {
  std::ostringstream text;
  for (const Instruction& instruction : compiled_->program) {
    text << instruction.name << ": " << instruction.layer->describe() << "\n";
  }
  return text.str();
}

}  // namespace dtrain
