// One loop for all rules, compiled for each rule and each processor.
// Note [Updates have the same bits everywhere]: the arithmetic is element-wise, every operation (√ and ÷ too) is rounded as
// IEEE 754 says, and this file is compiled without contraction to fused multiply-add; so neither the number of threads, nor
// where a slice is cut, nor the vector width changes a bit.
#include "src/update_kernels.hpp"

#include <cassert>
#include <cmath>
#include <cstring>

namespace dtrain {
namespace {

/// m̂/(√ŝ + ε).
[[gnu::always_inline]] inline float adam_direction(float average, float squares, const UpdateFactors& f) {
  return average * f.average_scale / (std::sqrt(squares) * f.root_scale + f.epsilon);
}

/// r of lamb.
[[gnu::always_inline]] inline float lamb_direction(float w, float average, float squares, const UpdateFactors& f) {
  return adam_direction(average, squares, f) + f.decay * w;
}

/// m and s of adamw and lamb.
[[gnu::always_inline]] inline void average_gradient(float gradient, float& average, float& squares, const UpdateFactors& f) {
  const float g = f.gradient_scale * gradient;
  average = f.carried * average + f.average_new * g;
  squares = f.squares_kept * squares + f.squares_new * (g * g);
}

/// The updated weight; `average` and `squares` become the new state.
template <UpdateRule rule>
[[gnu::always_inline]] inline float update_element(float w, float gradient, float& average, float& squares,
                                                   const UpdateFactors& f) {
  if constexpr (rule == UpdateRule::adamw) {
    average_gradient(gradient, average, squares, f);
    return f.shrink * w - f.rate * adam_direction(average, squares, f);
  }
  if constexpr (rule == UpdateRule::lamb) return w - f.rate * lamb_direction(w, average, squares, f);
  const float g = f.gradient_scale * gradient + f.decay * w;
  if constexpr (rule == UpdateRule::sgd || rule == UpdateRule::nesterov) {
    average = f.carried * average + g;
    return w - f.rate * (rule == UpdateRule::nesterov ? g + f.momentum * average : average);
  }
  if constexpr (rule == UpdateRule::rated_sgd || rule == UpdateRule::rated_nesterov) {
    const float change = f.rate * g;
    average = f.carried * average + change;
    return w - (rule == UpdateRule::rated_nesterov ? change + f.momentum * average : average);
  }
  if constexpr (rule == UpdateRule::rmsprop_torch) {
    squares = f.squares_kept * squares + f.squares_new * (g * g);
    average = f.carried * average + g / (std::sqrt(squares) + f.epsilon);
    return w - f.rate * average;
  }
  if constexpr (rule == UpdateRule::rmsprop_tensorflow) {
    squares = f.squares_kept * squares + f.squares_new * (g * g);
    average = f.carried * average + f.rate * g / std::sqrt(squares + f.epsilon);
    return w - average;
  }
}

constexpr bool has_squares(UpdateRule rule) { return rule >= UpdateRule::rmsprop_torch; }

template <UpdateRule rule>
[[gnu::always_inline]] inline float update_elements(const UpdateElements& e, const UpdateFactors& factors) {
  const UpdateFactors f = factors;  // the loop's stores cannot change a copy
  float zero = 0.0f;
#pragma omp simd reduction(+ : zero)
  for (std::int64_t i = 0; i < e.count; ++i) {
    float average = e.average[i];
    float squares = has_squares(rule) ? e.squares[i] : 0.0f;
    const float updated = update_element<rule>(e.weights[i], e.gradients[i], average, squares, f);
    if constexpr (rule != UpdateRule::lamb) e.average[i] = average;
    if constexpr (has_squares(rule) && rule != UpdateRule::lamb) e.squares[i] = squares;
    e.weights[i] = updated;
    zero += updated * 0.0f;
  }
  return zero;
}

[[gnu::always_inline]] inline void find_directions(const UpdateElements& e, const UpdateFactors& factors,
                                                   float* __restrict__ directions) {
  const UpdateFactors f = factors;
#pragma omp simd
  for (std::int64_t i = 0; i < e.count; ++i) {
    float average = e.average[i];
    float squares = e.squares[i];
    average_gradient(e.gradients[i], average, squares, f);
    e.average[i] = average;
    e.squares[i] = squares;
    directions[i] = lamb_direction(e.weights[i], average, squares, f);
  }
}

// Lanes are vectors of fixed width, which the compiler splits for narrower processors: a loop that it vectorises itself has as
// many sums as the processor's vectors have elements.
[[gnu::always_inline]] inline double sum_squares(const float* values, std::int64_t count) {
  typedef float Floats __attribute__((vector_size(32)));
  typedef double Doubles __attribute__((vector_size(64)));
  assert(count % 16 == 0);
  Doubles low{}, high{};
  for (std::int64_t i = 0; i < count; i += 16) {
    Floats a, b;
    std::memcpy(&a, values + i, sizeof a);
    std::memcpy(&b, values + i + 8, sizeof b);
    const Doubles x = __builtin_convertvector(a, Doubles);
    const Doubles y = __builtin_convertvector(b, Doubles);
    low += x * x;  // exact: 24 bits times 24 bits
    high += y * y;
  }
  const Doubles sums = low + high;
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
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

SquaresKernel choose_squares_kernel() { return __builtin_cpu_supports("avx2") ? squares_avx2 : squares_baseline; }

}  // namespace dtrain
