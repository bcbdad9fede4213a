// The run of a rank that serves parameters and does not train: it has no data, and is told what the plan depends on.
#pragma once

#include <cstdint>

#include "collectives/communicator.hpp"
#include "trainer/config.hpp"
#include "trainer/placement.hpp"
#include "trainer/run_plan.hpp"
#include "trainer/training_ranks.hpp"

namespace dtrain {

/// What a rank without data must know to make the same plan as the others.
struct RunFacts {
  std::int64_t samples = 0, classes = 0;
  std::int64_t local_batch = 0;
};

/// Of a rank that trains: tells those that serve. Collective over all ranks, with run_serving_rank. Errors: CommError: the
/// plans differ.
void agree_with_servers(const RunFacts& facts, const RunPlan& plan, const Communicator& all);

/// Serves until the others have trained. Result: exit code. Errors: ConfigError, CommError.
int run_serving_rank(const TrainConfig& config, const TrainingRanks& ranks, const RunEnvironment& environment);

}  // namespace dtrain
