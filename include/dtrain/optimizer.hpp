// Element-wise optimizers over slices of the arenas. The rates of a step are given; curves live in schedules/.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "dtrain/parameters.hpp"

namespace dtrain {

enum class OptimizerKind { sgd, nesterov };

/// A half-open range of elements of the weight and gradient arenas. Slots may be cut.
struct Slice {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
  bool operator==(const Slice&) const = default;
};

/// What changes from step to step.
struct UpdateRates {
  float learning_rate = 0.0f;
  float momentum = 0.0f;
  float weight_decay = 0.0f;
};

/// Has the optimizer's state, an arena as long as the weights.
class Optimizer {
 public:
  /// velocity_memory: as long as the weights, zeros, outlives the optimizer (a node-shared window); or empty: then it owns it.
  Optimizer(OptimizerKind kind, const ParameterStore& parameters, std::span<float> velocity_memory = {});

  /// Updates the weights of one slice; slots that do not decay are passed without decay.
  /// sgd:      g ← g + wd·w; v ← μ·v + g; w ← w − η·v                (the rate is *not* inside the velocity)
  /// nesterov: g ← g + wd·w; v ← μ·v + g; w ← w − η·(g + μ·v)
  /// Result: whether all updated weights are finite. A loss can hide those that are not: oneDNN's ReLU makes 0 of NaN.
  /// Cost: reads g, w, v and writes w, v once: 20 bytes an element. Threads: all OpenMP threads of the caller.
  /// Source: torch.optim.SGD with dampening 0 (its v starts as the first g, which equals v = 0 before it).
  [[nodiscard]] bool update(ParameterStore& parameters, Slice slice, const UpdateRates& rates);
  /// The same for weights and gradients that lie elsewhere. weights: an arena laid out as the store's; gradients: the slice's.
  [[nodiscard]] bool update(std::span<float> weights, std::span<const float> gradients, Slice slice, const UpdateRates& rates);

  /// Velocity, laid out as the weight arena; checkpoints save and restore it.
  std::span<float> velocity() { return velocity_; }
  std::span<const float> velocity() const { return velocity_; }

 private:
  /// A run of elements that decay alike.
  struct Run {
    std::int64_t begin, end;
    bool decays;
  };
  OptimizerKind kind_;
  std::int64_t size_;
  std::vector<Run> runs_;
  AlignedMemory own_velocity_;
  std::span<float> velocity_;
};

}  // namespace dtrain
