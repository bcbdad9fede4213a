// The state of an optimizer, and its rule applied to slices: run by run, by all threads.
#include "dtrain/optimizer.hpp"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "dtrain/error.hpp"
#include "src/update_kernels.hpp"

namespace dtrain {
namespace {

/// Fewer elements than this are updated by the calling thread alone.
constexpr std::int64_t kParallelFromElements = 1 << 14;

// A velocity with the rate inside is another quantity than one without.
constexpr std::array<std::string_view, 1> kVelocity{"velocity"};
constexpr std::array<std::string_view, 1> kRatedVelocity{"rated_velocity"};
constexpr std::array<std::string_view, 2> kRmsprop{"velocity", "square_average"};
constexpr std::array<std::string_view, 2> kRatedRmsprop{"rated_velocity", "square_average"};
constexpr std::array<std::string_view, 2> kAdam{"average", "square_average"};

UpdateRule rule_of(const OptimizerSettings& settings) {
  switch (settings.kind) {
    case OptimizerKind::sgd:
      return settings.rate_in_velocity ? UpdateRule::rated_sgd : UpdateRule::sgd;
    case OptimizerKind::nesterov:
      return settings.rate_in_velocity ? UpdateRule::rated_nesterov : UpdateRule::nesterov;
    case OptimizerKind::rmsprop:
      return settings.rmsprop_form == RmspropForm::torch ? UpdateRule::rmsprop_torch : UpdateRule::rmsprop_tensorflow;
    case OptimizerKind::adamw:
      return UpdateRule::adamw;
  }
  return UpdateRule::sgd;
}

/// The factors of slots that decay.
UpdateFactors factors_of(const OptimizerSettings& settings, const UpdateRates& rates) {
  UpdateFactors factors{.rate = rates.learning_rate,
                        .decay = rates.weight_decay,
                        .momentum = rates.momentum,
                        .carried = settings.rate_in_velocity ? rates.momentum * rates.rate_ratio : rates.momentum,
                        .epsilon = static_cast<float>(settings.epsilon)};
  if (settings.kind == OptimizerKind::rmsprop) {
    factors.squares_kept = static_cast<float>(settings.alpha);
    factors.squares_new = static_cast<float>(1.0 - settings.alpha);
  }
  if (settings.kind == OptimizerKind::adamw) {
    check(rates.updates >= 1, "the first update after the state was zeroed is number 1");
    const auto updates = static_cast<double>(rates.updates);
    factors.carried = static_cast<float>(settings.beta1);
    factors.average_new = static_cast<float>(1.0 - settings.beta1);
    factors.squares_kept = static_cast<float>(settings.beta2);
    factors.squares_new = static_cast<float>(1.0 - settings.beta2);
    factors.average_scale = static_cast<float>(1.0 / (1.0 - std::pow(settings.beta1, updates)));
    factors.root_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(settings.beta2, updates)));
    factors.shrink = static_cast<float>(1.0 - static_cast<double>(rates.learning_rate) * rates.weight_decay);
  }
  return factors;
}

/// The same for slots that do not.
UpdateFactors undecayed(UpdateFactors factors) {
  factors.decay = 0.0f;
  factors.shrink = 1.0f;
  return factors;
}

/// Part `index` of `count` of a slice, cut at multiples of a cache line.
Slice part_of(Slice slice, std::int64_t count, std::int64_t index) {
  const auto cut = [&](std::int64_t i) {
    const std::int64_t at = slice.begin + slice.size() * i / count;
    return i == count ? slice.end : std::max(slice.begin, at / kSlotAlignment * kSlotAlignment);
  };
  return {.begin = cut(index), .end = cut(index + 1)};
}

}  // namespace

std::span<const std::string_view> Optimizer::state_names(const OptimizerSettings& settings) {
  switch (rule_of(settings)) {
    case UpdateRule::sgd:
    case UpdateRule::nesterov:
      return kVelocity;
    case UpdateRule::rated_sgd:
    case UpdateRule::rated_nesterov:
      return kRatedVelocity;
    case UpdateRule::rmsprop_torch:
      return kRmsprop;
    case UpdateRule::rmsprop_tensorflow:
      return kRatedRmsprop;
    case UpdateRule::adamw:
      return kAdam;
  }
  return {};
}

std::int64_t Optimizer::memory_elements(const OptimizerSettings& settings, std::int64_t weights) {
  return std::ssize(state_names(settings)) * weights;
}

Optimizer::Optimizer(const OptimizerSettings& settings, const ParameterStore& parameters, std::span<float> memory)
    : settings_(settings), size_(static_cast<std::int64_t>(parameters.weights().size())) {
  const auto needed = static_cast<std::size_t>(memory_elements(settings, size_));
  if (memory.empty()) {
    own_memory_ = AlignedMemory(needed * sizeof(float));
    memory = own_memory_.floats();
  }
  check(memory.size() >= needed, "the optimizer's memory holds its states");
  const auto elements = static_cast<std::size_t>(size_);
  for (const std::string_view name : state_names(settings)) {
    states_.push_back({.name = name, .values = memory.subspan(states_.size() * elements, elements)});
  }
  if (rule_of(settings) == UpdateRule::rmsprop_tensorflow) zero_state();

  for (const Slot& slot : parameters.trained_slots()) {
    const bool decays = slot.spec.decays();
    if (runs_.empty() || runs_.back().decays != decays) runs_.push_back({.begin = slot.offset, .end = 0, .decays = decays});
  }
  // A run reaches to where the next one begins: what lies between slots is zero and stays zero.
  for (std::size_t r = 0; r < runs_.size(); ++r) runs_[r].end = r + 1 < runs_.size() ? runs_[r + 1].begin : size_;
}

void Optimizer::zero_state() {
  for (const OptimizerState& state : states_) std::ranges::fill(state.values, 0.0f);
  if (rule_of(settings_) == UpdateRule::rmsprop_tensorflow) std::ranges::fill(states_.back().values, 1.0f);
}

bool Optimizer::update(ParameterStore& parameters, Slice slice, const UpdateRates& rates) {
  check(0 <= slice.begin && slice.begin <= slice.end && slice.end <= size_, "a slice lies within the arena");
  const auto gradients =
      parameters.gradients().subspan(static_cast<std::size_t>(slice.begin), static_cast<std::size_t>(slice.size()));
  return update(parameters.weights(), gradients, slice, rates);
}

bool Optimizer::update(std::span<float> weights_arena, std::span<const float> gradients_of_slice, Slice slice,
                       const UpdateRates& rates) {
  check(static_cast<std::int64_t>(weights_arena.size()) == size_, "an optimizer belongs to one layout of parameters");
  check(0 <= slice.begin && slice.begin <= slice.end && slice.end <= size_, "a slice lies within the arena");
  check(static_cast<std::int64_t>(gradients_of_slice.size()) == slice.size(), "a gradient for each element of the slice");
  const UpdateKernel update_run = choose_update_kernel(rule_of(settings_));
  const UpdateFactors decaying = factors_of(settings_, rates);
  const UpdateFactors others = undecayed(decaying);
  float* const weights = weights_arena.data();
  const float* const gradients = gradients_of_slice.data();
  float* const average = states_.front().values.data();
  float* const squares = states_.size() > 1 ? states_[1].values.data() : nullptr;

  bool is_finite = true;
#pragma omp parallel if (slice.size() >= kParallelFromElements) reduction(&& : is_finite)
  {
    const Slice part = part_of(slice, omp_get_num_threads(), omp_get_thread_num());
    auto run = std::partition_point(runs_.begin(), runs_.end(), [&](const Run& r) { return r.end <= part.begin; });
    for (; run != runs_.end() && run->begin < part.end; ++run) {
      const std::int64_t begin = std::max(run->begin, part.begin);
      const std::int64_t end = std::min(run->end, part.end);
      const UpdateElements elements{.weights = weights + begin,
                                    .gradients = gradients + (begin - slice.begin),
                                    .average = average + begin,
                                    .squares = squares == nullptr ? nullptr : squares + begin,
                                    .count = end - begin};
      is_finite = update_run(elements, run->decays ? decaying : others) == 0.0f && is_finite;
    }
  }
  return is_finite;
}

}  // namespace dtrain
