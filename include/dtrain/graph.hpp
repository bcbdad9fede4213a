// A network compiled for one batch size: primitives, formats, fusions and addresses are fixed here, so that
// forward and backward allocate nothing, look nothing up and decide nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dtrain/layers.hpp"
#include "dtrain/parameters.hpp"
#include "dtrain/tensor.hpp"

namespace dtrain {

/// Type of activations, their gradients and working weights; master weights and their gradients, batch-norm's statistics, all
/// sums and the loss are f32 always.
enum class Precision { fp32, bf16 };
/// "fp32" or "bf16".
std::string to_text(Precision precision);

/// What bf16 is to this CPU: computed by its instructions (avx512_bf16, AMX), imitated with those for f32 (any other AVX-512, a
/// few times slower than f32), or not to be had. Respects oneDNN's ONEDNN_MAX_CPU_ISA.
enum class Bf16Support { native, slow, none };
Bf16Support bf16_support();

/// automatic may use Winograd for 3×3 stride-1 convolutions (faster, rounding errors about 10× larger); direct never.
enum class ConvAlgorithm { automatic, direct };

/// Steps of optimising a graph, each of which can be left out to measure what it brings; the results are the same to rounding.
struct Fusions {
  bool norm_relu = true;      ///< batch-norm and the ReLU behind it in one pass
  bool norm_add = true;       ///< batch-norm and the residual sum behind it in one pass
  bool norm_pool = true;      ///< batch-norm, ReLU and max pooling without writing the large tensor in between
  bool norm_concat = true;    ///< batch-norm reads the inputs of a Concat where they are
  bool conv_relu = true;      ///< convolution with its ReLU
  bool relu_pool = true;      ///< ReLU behind the max pooling that follows it: on fewer values, and what is pooled is not kept
  bool concat_slices = true;  ///< inputs of a Concat are made where its result lies

  bool operator==(const Fusions&) const = default;
};
/// "all", "none", or names joined by commas: "norm-relu,norm-add". Errors: ConfigError.
Fusions parse_fusions(std::string_view text);

struct CompileOptions {
  std::int64_t batch = 1;  ///< pictures in one forward call
  bool training = true;    ///< false: batch-norm uses running statistics, nothing is kept for backward
  Precision precision = Precision::fp32;
  ConvAlgorithm conv_algorithm = ConvAlgorithm::automatic;
  Fusions fusions{};
  /// Results of batch-norm, residual sums included, and of 1×1 convolutions of few channels are computed again in backward
  /// instead of being kept.
  bool recompute_norm = false;
  bool accumulates = true;  ///< false: every step is one micro-batch, and no scratch is kept for adding up gradients
  std::uint64_t seed = 1;   ///< of dropout masks
};

/// How ranks that make a pass at the same time share batch-norm's statistics. All of them call in the same order, with as many
/// values, and have the same bits afterwards. The first rank has pictures; others may have fewer or none.
struct StatisticsExchange {
  std::function<void(std::span<float>)> broadcast;  ///< the first rank's values, in place
  std::function<void(std::span<double>)> sum;       ///< over all ranks, in place
};

/// What distinguishes one forward/backward pair from the next.
struct PassOptions {
  std::int64_t step = 0;             ///< position of dropout masks
  std::int64_t first_sample = 0;     ///< position of the first picture in the global batch, for dropout masks
  bool is_first_micro_batch = true;  ///< gradients are overwritten, later ones add to them
  float statistics_share = 1.0f;     ///< of the step's pictures whose statistics count together: weighs the running ones
  float statistics_before = 0.0f;    ///< shares of the step's earlier micro-batches together
  /// Batch-norm's statistics are those of the micro-batches of all ranks together, of whatever sizes. Cost: a broadcast and a
  /// sum for every batch-norm in forward, a sum in backward. Outlives backward. Null: those of this micro-batch alone.
  const StatisticsExchange* across_ranks = nullptr;
};

/// Bytes planned before the first step.
struct MemoryPlan {
  std::size_t activations_bytes = 0;  ///< arena: activations, their gradients, workspaces, reused by liveness
  std::size_t scratchpad_bytes = 0;   ///< part of the arena: the largest scratchpad a primitive asked for
};

/// What one direction of an instruction of the compiled graph costs; all zero where it has no such direction.
struct DirectionProfile {
  std::int64_t flops = 0;  ///< a call, 2 per multiply-add, of convolutions and linear layers
  std::int64_t bytes = 0;  ///< a call, were every operand read or written once
  double seconds = 0.0;    ///< over all calls since profiling began
};

/// An instruction and where its time went.
struct InstructionProfile {
  enum class Kind { convolution, linear, batch_norm, pool, element_wise, reorder };
  std::string name;  ///< of the node: "layer1.0.conv1"
  Kind kind = Kind::element_wise;
  std::string description;  ///< implementation and what was taken in
  DirectionProfile forward, backward_data, backward_weights;
  double bring_weights_s = 0.0;  ///< working weights from master weights
};
/// "convolution", "batch-norm", …
std::string to_text(InstructionProfile::Kind kind);

/// The most that the threads of the caller can do, as a large matrix product and STREAM's triad reach it.
struct MachinePeaks {
  double matmul_gflops = 0.0;
  double triad_gb_per_s = 0.0;
};
/// Cost: about half a second, 200 MB for its duration.
MachinePeaks measure_peaks(Precision precision);

/// Where a pass first leaves the finite numbers.
struct NonFiniteNode {
  LayerIndex node = 0;      ///< kNetworkInput: the pictures
  bool in_weights = false;  ///< a weight or bias of the node is not finite; else only its result

  bool operator==(const NonFiniteNode&) const = default;
};

/// Compiled network. Several graphs (other batch sizes, evaluation) may share one ParameterStore and one arena, used in turn.
class Graph {
 public:
  /// Entries for a ParameterStore, in the order in which backward finishes them, laid out as the primitives compiled with
  /// `options` like best; every layout is plain when `plain` is true.
  static std::vector<ParameterStore::Entry> plan_parameters(const NetworkSpec& network, const CompileOptions& options,
                                                            bool plain);

  /// What a graph compiled with these options would take; allocates nothing of it. parameters: laid out as the run's will be.
  /// Cost, Errors: those of compiling.
  static MemoryPlan plan_memory(const NetworkSpec& network, const ParameterStore& parameters, const CompileOptions& options);

  /// Compiles; costs 0.1–1 s for a large network. `parameters` must outlive the graph.
  /// Errors: ConfigError (picture too small, precision not available).
  Graph(const NetworkSpec& network, ParameterStore& parameters, const CompileOptions& options);
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  ~Graph();

  const CompileOptions& options() const;
  const MemoryPlan& memory_plan() const;
  /// Gives the graph its arena: at least memory_plan().activations_bytes, aligned to 64. Must precede forward.
  void bind(std::span<std::byte> arena);

  /// images: (batch, c, h, w) row-major, normalised. before_layer(node), where given, is called for each node, in forward
  /// order, before its weights are read. Result: logits (outputs, batch, num_classes) of the network's outputs, in evaluation
  /// of the main one alone; valid until the next call.
  const Tensor& forward(std::span<const float> images, const PassOptions& pass,
                        const std::function<void(LayerIndex)>& before_layer = {});

  /// diff_logits: (outputs, batch, num_classes) row-major, already scaled by 1/global batch and the weight of the output's
  /// loss. Adds up or overwrites the gradients in the ParameterStore; calls on_layer_done(node) for each node, in backward
  /// order, when its gradients are final.
  void backward(std::span<const float> diff_logits, const std::function<void(LayerIndex)>& on_layer_done);

  /// Runs forward again and looks at pictures, and at every node's weights and result right after it ran. Leaves all as forward
  /// did, so that backward may follow; running statistics are not moved again. Of nodes that run as one, the one that has
  /// weights is named.
  /// Result: the first node in execution order, if there is one. Cost: forward, and reading all of its results once.
  std::optional<NonFiniteNode> find_non_finite(std::span<const float> images, const PassOptions& pass);

  /// What forward and backward are on a rank without pictures, beside ranks that have some (pass.across_ranks is given): adds
  /// nothing to their statistics, and moves the running ones as they do. Calls back as forward and backward do. Leaves
  /// gradients as they are.
  void forward_without_pictures(const PassOptions& pass, const std::function<void(LayerIndex)>& before_layer = {});
  void backward_without_pictures(const std::function<void(LayerIndex)>& on_layer_done);

  /// Measures every instruction from now on; costs three readings of a clock an instruction.
  void start_profile();
  /// Instructions in execution order.
  std::vector<InstructionProfile> profile() const;

  /// What was compiled, a line a layer: shapes, formats, implementations, fusions.
  std::string describe() const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace dtrain
