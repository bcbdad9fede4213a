// A graph with its parameters and its arena, as the trainer would hold them, and comparisons of its results with the reference
// network: what most tests of this folder arrange and assert with.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "dtrain/graph.hpp"
#include "tests/nn/reference_network.hpp"

namespace dtrain {

/// One unit in the last place of 1.0f, half of it the largest relative rounding error.
inline constexpr double kUlp = 0x1p-23;

/// An empty description of a network for square pictures.
NetworkSpec network_head(std::int64_t channels, std::int64_t side);

/// Writes parameters and statistics to their slots.
void set_parameters(ParameterStore& store, const NamedTensors& parameters);
/// A slot's values or gradient, row-major.
std::vector<float> plain_values(const ParameterStore& store, const std::string& name);
std::vector<float> plain_gradient(const ParameterStore& store, const std::string& name);
/// Gradients of all trained parameters, row-major, by name.
std::map<std::string, std::vector<float>> plain_gradients(const ParameterStore& store);

/// Compiles one graph and owns all it needs, unless it is given a store of others.
class CompiledNetwork {
 public:
  CompiledNetwork(const NetworkSpec& network, const CompileOptions& options, const NamedTensors& parameters,
                  bool plain = false);
  CompiledNetwork(const NetworkSpec& network, const CompileOptions& options, ParameterStore& shared_store);

  Graph& graph() { return graph_; }
  ParameterStore& store() { return *store_; }

  /// Copies the logits out.
  std::vector<float> forward(const std::vector<double>& pictures, const PassOptions& pass = {});
  void backward(const std::vector<double>& diff_logits);

 private:
  std::optional<ParameterStore> own_store_;
  ParameterStore* store_;
  Graph graph_;
  AlignedMemory arena_;
  std::vector<float> pictures_;  // backward reads them again
};

/// All that one training step on random numbers makes, for comparing bits.
struct StepResult {
  std::vector<float> logits;
  std::map<std::string, std::vector<float>> gradients;
  std::vector<float> statistics;

  bool operator==(const StepResult&) const = default;
};
StepResult step_with_threads(const NetworkSpec& network, int threads);

/// Fails where an element differs by more than tolerance × the largest magnitude in `want`.
void expect_close(const std::vector<float>& got, const std::vector<double>& want, double tolerance, const std::string& what);

/// Largest relative errors (of a tensor's largest magnitude) that f32 may make. The reason stands where they are chosen.
struct Tolerances {
  double logits = 0.0;
  double gradients = 0.0;
};

/// Errors of f32 against double for networks of a few layers: a sum of K products is wrong by about √K/2 ulps of its typical
/// term, that is by half an ulp of the sum's own typical size √K; a result's largest magnitude exceeds its typical one. Ten
/// layers forward and ten backward, each adding a few ulps, stay below 64 ulps = 8e-6.
inline constexpr Tolerances kDirect{.logits = 32 * kUlp, .gradients = 64 * kUlp};

/// Trains one step on random parameters, pictures and loss Σ r·logits of all outputs; compares logits with the reference's, and
/// gradients of every parameter with its central differences: along random directions over whole tensors and along single
/// elements.
void expect_matches_reference(const NetworkSpec& network, const CompileOptions& options,
                              const Tolerances& tolerances = kDirect);

/// Compares logits in evaluation mode.
void expect_evaluation_matches_reference(const NetworkSpec& network, const CompileOptions& options,
                                         const Tolerances& tolerances = kDirect);

}  // namespace dtrain
