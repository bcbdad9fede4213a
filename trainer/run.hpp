// Whole runs, from configuration to report: what the commands `train` and `eval` do.
#pragma once

#include "collectives/communicator.hpp"
#include "trainer/config.hpp"
#include "trainer/placement.hpp"
#include "trainer/rank_memory.hpp"

namespace dtrain {

/// Trains. Result: exit code (done, or stopped on request after saving). Collective.
/// Errors: ConfigError, DataError, CommError, DivergedError.
int run_training(const TrainConfig& config, Communicator& communicator, const RunEnvironment& environment);

/// What such a run would take on one rank that neither evaluates nor saves, found without allocating it. Errors: ConfigError,
/// DataError.
RankMemory plan_training_memory(const TrainConfig& config);

/// Evaluates weights on a data set. Collective.
int run_evaluation(const EvalConfig& config, Communicator& communicator, const RunEnvironment& environment);

}  // namespace dtrain
