// The stages of a run in words and figures, before it runs.
#pragma once

#include <string>

#include "trainer/run_plan.hpp"

namespace dtrain {

/// "cycle-1: 3750 steps (12 epochs), rate 1.02 → 0.2551, weight decay 5e-05, …", for the log.
std::string stage_text(const PlannedStage& stage);

/// A line a stage: steps, epochs, rate at its start, at the end of its warm-up and at its last step, weight decay, momentum,
/// pictures, and the time it will take; then where the recipe is from, what of it was scaled, and the stages as a text for
/// --stages. images_per_s: of all ranks, on pictures of the run's own size; training time of other sizes is taken to grow with
/// their pixels.
std::string schedule_table(const RunPlan& plan, double images_per_s);

}  // namespace dtrain
