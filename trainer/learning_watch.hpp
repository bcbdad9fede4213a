// Notices that a run does not learn: losses and predictions that only a mistake explains. Says so once each, with the likely
// cause. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>

namespace dtrain {

/// The lowest and the highest class that any image is taken for (ties: the lowest class wins).
struct PredictedRange {
  std::int64_t lowest = std::numeric_limits<std::int64_t>::max();
  std::int64_t highest = -1;

  /// logits: (images, classes) row-major.
  void add(std::span<const float> logits, std::int64_t classes);
};

class LearningWatch {
 public:
  /// classes: outputs of the network.
  LearningWatch(std::int64_t classes, std::int64_t steps_per_epoch);

  /// loss: the mean of a step, in order. Result: a warning, or empty.
  std::string after_step(double loss);
  /// images: evaluated; hits: taken for their own class; only_class: that all of them were taken for, where there is such one,
  /// and the names of the classes (may be fewer). Result: a warning, or empty.
  struct Validation {
    std::int64_t images = 0, hits = 0;
    std::optional<std::int64_t> only_class{};
    std::span<const std::string> class_names{};
  };
  std::string after_validation(const Validation& validation);

 private:
  std::int64_t classes_;
  double chance_;             ///< the loss of guessing: ln classes
  std::int64_t long_enough_;  ///< steps that a loss may stay at it
  std::int64_t steps_ = 0;
  std::int64_t steps_at_chance_ = 0;  ///< in a row, up to now
  bool has_warned_of_runaway_ = false, has_warned_of_chance_ = false, has_warned_of_one_class_ = false;
};

}  // namespace dtrain
