// What a rank trains a plan with: replica, optimizer, exchange, loader and trainer, in the order in which they need each other,
// and released together. It is told the plan and the weights, and decides nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "collectives/communicator.hpp"
#include "dtrain/data.hpp"
#include "dtrain/optimizer.hpp"
#include "trainer/config.hpp"
#include "trainer/datasets.hpp"
#include "trainer/gradient_reducer.hpp"
#include "trainer/placement.hpp"
#include "trainer/replica.hpp"
#include "trainer/run_plan.hpp"
#include "trainer/trainer.hpp"

namespace dtrain {

/// Validates a configuration and opens the data that it names. Errors: ConfigError, DataError.
RunData open_training_data(const TrainConfig& config, int ranks);

/// What plan_run wants to know of the data.
DataFacts facts_of(const RunData& data);

class Training {
 public:
  /// Collective, as Replica's. All references outlive this.
  Training(const RunPlan& plan, const TrainConfig& config, const Communicator& communicator, const Placement& placement);
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

  Replica& replica() { return replica_; }
  Optimizer& optimizer() { return optimizer_; }

  /// Warns, on the root, when gradients or weights could not be laid out as the exchange and the layers like them.
  void warn_of_slow_exchange() const;
  /// Starts the exchange, and loading for the step after `first_step`. The replica is compiled and has its weights; once.
  /// stop_requested: as the trainer's. Errors: ConfigError: --allreduce cannot be had here.
  void start(const Dataset& dataset, std::int64_t first_step, const std::atomic<bool>* stop_requested);

  // After start():
  StepReport step();
  /// Brings the weights up to date: a step may leave updates to the next one. To be called before they are read.
  void settle() { trainer_->settle(); }
  std::int64_t steps_done() const { return trainer_->steps_done(); }
  const AlgorithmTable& algorithms() const { return reducer_->algorithms(); }
  DataFaults faults() const { return loader_->faults(); }

 private:
  ReducerOptions reducer_options();
  LoaderOptions loader_options() const;

  const RunPlan& plan_;
  const TrainConfig& config_;
  const Communicator& communicator_;
  const Placement& placement_;
  Replica replica_;
  Optimizer optimizer_;
  std::int64_t overlap_planned_at_ = 0;  ///< steps done by then
  std::optional<GradientReducer> reducer_;
  std::optional<DataLoader> loader_;
  std::optional<Trainer> trainer_;
};

}  // namespace dtrain
