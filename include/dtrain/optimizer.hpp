// Optimizers over slices of the arenas: element-wise rules, and rules with norms, for which all gradients are measured before
// the first weight changes. The rates of a step are given; curves live in schedules/.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "dtrain/parameters.hpp"

namespace dtrain {

/// The rules. g: gradient; wd: weight decay; η: rate; μ: momentum; t: updates since the state was zeroed, this one included.
/// Slots that do not decay (biases, batch-norm) have wd = 0.
/// sgd:      g ← g + wd·w; v ← μ·v + g; w ← w − η·v                     (the rate is *not* inside the velocity)
/// nesterov: g ← g + wd·w; v ← μ·v + g; w ← w − η·(g + μ·v)
///   Source: torch.optim.SGD with dampening 0 (its v starts as the first g, which equals v = 0 before it).
///   rate_in_velocity: v ← μ·v + η·g; w ← w − v, or for nesterov w ← w − (η·g + μ·v): the form of the published large-batch
///   solvers (Caffe's); the same while the rate is constant. With momentum correction v ← μ·(η_t/η_{t−1})·v + η·g.
///   Source: Goyal et al., arXiv:1706.02677 (2017), section 3, eq. 9 and 10.
/// rmsprop:  g ← g + wd·w; s ← α·s + (1−α)·g²; then
///   torch:      v ← μ·v + g/(√s + ε); w ← w − η·v                      (s starts at 0)
///   tensorflow: v ← μ·v + η·g/√(s + ε); w ← w − v                      (s starts at 1)
///   Source: torch.optim.RMSprop; tf.compat.v1.train.RMSPropOptimizer, neither of them centered.
/// lars:     λ = ϑ·‖w‖/(‖g‖ + wd·‖w‖), 1 where a norm is 0; g ← g + wd·w; m ← μ·m − η·λ·g; w ← w + m     (ϑ: the coefficient)
///   Source: You, Gitman, Ginsburg, arXiv:1708.03888 (2017), in the form of the MLPerf training reference (its
///   LARSOptimizer): decay is in the norm and in g, the rate is inside the velocity. Kept here is v = −m.
/// adamw:    m ← β₁·m + (1−β₁)·g; s ← β₂·s + (1−β₂)·g²; w ← (1 − η·wd)·w − η·m̂/(√ŝ + ε), m̂ = m/(1−β₁ᵗ), ŝ = s/(1−β₂ᵗ)
///   Source: Loshchilov & Hutter, ICLR 2019, as torch.optim.AdamW (the decay is multiplied by the rate).
/// lamb:     m, s, m̂, ŝ as adamw; r = m̂/(√ŝ + ε) + wd·w; λ = ‖w‖/‖r‖, 1 where a norm is 0; w ← w − η·λ·r
///   Source: You et al., ICLR 2020, algorithm 2, with φ(x) = x.
/// Norms are a slot's. lars and lamb leave slots that do not decay alone: λ = 1, unless adapts_norms.
/// Before all this, with clip_norm C: g ← g·min(1, C/(‖g‖ + 1e-6)), where ‖g‖ is over all slots.
///   Source: Pascanu, Mikolov, Bengio, ICML 2013, as torch.nn.utils.clip_grad_norm_.
/// After all this, with ema D: e ← D·e + (1−D)·w, the average of the weights, computed as e + (1−D)·(w − e), which rests where
///   w rests. Differences below 2⁻²⁴/(1−D) of a weight may be lost in the rounding of e.
///   Source: as torch.optim.swa_utils.get_ema_avg_fn.
enum class OptimizerKind { sgd, nesterov, rmsprop, lars, adamw, lamb };

/// Which program's rmsprop.
enum class RmspropForm { torch, tensorflow };

/// What an optimizer is told once. Doubles, because 1−β₂ is to be right.
struct OptimizerSettings {
  OptimizerKind kind = OptimizerKind::sgd;
  bool rate_in_velocity = false;                  ///< sgd, nesterov
  RmspropForm rmsprop_form = RmspropForm::torch;  ///< rmsprop
  double alpha = 0.99;                            ///< rmsprop
  double beta1 = 0.9, beta2 = 0.999;              ///< adamw, lamb
  double epsilon = 1e-8;                          ///< rmsprop, adamw, lamb: above 0
  double trust_coefficient = 0.001;               ///< lars
  bool adapts_norms = false;  ///< lars, lamb: biases and batch-norm's parameters are scaled, and decay, as the weights
  double clip_norm = 0.0;     ///< 0: gradients are not clipped
  double ema = 0.0;           ///< D of the weights' average, below 1; 0: there is none
  bool operator==(const OptimizerSettings&) const = default;
};

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
  float rate_ratio = 1.0f;   ///< η_t/η_{t−1} where a velocity with the rate in it is corrected for a change of the rate
  std::int64_t updates = 1;  ///< since the state was zeroed, this one included
};

/// An arena beside the weights, laid out as they are.
struct OptimizerState {
  std::string_view name;  ///< "velocity"; in checkpoints: "optimizer.velocity.<tensor>"
  std::span<float> values;
};

/// Slices that are measured are cut at multiples of this: 4 KB, so that a bucket of any useful size still fits its wish.
inline constexpr std::int64_t kNormChunkElements = 1024;

class SlotNorms;

/// Has the optimizer's state.
class Optimizer {
 public:
  /// Names of the states: one a quantity, so that a checkpoint's is not taken for another.
  static std::span<const std::string_view> state_names(const OptimizerSettings& settings);
  /// Floats of the states, and of all that an optimizer keeps, for weights in so many slots.
  static std::int64_t state_elements(const OptimizerSettings& settings, std::int64_t weights);
  static std::int64_t memory_elements(const OptimizerSettings& settings, std::int64_t weights, std::int64_t slots);

  /// memory: memory_elements floats, zeros, that outlive the optimizer (a node-shared window, whose ranks each make an
  /// optimizer); or empty: then it owns them.
  Optimizer(const OptimizerSettings& settings, const ParameterStore& parameters, std::span<float> memory = {});

  ~Optimizer();

  // Note [Norms are measured before the first weight changes]
  // A rule with norms has a step of three parts: in each pass, every gradient is measured, slice by slice, as they become
  // final; when all slices are, by whichever rank of those that share the memory, the pass ends; when all passes have ended,
  // weights are updated. A norm is a sum over chunks that no slice cuts, added in the order of the chunks: so it has the same
  // bits whichever slices there are, and whoever measures them.

  /// Passes before the first update: 0 where the rule has no norms.
  int measuring_passes() const;
  /// slice: cut at multiples of kNormChunkElements, or where the arena ends. Each slice once in a pass. Threads: as update.
  void measure(int pass, ParameterStore& parameters, Slice slice, const UpdateRates& rates);
  void end_measuring(int pass, const UpdateRates& rates);

  /// Updates the weights of one slice. Result: whether all updated weights are finite. A loss can hide those that are not:
  /// oneDNN's ReLU makes 0 of NaN. Cost: reads and writes every arena once: with one state 20 bytes an element, with two 28.
  /// An average of the weights reads and writes 12 more. Measuring reads 4 (clipping), 8 (lars) or reads and writes 24 more
  /// (lamb, whose update then has 16). Threads: all OpenMP threads of the caller.
  [[nodiscard]] bool update(ParameterStore& parameters, Slice slice, const UpdateRates& rates);
  /// The same for weights and gradients that lie elsewhere. weights: an arena laid out as the store's; gradients: the slice's.
  [[nodiscard]] bool update(std::span<float> weights, std::span<const float> gradients, Slice slice, const UpdateRates& rates);

  /// As before the first update: zeros, or ones for the s of TensorFlow's rmsprop. The next update's `updates` is 1. Where
  /// ranks share the memory, one of them does it, or all, between two meetings. The average of the weights stays as it is.
  void zero_state();

  /// The average of the weights begins at these: before the first update, and whenever it is to forget the ones before.
  /// Where ranks share the memory, as zero_state. Nothing where there is no average.
  void begin_average(std::span<const float> weights);
  /// One of the states; empty: there is none.
  std::span<float> weight_average() const;

  /// Checkpoints save and restore them.
  std::span<const OptimizerState> states() const { return states_; }

 private:
  /// A run of elements that decay alike; where slots are scaled apart, a slot.
  struct Run {
    std::int64_t begin, end;
    bool decays;
  };
  float scaled_rate(std::size_t run, const UpdateRates& rates) const;

  OptimizerSettings settings_;
  std::int64_t size_;
  std::vector<Run> runs_;
  AlignedMemory own_memory_;
  std::vector<OptimizerState> states_;
  std::vector<SlotNorms> norms_;  ///< of each pass
  std::vector<float> trust_;      ///< λ of each run; empty: the rule has none
  float gradient_scale_ = 1.0f;   ///< of clipping
  bool is_measured_ = false;
};

}  // namespace dtrain
