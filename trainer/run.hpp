// Whole runs, from configuration to report: what the commands `train`, `eval` and `bench` do.
#pragma once

#include "collectives/communicator.hpp"
#include "trainer/bench_plan.hpp"
#include "trainer/config.hpp"
#include "trainer/placement.hpp"
#include "trainer/rank_memory.hpp"

namespace dtrain {

/// Trains. Result: exit code (done, or stopped on request after saving). Collective.
/// Errors: ConfigError, DataError, CommError, DivergedError.
int run_training(const TrainConfig& config, Communicator& communicator, const RunEnvironment& environment);

/// Instead of training: prints the stages of the run with their rates and times, and draws them. Collective. Errors: as
/// run_training.
int run_dry(const TrainConfig& config, Communicator& communicator, const RunEnvironment& environment);

/// What such a run would take on one rank that neither evaluates nor saves, found without allocating it. Errors: ConfigError,
/// DataError.
RankMemory plan_training_memory(const TrainConfig& config);

/// Evaluates weights on a data set. Collective.
int run_evaluation(const EvalConfig& config, Communicator& communicator, const RunEnvironment& environment);

/// Measures training speed on synthetic pictures, combination by combination. Result: exit code: done, or usage when none of
/// them fits the memory. Collective. Stops for no signal: nothing is lost when the process ends. Errors: as run_training.
int run_bench(const BenchConfig& config, Communicator& communicator, const RunEnvironment& environment);

}  // namespace dtrain
