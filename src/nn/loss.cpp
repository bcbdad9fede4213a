// Softmax cross-entropy over a batch of logits; see dtrain/loss.hpp.
#include "dtrain/loss.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "dtrain/error.hpp"

namespace dtrain {

LossSums softmax_cross_entropy(std::span<const float> logits, std::span<const std::int32_t> labels, std::int64_t num_classes,
                               float label_smoothing, float scale, std::span<float> diff_logits) {
  const auto classes = static_cast<std::size_t>(num_classes);
  check(logits.size() >= labels.size() * classes, "softmax_cross_entropy: logits shorter than labels × classes");
  check(diff_logits.empty() || diff_logits.size() >= labels.size() * classes, "softmax_cross_entropy: diff_logits too short");

  LossSums sums;
  const double off_target = static_cast<double>(label_smoothing) / static_cast<double>(num_classes);
  const double on_target = 1.0 - static_cast<double>(label_smoothing);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto row = logits.subspan(i * classes, classes);
    const auto label = static_cast<std::size_t>(labels[i]);
    check(label < classes, "softmax_cross_entropy: label outside the classes");

    const float largest = *std::max_element(row.begin(), row.end());
    double exp_sum = 0.0;
    double logit_sum = 0.0;
    std::size_t ranked_before = 0;  // classes that precede the label: larger logit, or equal and lower index
    for (std::size_t c = 0; c < classes; ++c) {
      exp_sum += std::exp(static_cast<double>(row[c]) - largest);
      logit_sum += row[c];
      ranked_before += (row[c] > row[label] || (row[c] == row[label] && c < label)) ? 1 : 0;
    }
    // −Σ q_c log p_c with log p_c = z_c − largest − log Σ exp(z − largest), Σ q_c = 1
    const double log_sum = static_cast<double>(largest) + std::log(exp_sum);
    sums.loss += log_sum - on_target * row[label] - off_target * logit_sum;
    const bool is_ordered = std::isfinite(exp_sum);  // a NaN compares as "not ranked before": never a hit
    sums.top1 += is_ordered && ranked_before < 1 ? 1 : 0;
    sums.top5 += is_ordered && ranked_before < 5 ? 1 : 0;

    if (!diff_logits.empty()) {
      const auto diff_row = diff_logits.subspan(i * classes, classes);
      for (std::size_t c = 0; c < classes; ++c) {
        const double probability = std::exp(static_cast<double>(row[c]) - largest) / exp_sum;
        const double target = off_target + (c == label ? on_target : 0.0);
        diff_row[c] = static_cast<float>(static_cast<double>(scale) * (probability - target));
      }
    }
  }
  sums.samples = static_cast<std::int64_t>(labels.size());
  return sums;
}

LossSums training_loss(std::span<const float> logits, std::span<const std::int32_t> labels,
                       std::span<const NetworkOutput> outputs, float label_smoothing, float scale,
                       std::span<float> diff_logits) {
  check(!outputs.empty() && !labels.empty(), "training_loss: an output and a label");
  check(diff_logits.size() == logits.size(), "training_loss: a gradient for every logit");
  const std::size_t size = logits.size() / outputs.size();
  const auto classes = static_cast<std::int64_t>(size / labels.size());
  LossSums sums;
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    const float weight = outputs[k].loss_weight;
    const LossSums output = softmax_cross_entropy(logits.subspan(k * size, size), labels, classes, label_smoothing,
                                                  weight * scale, diff_logits.subspan(k * size, size));
    if (k == 0) sums = output;
    if (k > 0) sums.aux_loss += static_cast<double>(weight) * output.loss;
  }
  return sums;
}

}  // namespace dtrain
