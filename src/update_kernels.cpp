// One loop for all rules, compiled for each rule and each processor.
// Note [Updates have the same bits everywhere]: the arithmetic is element-wise, every operation (√ and ÷ too) is rounded as
// IEEE 754 says, and this file is compiled without contraction to fused multiply-add; so neither the number of threads, nor
// where a slice is cut, nor the vector width changes a bit.
#include "src/update_kernels.hpp"

#include <cassert>
#include <cmath>

namespace dtrain {
namespace {

/// An element and its state. By value: what a reference is taken of, the compiler keeps in memory, one element at a time.
struct Element {
  float weight;
  float average;
  float squares;
};

/// m̂/(√ŝ + ε).
[[gnu::always_inline]] inline float adam_direction(const Element e, const UpdateFactors& f) {
  return e.average * f.average_scale / (std::sqrt(e.squares) * f.root_scale + f.epsilon);
}

/// r of lamb.
[[gnu::always_inline]] inline float lamb_direction(const Element e, const UpdateFactors& f) {
  return adam_direction(e, f) + f.decay * e.weight;
}

/// m and s of adamw and lamb.
[[gnu::always_inline]] inline Element with_averages(const Element e, float gradient, const UpdateFactors& f) {
  const float g = f.gradient_scale * gradient;
  return {.weight = e.weight,
          .average = f.carried * e.average + f.average_new * g,
          .squares = f.squares_kept * e.squares + f.squares_new * (g * g)};
}

template <UpdateRule rule>
[[gnu::always_inline]] inline Element updated(const Element e, float gradient, const UpdateFactors& f) {
  if constexpr (rule == UpdateRule::lamb) return {e.weight - f.rate * lamb_direction(e, f), e.average, e.squares};
  if constexpr (rule == UpdateRule::adamw) {
    const Element next = with_averages(e, gradient, f);
    return {f.shrink * e.weight - f.rate * adam_direction(next, f), next.average, next.squares};
  }
  const float g = f.gradient_scale * gradient + f.decay * e.weight;
  const float squares = f.squares_kept * e.squares + f.squares_new * (g * g);  // unused where a rule has none
  if constexpr (rule == UpdateRule::sgd || rule == UpdateRule::nesterov) {
    const float v = f.carried * e.average + g;
    return {e.weight - f.rate * (rule == UpdateRule::nesterov ? g + f.momentum * v : v), v, 0.0f};
  }
  if constexpr (rule == UpdateRule::rated_sgd || rule == UpdateRule::rated_nesterov) {
    const float change = f.rate * g;
    const float v = f.carried * e.average + change;
    return {e.weight - (rule == UpdateRule::rated_nesterov ? change + f.momentum * v : v), v, 0.0f};
  }
  if constexpr (rule == UpdateRule::rmsprop_torch) {
    const float v = f.carried * e.average + g / (std::sqrt(squares) + f.epsilon);
    return {e.weight - f.rate * v, v, squares};
  }
  if constexpr (rule == UpdateRule::rmsprop_tensorflow) {
    const float v = f.carried * e.average + f.rate * g / std::sqrt(squares + f.epsilon);
    return {e.weight - v, v, squares};
  }
}

constexpr bool has_squares(UpdateRule rule) { return rule >= UpdateRule::rmsprop_torch; }

// Pointers and factors are copied before a loop: its stores cannot change copies, so that they stay in registers.

template <UpdateRule rule>
[[gnu::always_inline]] inline float update_elements(const UpdateElements& e, const UpdateFactors& factors) {
  const UpdateFactors f = factors;
  float* __restrict__ const weights = e.weights;
  const float* __restrict__ const gradients = e.gradients;
  float* __restrict__ const average = e.average;
  float* __restrict__ const squares = e.squares;
  const std::int64_t count = e.count;
  float zero = 0.0f;
#pragma omp simd reduction(+ : zero)
  for (std::int64_t i = 0; i < count; ++i) {
    const Element next = updated<rule>({weights[i], average[i], has_squares(rule) ? squares[i] : 0.0f}, gradients[i], f);
    if constexpr (rule != UpdateRule::lamb) average[i] = next.average;
    if constexpr (has_squares(rule) && rule != UpdateRule::lamb) squares[i] = next.squares;
    weights[i] = next.weight;
    zero += next.weight * 0.0f;
  }
  return zero;
}

[[gnu::always_inline]] inline void find_directions(const UpdateElements& e, const UpdateFactors& factors,
                                                   float* __restrict__ directions) {
  const UpdateFactors f = factors;
  const float* __restrict__ const weights = e.weights;
  const float* __restrict__ const gradients = e.gradients;
  float* __restrict__ const average = e.average;
  float* __restrict__ const squares = e.squares;
  const std::int64_t count = e.count;
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) {
    const Element next = with_averages({weights[i], average[i], squares[i]}, gradients[i], f);
    average[i] = next.average;
    squares[i] = next.squares;
    directions[i] = lamb_direction(next, f);
  }
}

[[gnu::always_inline]] inline void average_weights(const float* __restrict__ weights, float* __restrict__ averages, float share,
                                                   std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) averages[i] += share * (weights[i] - averages[i]);
}

// As many sums as one vector of any of these processors has elements, or more: they stay in registers. What is read ahead may
// belong to the next chunk: processors' own prefetchers begin anew in every page, which is a chunk long.
[[gnu::always_inline]] inline double sum_squares(const float* __restrict__ values, std::int64_t count) {
  constexpr int kLanes = 16;
  constexpr std::int64_t kAhead = 512;
  assert(count % kLanes == 0);
  double sums[kLanes] = {};
  for (std::int64_t i = 0; i < count; i += kLanes) {
    __builtin_prefetch(values + i + kAhead);
    for (int lane = 0; lane < kLanes; ++lane) {
      const double value = values[i + lane];
      sums[lane] += value * value;  // the product is exact: 24 bits times 24 bits
    }
  }
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

// The same loops for any x86-64 and for processors with AVX2; which one runs is decided by the processor at hand.
template <UpdateRule rule>
float update_baseline(const UpdateElements& elements, const UpdateFactors& factors) {
  return update_elements<rule>(elements, factors);
}
template <UpdateRule rule>
[[gnu::target("avx2")]] float update_avx2(const UpdateElements& elements, const UpdateFactors& factors) {
  return update_elements<rule>(elements, factors);
}

void directions_baseline(const UpdateElements& elements, const UpdateFactors& factors, float* directions) {
  find_directions(elements, factors, directions);
}
[[gnu::target("avx2")]] void directions_avx2(const UpdateElements& elements, const UpdateFactors& factors, float* directions) {
  find_directions(elements, factors, directions);
}
void averages_baseline(const float* weights, float* averages, float share, std::int64_t count) {
  average_weights(weights, averages, share, count);
}
[[gnu::target("avx2")]] void averages_avx2(const float* weights, float* averages, float share, std::int64_t count) {
  average_weights(weights, averages, share, count);
}
double squares_baseline(const float* values, std::int64_t count) { return sum_squares(values, count); }
[[gnu::target("avx2")]] double squares_avx2(const float* values, std::int64_t count) { return sum_squares(values, count); }

template <UpdateRule rule>
UpdateKernel choose_width() {
  return __builtin_cpu_supports("avx2") ? update_avx2<rule> : update_baseline<rule>;
}

}  // namespace

UpdateKernel choose_update_kernel(UpdateRule rule) {
  switch (rule) {
    case UpdateRule::sgd:
      return choose_width<UpdateRule::sgd>();
    case UpdateRule::nesterov:
      return choose_width<UpdateRule::nesterov>();
    case UpdateRule::rated_sgd:
      return choose_width<UpdateRule::rated_sgd>();
    case UpdateRule::rated_nesterov:
      return choose_width<UpdateRule::rated_nesterov>();
    case UpdateRule::rmsprop_torch:
      return choose_width<UpdateRule::rmsprop_torch>();
    case UpdateRule::rmsprop_tensorflow:
      return choose_width<UpdateRule::rmsprop_tensorflow>();
    case UpdateRule::adamw:
      return choose_width<UpdateRule::adamw>();
    case UpdateRule::lamb:
      return choose_width<UpdateRule::lamb>();
  }
  return nullptr;
}

DirectionKernel choose_direction_kernel() { return __builtin_cpu_supports("avx2") ? directions_avx2 : directions_baseline; }

AverageKernel choose_average_kernel() { return __builtin_cpu_supports("avx2") ? averages_avx2 : averages_baseline; }

SquaresKernel choose_squares_kernel() { return __builtin_cpu_supports("avx2") ? squares_avx2 : squares_baseline; }

}  // namespace dtrain
