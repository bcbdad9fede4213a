// The state of an optimizer, and its rule applied to slices: run by run, by all threads; and the scales that come from norms.
#include "dtrain/optimizer.hpp"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "dtrain/error.hpp"
#include "src/slot_norms.hpp"
#include "src/update_kernels.hpp"

namespace dtrain {
namespace {

/// Fewer elements than this are updated by the calling thread alone.
constexpr std::int64_t kParallelFromElements = 1 << 14;

// A velocity with the rate inside is another quantity than one without. The last one is there where weights are averaged.
constexpr std::string_view kWeightAverage = "weight_average";
constexpr std::array<std::string_view, 2> kVelocity{"velocity", kWeightAverage};
constexpr std::array<std::string_view, 2> kRatedVelocity{"rated_velocity", kWeightAverage};
constexpr std::array<std::string_view, 3> kRmsprop{"velocity", "square_average", kWeightAverage};
constexpr std::array<std::string_view, 3> kRatedRmsprop{"rated_velocity", "square_average", kWeightAverage};
constexpr std::array<std::string_view, 3> kAdam{"average", "square_average", kWeightAverage};

UpdateRule rule_of(const OptimizerSettings& settings) {
  switch (settings.kind) {
    case OptimizerKind::sgd:
      return settings.rate_in_velocity ? UpdateRule::rated_sgd : UpdateRule::sgd;
    case OptimizerKind::nesterov:
      return settings.rate_in_velocity ? UpdateRule::rated_nesterov : UpdateRule::nesterov;
    case OptimizerKind::rmsprop:
      return settings.rmsprop_form == RmspropForm::torch ? UpdateRule::rmsprop_torch : UpdateRule::rmsprop_tensorflow;
    case OptimizerKind::lars:
      return UpdateRule::rated_sgd;
    case OptimizerKind::adamw:
      return UpdateRule::adamw;
    case OptimizerKind::lamb:
      return UpdateRule::lamb;
  }
  return UpdateRule::sgd;
}

bool has_trust(const OptimizerSettings& settings) {
  return settings.kind == OptimizerKind::lars || settings.kind == OptimizerKind::lamb;
}

std::span<const std::string_view> names_with_average(UpdateRule rule) {
  switch (rule) {
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
    case UpdateRule::lamb:
      return kAdam;
  }
  return {};
}

/// States of the rule itself.
std::size_t rule_states(const OptimizerSettings& settings) { return names_with_average(rule_of(settings)).size() - 1; }

/// What a pass measures beside the weights.
enum class Measured { gradients, directions };

constexpr std::array<Measured, 2> kBoth{Measured::gradients, Measured::directions};

std::span<const Measured> passes_of(const OptimizerSettings& settings) {
  const std::span<const Measured> both = kBoth;
  const bool has_gradients = settings.clip_norm > 0.0 || settings.kind == OptimizerKind::lars;
  if (settings.kind == OptimizerKind::lamb) return has_gradients ? both : both.last(1);
  return has_gradients ? both.first(1) : std::span<const Measured>();
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
  if (settings.kind == OptimizerKind::adamw || settings.kind == OptimizerKind::lamb) {
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
  const auto names = names_with_average(rule_of(settings));
  return settings.ema > 0.0 ? names : names.first(names.size() - 1);
}

std::int64_t Optimizer::state_elements(const OptimizerSettings& settings, std::int64_t weights) {
  return std::ssize(state_names(settings)) * weights;
}

std::int64_t Optimizer::memory_elements(const OptimizerSettings& settings, std::int64_t weights, std::int64_t slots) {
  const std::int64_t partial_sums = std::ssize(passes_of(settings)) * SlotNorms::most_chunks(weights, slots);
  return state_elements(settings, weights) + partial_sums * static_cast<std::int64_t>(sizeof(Squares) / sizeof(float));
}

Optimizer::Optimizer(const OptimizerSettings& settings, const ParameterStore& parameters, std::span<float> memory)
    : settings_(settings), size_(static_cast<std::int64_t>(parameters.weights().size())) {
  const auto needed = static_cast<std::size_t>(memory_elements(settings, size_, std::ssize(parameters.trained_slots())));
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
  // Slots are whole cache lines, so what lies behind the states is aligned as they are.
  std::span<float> behind = memory.subspan(states_.size() * elements);
  const auto chunks = static_cast<std::size_t>(SlotNorms::most_chunks(size_, std::ssize(parameters.trained_slots())));
  for (std::size_t pass = 0; pass < passes_of(settings).size(); ++pass) {
    norms_.emplace_back(parameters, std::span(reinterpret_cast<Squares*>(behind.data()), chunks));
    behind = behind.subspan(chunks * sizeof(Squares) / sizeof(float));
  }

  for (const Slot& slot : parameters.trained_slots()) {
    const bool decays = slot.spec.decays() || settings.adapts_norms;
    const bool is_like_the_one_before = !runs_.empty() && runs_.back().decays == decays && !has_trust(settings);
    if (!is_like_the_one_before) runs_.push_back({.begin = slot.offset, .end = 0, .decays = decays});
  }
  if (has_trust(settings)) trust_.assign(runs_.size(), 1.0f);
  // A run reaches to where the next one begins: what lies between slots is zero and stays zero.
  for (std::size_t r = 0; r < runs_.size(); ++r) runs_[r].end = r + 1 < runs_.size() ? runs_[r + 1].begin : size_;
}

Optimizer::~Optimizer() = default;

int Optimizer::measuring_passes() const { return static_cast<int>(norms_.size()); }

void Optimizer::measure(int pass, ParameterStore& parameters, Slice slice, const UpdateRates& rates) {
  check(std::ssize(parameters.weights()) == size_, "an optimizer belongs to one layout of parameters");
  check(0 <= slice.begin && slice.begin <= slice.end && slice.end <= size_, "a slice lies within the arena");
  is_measured_ = false;
  float* const weights = parameters.weights().data();
  const float* const gradients = parameters.gradients().data();
  const SquaresKernel sum_squares = choose_squares_kernel();
  SlotNorms& norms = norms_[static_cast<std::size_t>(pass)];

  if (passes_of(settings_)[static_cast<std::size_t>(pass)] == Measured::gradients) {
    const bool has_weights = settings_.kind == OptimizerKind::lars;
    norms.measure(slice, [&](const Slice& chunk) {
      return Squares{.weights = has_weights ? sum_squares(weights + chunk.begin, chunk.size()) : 0.0,
                     .others = sum_squares(gradients + chunk.begin, chunk.size())};
    });
    return;
  }
  UpdateFactors decaying = factors_of(settings_, rates);
  decaying.gradient_scale = gradient_scale_;
  const UpdateFactors others = undecayed(decaying);
  const DirectionKernel find_directions = choose_direction_kernel();
  norms.measure(slice, [&](const Slice& chunk) {
    const auto run = std::ranges::upper_bound(runs_, chunk.begin, {}, &Run::begin) - 1;
    alignas(64) std::array<float, kNormChunkElements> directions;
    find_directions({.weights = weights + chunk.begin,
                     .gradients = gradients + chunk.begin,
                     .average = states_[0].values.data() + chunk.begin,
                     .squares = states_[1].values.data() + chunk.begin,
                     .count = chunk.size()},
                    run->decays ? decaying : others, directions.data());
    return Squares{.weights = sum_squares(weights + chunk.begin, chunk.size()),
                   .others = sum_squares(directions.data(), chunk.size())};
  });
}

void Optimizer::end_measuring(int pass, const UpdateRates& rates) {
  constexpr double kSmall = 1e-6;  // torch's
  SlotNorms& norms = norms_[static_cast<std::size_t>(pass)];
  norms.add_up();
  is_measured_ = pass + 1 == measuring_passes();
  const bool is_of_gradients = passes_of(settings_)[static_cast<std::size_t>(pass)] == Measured::gradients;
  double scale = 1.0;
  if (is_of_gradients && settings_.clip_norm > 0.0) {
    // The other way round, a norm that is no number would be clipped away.
    const double clipped = settings_.clip_norm / (std::sqrt(norms.of_all().others) + kSmall);
    scale = clipped >= 1.0 ? 1.0 : clipped;
    gradient_scale_ = static_cast<float>(scale);
  }
  if (is_of_gradients && settings_.kind != OptimizerKind::lars) return;
  for (std::size_t run = 0; run < runs_.size(); ++run) {
    if (!runs_[run].decays) continue;  // keeps 1
    const double weights = std::sqrt(norms.of_slot(run).weights);
    const double others = std::sqrt(norms.of_slot(run).others);
    double trust = 1.0;
    if (weights > 0.0 && others > 0.0) {
      trust = is_of_gradients ? settings_.trust_coefficient * weights / (scale * others + rates.weight_decay * weights)
                              : weights / others;
    }
    trust_[run] = static_cast<float>(trust);
  }
}

float Optimizer::scaled_rate(std::size_t run, const UpdateRates& rates) const {
  return trust_.empty() ? rates.learning_rate : rates.learning_rate * trust_[run];
}

void Optimizer::zero_state() {
  const auto of_rule = std::span(states_).first(rule_states(settings_));
  for (const OptimizerState& state : of_rule) std::ranges::fill(state.values, 0.0f);
  if (rule_of(settings_) == UpdateRule::rmsprop_tensorflow) std::ranges::fill(of_rule.back().values, 1.0f);
}

void Optimizer::begin_average(std::span<const float> weights) {
  check(static_cast<std::int64_t>(weights.size()) == size_, "an optimizer belongs to one layout of parameters");
  if (settings_.ema > 0.0) std::ranges::copy(weights, weight_average().begin());
}

std::span<float> Optimizer::weight_average() const { return settings_.ema > 0.0 ? states_.back().values : std::span<float>(); }

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
  check(norms_.empty() || is_measured_, "gradients are measured before weights are updated");
  UpdateFactors decaying = factors_of(settings_, rates);
  decaying.gradient_scale = gradient_scale_;
  const UpdateFactors others = undecayed(decaying);
  float* const weights = weights_arena.data();
  const float* const gradients = gradients_of_slice.data();
  float* const average = states_.front().values.data();
  float* const squares = rule_states(settings_) > 1 ? states_[1].values.data() : nullptr;
  float* const weight_averages = weight_average().data();
  const AverageKernel average_run = choose_average_kernel();
  const auto average_share = static_cast<float>(1.0 - settings_.ema);

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
      UpdateFactors factors = run->decays ? decaying : others;
      factors.rate = scaled_rate(static_cast<std::size_t>(run - runs_.begin()), rates);
      is_finite = update_run(elements, factors) == 0.0f && is_finite;
      if (weight_averages != nullptr) average_run(weights + begin, weight_averages + begin, average_share, end - begin);
    }
  }
  return is_finite;
}

}  // namespace dtrain
