// Adding up softmax after softmax; see mean_probabilities.hpp.
#include "trainer/mean_probabilities.hpp"

#include <algorithm>
#include <cmath>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

/// log(eᵃ + eᵇ), not a number where one of them is not.
double log_of_sum(double a, double b) { return std::max(a, b) + std::log1p(std::exp(-std::abs(a - b))); }

}  // namespace

std::int32_t most_likely(std::span<const float> scores) {
  const auto largest = std::max_element(scores.begin(), scores.end());
  if (largest == scores.end() || !std::isfinite(*largest)) return -1;
  if (std::any_of(scores.begin(), scores.end(), [](float score) { return std::isnan(score); })) return -1;
  return static_cast<std::int32_t>(largest - scores.begin());
}

MeanProbabilities::MeanProbabilities(std::int64_t num_classes, std::int64_t samples, std::size_t members)
    : num_classes_(static_cast<std::size_t>(num_classes)), members_(members) {
  const auto most = static_cast<std::size_t>(samples);
  classes_.reserve(most);
  sums_.reserve(most * num_classes_);
  log_sums_.reserve(most);
  most_likely_.reserve(most * members_);
}

std::size_t MeanProbabilities::bytes(std::int64_t num_classes, std::int64_t samples, std::size_t members) {
  const std::size_t per_sample = sizeof(std::int32_t) * (1 + members) + sizeof(double);
  return static_cast<std::size_t>(samples) * (sizeof(float) * static_cast<std::size_t>(num_classes) + per_sample);
}

void MeanProbabilities::begin_member() {
  check(begun_ == 0 || position_ == classes_.size(), "MeanProbabilities: every member adds all pictures");
  check(begun_ < members_, "MeanProbabilities: as many members as announced");
  ++begun_;
  position_ = 0;
}

void MeanProbabilities::add(std::span<const float> logits, std::span<const std::int32_t> classes) {
  check(begun_ > 0 && logits.size() >= classes.size() * num_classes_, "MeanProbabilities: (pictures, classes) logits");
  for (std::size_t i = 0; i < classes.size(); ++i, ++position_) {
    const auto scores = logits.subspan(i * num_classes_, num_classes_);
    const double largest = *std::max_element(scores.begin(), scores.end());
    double exp_sum = 0.0;
    for (const float score : scores) exp_sum += std::exp(score - largest);
    const double log_probability = scores[static_cast<std::size_t>(classes[i])] - largest - std::log(exp_sum);
    if (begun_ == 1) {
      classes_.push_back(classes[i]);
      sums_.insert(sums_.end(), num_classes_, 0.0f);
      log_sums_.push_back(log_probability);
      most_likely_.insert(most_likely_.end(), members_, -1);
    } else {
      check(position_ < classes_.size() && classes_[position_] == classes[i], "MeanProbabilities: the same pictures again");
      log_sums_[position_] = log_of_sum(log_sums_[position_], log_probability);
    }
    float* sums = sums_.data() + position_ * num_classes_;
    for (std::size_t c = 0; c < num_classes_; ++c) sums[c] += static_cast<float>(std::exp(scores[c] - largest) / exp_sum);
    most_likely_[position_ * members_ + begun_ - 1] = most_likely(scores);
  }
}

LossSums MeanProbabilities::sums() const {
  LossSums sums{.samples = samples()};
  const double log_members = std::log(static_cast<double>(members_));
  for (std::size_t sample = 0; sample < classes_.size(); ++sample) {
    sums.loss += log_members - log_sums_[sample];
    const auto probabilities = row(sample);
    const auto own = static_cast<std::size_t>(classes_[sample]);
    if (most_likely(probabilities) < 0) continue;  // never a hit
    std::size_t ranked_before = 0;                 // as in softmax_cross_entropy
    for (std::size_t c = 0; c < num_classes_; ++c) {
      ranked_before += probabilities[c] > probabilities[own] || (probabilities[c] == probabilities[own] && c < own) ? 1 : 0;
    }
    sums.top1 += ranked_before < 1 ? 1 : 0;
    sums.top5 += ranked_before < 5 ? 1 : 0;
  }
  return sums;
}

AgreementCounts MeanProbabilities::agreement() const {
  AgreementCounts counts;
  for (std::size_t sample = 0; sample < classes_.size(); ++sample) {
    const auto said = std::span(most_likely_).subspan(sample * members_, members_);
    std::int64_t pairs = 0;
    for (std::size_t a = 0; a < members_; ++a) {
      for (std::size_t b = a + 1; b < members_; ++b) pairs += said[a] >= 0 && said[a] == said[b] ? 1 : 0;
    }
    counts.pairs += pairs;
    const auto all_pairs = static_cast<std::int64_t>(members_ * (members_ - 1) / 2);
    counts.all += pairs == all_pairs ? 1 : 0;
  }
  return counts;
}

std::int32_t MeanProbabilities::most_likely_of(std::int64_t sample) const {
  return most_likely(row(static_cast<std::size_t>(sample)));
}

}  // namespace dtrain
