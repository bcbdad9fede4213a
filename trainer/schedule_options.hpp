// Judging the options of rates, schedules, stages and recipes.
#pragma once

#include "trainer/config.hpp"
#include "trainer/option_faults.hpp"

namespace dtrain {

/// Rates, curves and lengths of a run of one stage; and what a list of stages or a recipe decides in their place. Pure.
void check_schedule(const TrainConfig& config, Faults& faults);

}  // namespace dtrain
