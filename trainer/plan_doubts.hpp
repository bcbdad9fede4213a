// What a plan does that its user will hardly have meant: said at the start and by --dry-run, one sentence each.
#pragma once

#include <string>
#include <vector>

#include "trainer/run_plan.hpp"

namespace dtrain {

/// Batches without images, warm-ups that change nothing, batch-norm over one value. Pure.
/// Errors: ConfigError: those of require_norms_of_several_values.
std::vector<std::string> doubts_of(const RunPlan& plan, const TrainConfig& config, int ranks);

}  // namespace dtrain
