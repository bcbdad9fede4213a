// Placing stages in a run; see stages.hpp.
#include "schedules/stages.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "dtrain/error.hpp"
#include "schedules/text.hpp"

namespace dtrain {
namespace {

[[noreturn]] void refuse_stage(const Stage& stage, const std::string& expected, const std::string& found,
                               const std::string& remedy) {
  throw ConfigError(
      Fault{.doing = "planning the stage " + quoted(stage.name), .expected = expected, .found = found, .remedy = remedy});
}

/// Bounds come before any arithmetic: what counts steps stays far inside 64 bits.
std::int64_t steps_of(const Stage& stage, std::int64_t epoch_steps) {
  for (const double epochs : {stage.epochs, stage.warmup_epochs}) {
    if (epochs <= kMostStageEpochs) continue;
    refuse_stage(stage, "at most " + shortest_text(kMostStageEpochs) + " epochs", shortest_text(epochs), "fewer");
  }
  if (stage.steps == 0 && stage.epochs <= 0.0) refuse_stage(stage, "a length", "none", "epochs=F or steps=N");
  const double steps = stage.steps > 0 ? static_cast<double>(stage.steps) : stage.epochs * static_cast<double>(epoch_steps);
  if (steps > static_cast<double>(kMostStageSteps)) {
    refuse_stage(stage, "at most " + std::to_string(kMostStageSteps) + " steps", shortest_text(steps), "a shorter stage");
  }
  return stage.steps > 0 ? stage.steps : std::max<std::int64_t>(1, std::llround(steps));
}

/// A run of a single stage may end inside its warm-up: it is a rehearsal of a longer one.
void require_room_for_warmup(const PlannedStage& planned, std::size_t stages) {
  const std::int64_t warmup = warmup_steps(planned.rate);
  if (stages == 1 || warmup <= planned.steps()) return;
  refuse_stage(planned.stage, "a warm-up no longer than its " + counted(planned.steps(), "step"),
               counted(warmup, "step") + " of it", "a smaller warmup-epochs, or a longer stage");
}

}  // namespace

std::vector<PlannedStage> plan_stages(const std::vector<Stage>& stages, std::int64_t samples, std::int64_t global_batch) {
  if (stages.empty()) {
    throw ConfigError(Fault{.doing = "planning a run", .expected = "at least one stage", .found = "none"});
  }
  std::vector<PlannedStage> plan;
  std::set<std::string> names;
  std::int64_t executed = 0, trunk = 0;
  std::int64_t trunk_updates = 0;  // that the state of the trunk has seen
  double trunk_rate = 0.0;         // of the last of them
  for (const Stage& stage : stages) {
    if (!names.insert(stage.name).second) refuse_stage(stage, "a name of its own", "another stage of that name", "NAME-2");
    if (stage.is_branch && plan.empty()) {
      refuse_stage(stage, "a trunk to leave", "the first stage of the run", "branch=off, or a stage before it");
    }
    PlannedStage planned{.stage = stage,
                         .rate = {.curve = stage.schedule,
                                  .peak = stage.learning_rate,
                                  .warmup_start = stage.warmup_start,
                                  .warmup_epochs = stage.warmup_epochs,
                                  .total_steps = 1,
                                  .samples = samples,
                                  .global_batch = global_batch},
                         .begin = executed,
                         .end = 0,
                         .data_step = trunk,
                         .updates_kept = stage.keeps_momentum ? trunk_updates : 0,
                         .rate_kept = stage.keeps_momentum ? trunk_rate : 0.0};
    planned.rate.total_steps = steps_of(stage, epoch_steps(planned.rate));
    planned.end = executed + planned.rate.total_steps;
    if (planned.end > kMostStageSteps) {
      refuse_stage(stage, "a run of at most " + std::to_string(kMostStageSteps) + " steps",
                   std::to_string(planned.end) + " up to the end of this stage", "shorter stages");
    }
    require_room_for_warmup(planned, stages.size());
    if (const double last = rates_at(planned, planned.end - 1).momentum; last >= 1.0) {
      refuse_stage(stage, "a momentum below 1 to its end", shortest_text(last), "another momentum-schedule");
    }
    executed = planned.end;
    if (!stage.is_branch) {
      trunk += planned.steps();
      trunk_updates = planned.updates_kept + planned.steps();
      trunk_rate = learning_rate(planned.rate, planned.steps() - 1);
    }
    plan.push_back(std::move(planned));
  }
  return plan;
}

double PlannedStage::rate_before(std::int64_t step) const {
  return step > begin ? learning_rate(rate, step - 1 - begin) : rate_kept;
}

std::size_t stage_at(const std::vector<PlannedStage>& stages, std::int64_t step) {
  const auto stage = std::upper_bound(stages.begin(), stages.end(), step,
                                      [](std::int64_t at, const PlannedStage& candidate) { return at < candidate.end; });
  check(step >= 0 && stage != stages.end(), "a step lies within the run");
  return static_cast<std::size_t>(stage - stages.begin());
}

StageRates rates_at(const PlannedStage& planned, std::int64_t step) {
  const std::int64_t own = step - planned.begin;
  const Stage& stage = planned.stage;
  return {.learning_rate = learning_rate(planned.rate, own),
          .momentum = value_beside_rate(planned.rate, stage.momentum, stage.momentum_schedule, own),
          .weight_decay = value_beside_rate(planned.rate, stage.weight_decay, stage.weight_decay_schedule, own)};
}

std::int64_t data_steps(const std::vector<PlannedStage>& stages) {
  std::int64_t steps = 0;
  for (const PlannedStage& stage : stages) steps = std::max(steps, stage.position(stage.end));
  return steps;
}

}  // namespace dtrain
