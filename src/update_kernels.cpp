// One loop for all rules, compiled for each rule and each processor.
// Note [Updates have the same bits everywhere]: the arithmetic is element-wise, every operation (√ and ÷ too) is rounded as
// IEEE 754 says, and this file is compiled without contraction to fused multiply-add; so neither the number of threads, nor
// where a slice is cut, nor the vector width changes a bit.
#include "src/update_kernels.hpp"

#include <cmath>

namespace dtrain {
namespace {

/// m̂/(√ŝ + ε).
[[gnu::always_inline]] inline float adam_direction(float average, float squares, const UpdateFactors& f) {
  return average * f.average_scale / (std::sqrt(squares) * f.root_scale + f.epsilon);
}

/// The updated weight; `average` and `squares` become the new state.
template <UpdateRule rule>
[[gnu::always_inline]] inline float update_element(float w, float gradient, float& average, float& squares,
                                                   const UpdateFactors& f) {
  if constexpr (rule == UpdateRule::adamw) {
    average = f.carried * average + f.average_new * gradient;
    squares = f.squares_kept * squares + f.squares_new * (gradient * gradient);
    return f.shrink * w - f.rate * adam_direction(average, squares, f);
  }
  const float g = gradient + f.decay * w;
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
    e.average[i] = average;
    if constexpr (has_squares(rule)) e.squares[i] = squares;
    e.weights[i] = updated;
    zero += updated * 0.0f;
  }
  return zero;
}

// The same loop for any x86-64 and for processors with AVX2; which one runs is decided by the processor at hand.
template <UpdateRule rule>
float update_baseline(const UpdateElements& elements, const UpdateFactors& factors) {
  return update_elements<rule>(elements, factors);
}
template <UpdateRule rule>
[[gnu::target("avx2")]] float update_avx2(const UpdateElements& elements, const UpdateFactors& factors) {
  return update_elements<rule>(elements, factors);
}

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
  }
  return nullptr;
}

}  // namespace dtrain
