// The arithmetic of the optimizers, element by element, for the processor at hand. Which elements, which rates: optimizer.cpp.
#pragma once

#include <cstdint>

namespace dtrain {

/// Formulas: optimizer.hpp. rated_…: the rate is inside the velocity; lars is rated_sgd with a rate for each slot. lamb: the
/// step along r alone, from the state that its directions have left.
enum class UpdateRule { sgd, nesterov, rated_sgd, rated_nesterov, rmsprop_torch, rmsprop_tensorflow, adamw, lamb };

/// A run of elements in which every one has the same factors.
struct UpdateElements {
  float* __restrict__ weights;
  const float* __restrict__ gradients;
  float* __restrict__ average;  ///< velocity, or average of the gradients
  float* __restrict__ squares;  ///< average of their squares; null where the rule has none
  std::int64_t count;
};

struct UpdateFactors {
  float rate = 0.0f;            ///< with the trust ratio, where there is one
  float gradient_scale = 1.0f;  ///< of clipping
  float decay = 0.0f;
  float shrink = 1.0f;                            ///< adamw: 1 − rate·decay
  float momentum = 0.0f;                          ///< of what Nesterov looks ahead
  float carried = 0.0f;                           ///< momentum of the velocity so far
  float average_new = 0.0f;                       ///< adamw, lamb: 1−β₁; β₁ is `carried`
  float squares_kept = 0.0f, squares_new = 0.0f;  ///< α and 1−α, or β₂ and 1−β₂
  float average_scale = 1.0f, root_scale = 1.0f;  ///< 1/(1−β₁ᵗ) and 1/√(1−β₂ᵗ)
  float epsilon = 0.0f;
};

/// Updates weights and state. Result: 0, or NaN where a weight is not finite.
using UpdateKernel = float (*)(const UpdateElements& elements, const UpdateFactors& factors);
UpdateKernel choose_update_kernel(UpdateRule rule);

/// lamb: updates the state, and stores r, as long as the elements.
using DirectionKernel = void (*)(const UpdateElements& elements, const UpdateFactors& factors, float* directions);
DirectionKernel choose_direction_kernel();

/// Sum of squares, to the same bits everywhere: element i of each 16 has a sum of its own, in double. count: a multiple of 16.
using SquaresKernel = double (*)(const float* values, std::int64_t count);
SquaresKernel choose_squares_kernel();

/// a ← a + share·(w − a).
using AverageKernel = void (*)(const float* weights, float* averages, float share, std::int64_t count);
AverageKernel choose_average_kernel();

}  // namespace dtrain
