// Warnings of runs that do not learn; see learning_watch.hpp.
#include "trainer/learning_watch.hpp"

#include <array>
#include <cmath>
#include <cstdio>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

constexpr double kHighFirstLoss = 3.0;       ///< times that of guessing
constexpr double kRunawayLoss = 100.0;       ///< times that of guessing
constexpr double kAtChance = 1e-4;           ///< from the loss of guessing
constexpr std::int64_t kFewestAtChance = 3;  ///< steps: one or two may be there by accident

std::string figure_of(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

}  // namespace

void PredictedRange::add(std::span<const float> logits, std::int64_t classes) {
  for (auto row = logits.begin(); row != logits.end(); row += classes) {
    const std::int64_t predicted = std::max_element(row, row + classes) - row;
    lowest = std::min(lowest, predicted);
    highest = std::max(highest, predicted);
  }
}

LearningWatch::LearningWatch(std::int64_t classes, std::int64_t steps_per_epoch)
    : classes_(classes),
      chance_(std::log(static_cast<double>(std::max<std::int64_t>(classes, 1)))),
      long_enough_(std::max(steps_per_epoch, kFewestAtChance)) {}

std::string LearningWatch::after_step(double loss) {
  ++steps_;
  if (classes_ < 2 || !std::isfinite(loss)) return "";
  const std::string guessing = "guessing among " + counted(classes_, "class", "classes") + " (ln " + std::to_string(classes_) +
                               " = " + figure_of(chance_) + ")";
  if (steps_ == 1 && loss > kHighFirstLoss * chance_) {
    return "the first loss, " + figure_of(loss) + ", is more than 3 times that of " + guessing +
           ". Likely causes: weights that are of other classes in another order, images that are not prepared as the weights "
           "expect (--mean, --std, --resize, --crop), or a head of weights that are too large";
  }
  if (loss > kRunawayLoss * chance_ && !has_warned_of_runaway_) {
    has_warned_of_runaway_ = true;
    return "the loss has grown to " + figure_of(loss) + ", more than 100 times that of " + guessing +
           ": the run is diverging. Likely cause: a rate that is too large (a smaller --lr, a --warmup-epochs)";
  }
  steps_at_chance_ = std::abs(loss - chance_) < kAtChance ? steps_at_chance_ + 1 : 0;
  if (steps_at_chance_ < long_enough_ || has_warned_of_chance_) return "";
  has_warned_of_chance_ = true;
  return "the loss has been that of " + guessing + " for " + counted(steps_at_chance_, "step") +
         ": the network says the same of all images. Likely causes: a rate so large that its units died (a smaller --lr, a "
         "--warmup-epochs), or so small that nothing changes";
}

std::string LearningWatch::after_validation(const Validation& validation) {
  if (!validation.only_class || validation.images < 2 || validation.hits == validation.images) return "";
  if (has_warned_of_one_class_ || classes_ < 2) return "";
  has_warned_of_one_class_ = true;
  const auto only = static_cast<std::size_t>(*validation.only_class);
  const std::string name = only < validation.class_names.size() ? " (" + validation.class_names[only] + ")" : "";
  return "validation: all " + counted(validation.images, "image") + " are taken for class " +
         std::to_string(*validation.only_class) + name +
         ". Likely causes: too few steps yet, a rate that is too large, or running statistics of batch-norm that lag behind "
         "(few steps, micro-batches that are too small)";
}

}  // namespace dtrain
