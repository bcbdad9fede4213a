// Softmax cross-entropy with label smoothing, alone and with that of auxiliary heads, and the counts that evaluation adds up.
#pragma once

#include <cstdint>
#include <span>

#include "dtrain/layers.hpp"

namespace dtrain {

/// Sums over the pictures of one call; additive over calls and ranks.
struct LossSums {
  double loss = 0.0;      ///< sum of −Σ_c q_c·log p_c, q = (1−ε)·onehot + ε/classes
  std::int64_t top1 = 0;  ///< label has the largest logit (ties: lowest class wins)
  std::int64_t top5 = 0;  ///< label among the five largest
  std::int64_t samples = 0;
  double aux_loss = 0.0;  ///< sum over auxiliary heads of their loss times its weight

  LossSums& operator+=(const LossSums& other) {
    loss += other.loss, top1 += other.top1, top5 += other.top5, samples += other.samples, aux_loss += other.aux_loss;
    return *this;
  }
};

/// logits: (labels.size(), num_classes) row-major. diff_logits: same shape, receives scale·(p − q) for each picture
/// (scale = 1/global batch makes the sum over ranks the gradient of the mean); empty: not wanted.
LossSums softmax_cross_entropy(std::span<const float> logits, std::span<const std::int32_t> labels, std::int64_t num_classes,
                               float label_smoothing, float scale, std::span<float> diff_logits);

/// What training minimises: the loss of the main output plus that of every auxiliary one times its weight.
/// logits, diff_logits: (outputs.size(), labels.size(), num_classes) row-major; the rest as above.
/// Result: the sums of the main output, and the auxiliary loss beside them.
LossSums training_loss(std::span<const float> logits, std::span<const std::int32_t> labels,
                       std::span<const NetworkOutput> outputs, float label_smoothing, float scale,
                       std::span<float> diff_logits);

}  // namespace dtrain
