// Doubts about a plan; see plan_doubts.hpp.
#include "trainer/plan_doubts.hpp"

#include <algorithm>

#include "dtrain/error.hpp"
#include "schedules/text.hpp"
#include "trainer/norm_values.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kSensibleSteps = 10;  ///< of an epoch: fewer make few updates

std::string large_batch_doubt(const RunPlan& plan) {
  if (plan.global_batch <= plan.samples) return "";
  const std::int64_t sensible = std::max<std::int64_t>(1, plan.samples / kSensibleSteps);
  return "--global-batch " + std::to_string(plan.global_batch) + " is more than the " + counted(plan.samples, "image") +
         " there are: every step takes all of them, and rates that grow with the batch are those of a batch of " +
         std::to_string(plan.samples) + ". The largest batch that makes " + std::to_string(kSensibleSteps) +
         " steps an epoch is " + std::to_string(sensible);
}

std::string idle_ranks_doubt(const RunPlan& plan, int ranks) {
  const std::int64_t images = std::min(plan.global_batch, plan.samples);
  if (images >= ranks) return "";
  return "a step has " + counted(images, "image") + " for " + std::to_string(ranks) +
         " ranks: " + std::to_string(ranks - images) + " of them have nothing to do; --global-batch " + std::to_string(ranks) +
         " or more, or fewer ranks";
}

std::string local_batch_doubt(const RunPlan& plan, const TrainConfig& config, int ranks) {
  const std::int64_t share = (std::min(plan.global_batch, plan.samples) + ranks - 1) / ranks;
  if (config.local_batch <= share) return "";
  return "--local-batch " + std::to_string(config.local_batch) +
         " is more than a rank has of a step: " + counted(share, "image") + ", which are one micro-batch";
}

std::string warmup_doubt(const PlannedStage& planned) {
  const Stage& stage = planned.stage;
  if (stage.warmup_epochs <= 0.0) return "";
  const std::int64_t steps = warmup_steps(planned.rate);
  const std::string length =
      "the warm-up of " + shortest_text(stage.warmup_epochs) + (stage.warmup_epochs == 1.0 ? " epoch" : " epochs");
  if (steps == 0) return length + " is less than half a step: there is none";
  if (stage.warmup_start == stage.learning_rate) return length + " begins at the rate itself: it changes nothing";
  if (steps == 1 && stage.warmup_start == 0.0) {
    return length + " is one step, at rate 0: it changes no weight; --warmup-start-lr, or a longer warm-up";
  }
  if (steps >= planned.steps()) {
    return length + " is as long as the " + counted(planned.steps(), "step") + " that there are" + ": the rate never reaches " +
           shortest_text(stage.learning_rate);
  }
  return "";
}

}  // namespace

std::vector<std::string> doubts_of(const RunPlan& plan, const TrainConfig& config, int ranks) {
  std::vector<std::string> doubts{large_batch_doubt(plan), idle_ranks_doubt(plan, ranks),
                                  local_batch_doubt(plan, config, ranks), require_norms_of_several_values(plan, ranks)};
  for (const PlannedStage& stage : plan.stages) {
    const std::string doubt = warmup_doubt(stage);
    if (!doubt.empty()) doubts.push_back((plan.stages.size() > 1 ? "stage " + stage.stage.name + ": " : "") + doubt);
  }
  std::erase(doubts, "");
  return doubts;
}

}  // namespace dtrain
