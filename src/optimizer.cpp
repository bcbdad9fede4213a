// SGD with momentum, plain or Nesterov, in one fused pass over a slice of the arenas.
// Note [Updates have the same bits everywhere]: the arithmetic is element-wise, and this file is compiled without contraction
// to fused multiply-add; so neither the number of threads, nor where a slice is cut, nor the vector width changes a bit.
#include "dtrain/optimizer.hpp"

#include <omp.h>

#include <algorithm>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

/// Fewer elements than this are updated by the calling thread alone.
constexpr std::int64_t kParallelFromElements = 1 << 14;

/// A run of elements in which every one decays alike.
struct Elements {
  float* __restrict__ weights;
  const float* __restrict__ gradients;
  float* __restrict__ velocity;
  std::int64_t count;
};

/// g ← g + wd·w; v ← μ·v + g; w ← w − η·v, or for Nesterov w ← w − η·(g + μ·v). Result: 0, or NaN where a weight is not finite.
template <bool nesterov>
[[gnu::always_inline]] inline float update_elements(const Elements& e, const UpdateRates& rates) {
  const float rate = rates.learning_rate;
  const float momentum = rates.momentum;
  const float decay = rates.weight_decay;
  float zero = 0.0f;
#pragma omp simd reduction(+ : zero)
  for (std::int64_t i = 0; i < e.count; ++i) {
    const float w = e.weights[i];
    const float g = e.gradients[i] + decay * w;
    const float v = momentum * e.velocity[i] + g;
    e.velocity[i] = v;
    const float updated = w - rate * (nesterov ? g + momentum * v : v);
    e.weights[i] = updated;
    zero += updated * 0.0f;
  }
  return zero;
}

// The same loop for any x86-64 and for processors with AVX2; which one runs is decided by the processor at hand.
template <bool nesterov>
float update_baseline(const Elements& elements, const UpdateRates& rates) {
  return update_elements<nesterov>(elements, rates);
}
template <bool nesterov>
[[gnu::target("avx2")]] float update_avx2(const Elements& elements, const UpdateRates& rates) {
  return update_elements<nesterov>(elements, rates);
}

using Update = float (*)(const Elements&, const UpdateRates&);

Update choose_update(OptimizerKind kind) {
  const bool nesterov = kind == OptimizerKind::nesterov;
  if (__builtin_cpu_supports("avx2")) return nesterov ? update_avx2<true> : update_avx2<false>;
  return nesterov ? update_baseline<true> : update_baseline<false>;
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

Optimizer::Optimizer(OptimizerKind kind, const ParameterStore& parameters, std::span<float> velocity_memory)
    : kind_(kind), size_(static_cast<std::int64_t>(parameters.weights().size())) {
  if (velocity_memory.empty()) {
    own_velocity_ = AlignedMemory(parameters.weights().size_bytes());
    velocity_memory = own_velocity_.floats();
  }
  check(velocity_memory.size() >= parameters.weights().size(), "the velocity memory holds one value per weight");
  velocity_ = velocity_memory.first(parameters.weights().size());
  for (const Slot& slot : parameters.trained_slots()) {
    const bool decays = slot.spec.decays();
    if (runs_.empty() || runs_.back().decays != decays) runs_.push_back({.begin = slot.offset, .end = 0, .decays = decays});
  }
  // A run reaches to where the next one begins: what lies between slots is zero and stays zero.
  for (std::size_t r = 0; r < runs_.size(); ++r) runs_[r].end = r + 1 < runs_.size() ? runs_[r + 1].begin : size_;
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
  const Update update_run = choose_update(kind_);
  UpdateRates undecayed = rates;
  undecayed.weight_decay = 0.0f;
  float* const weights = weights_arena.data();
  const float* const gradients = gradients_of_slice.data();
  float* const velocity = velocity_.data();

  bool is_finite = true;
#pragma omp parallel if (slice.size() >= kParallelFromElements) reduction(&& : is_finite)
  {
    const Slice part = part_of(slice, omp_get_num_threads(), omp_get_thread_num());
    auto run = std::partition_point(runs_.begin(), runs_.end(), [&](const Run& r) { return r.end <= part.begin; });
    for (; run != runs_.end() && run->begin < part.end; ++run) {
      const std::int64_t begin = std::max(run->begin, part.begin);
      const std::int64_t end = std::min(run->end, part.end);
      const Elements elements{weights + begin, gradients + (begin - slice.begin), velocity + begin, end - begin};
      is_finite = update_run(elements, run->decays ? rates : undecayed) == 0.0f && is_finite;
    }
  }
  return is_finite;
}

}  // namespace dtrain
