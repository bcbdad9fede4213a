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
#include "trainer/damage.hpp"
#include "trainer/datasets.hpp"
#include "trainer/gradient_reducer.hpp"
#include "trainer/placement.hpp"
#include "trainer/replica.hpp"
#include "trainer/run_plan.hpp"
#include "trainer/served_exchange.hpp"
#include "trainer/trainer.hpp"
#include "trainer/training_ranks.hpp"

namespace dtrain {

/// Validates a configuration and opens the data that it names. Errors: ConfigError, DataError.
RunData open_training_data(const TrainConfig& config, int ranks);

/// What plan_run wants to know of the data.
DataFacts facts_of(const RunData& data);

/// Ranks of this node that are to have one copy of weights and the optimizer's state; 1: each has its own. Whether memory can
/// be shared shows when the replica is built (Replica::update_is_private_because).
int ranks_to_share(const TrainConfig& config, const Communicator& communicator);

class Training {
 public:
  /// Collective over the workers, as Replica's. All references outlive this.
  Training(const RunPlan& plan, const TrainConfig& config, const TrainingRanks& ranks, const Placement& placement);
  Training(const Training&) = delete;
  Training& operator=(const Training&) = delete;

  Replica& replica() { return replica_; }
  Optimizer& optimizer() { return optimizer_; }

  /// Warns, on the root, when gradients or weights could not be laid out as the exchange and the layers like them.
  void warn_of_slow_exchange() const;
  /// Starts the exchange, and loading for the step after `first_step`. The replica is compiled and has its weights; once.
  /// stop_requested: as the trainer's. Collective over all ranks. Errors: ConfigError: --allreduce cannot be had here.
  void start(const Dataset& dataset, std::int64_t first_step, const std::atomic<bool>* stop_requested);

  /// The stage that steps are of, from the one that `first_step` belongs to on.
  const PlannedStage& stage() const { return plan_.stages[stage_]; }
  /// Goes on with the next stage, whose beginning the caller has seen to. After settle().
  void next_stage();

  // After start():
  StepReport step();
  /// Brings the weights up to date: a step may leave updates to the next one. To be called before they are read, and before the
  /// ranks meet otherwise than in a step. Collective.
  void settle() { trainer_->settle(); }
  /// The optimizer's state, which servers may have, on the root too. Collective, after settle().
  void gather_optimizer_state();
  /// After the last step. Collective.
  void finish();
  std::int64_t steps_done() const { return trainer_->steps_done(); }
  /// Whether a step's sums are over all ranks.
  bool sums_all_ranks() const;
  /// Whether workers wait for each other less in a step than in settle(), which is then a part of training.
  bool waits_between_steps() const;
  /// For people and reports: "ring", "ps: 2 servers, sync".
  std::string exchange_text() const;
  /// Damaged images of all stages so far, as all ranks know them; steps whose sums are over all ranks share them.
  DamageRecord& damage() { return *damage_; }
  /// Shares them where steps do not. Collective, after settle(). Errors: as DamageRecord::share().
  void share_damage();

 private:
  ReducerOptions reducer_options();
  ServedOptions served_options(std::int64_t first_step);
  LoaderOptions loader_options() const;
  /// Loading and stepping, within the present stage.
  void begin_stage(std::int64_t first_step);

  const RunPlan& plan_;
  const TrainConfig& config_;
  const TrainingRanks& ranks_;
  const Communicator& communicator_;  ///< of the workers
  const Placement& placement_;
  Replica replica_;
  Optimizer optimizer_;
  std::size_t stage_ = 0;
  const Dataset* dataset_ = nullptr;
  const std::atomic<bool>* stop_requested_ = nullptr;
  std::optional<DamageRecord> damage_;
  std::int64_t overlap_planned_at_ = 0;     ///< steps done by then
  std::optional<GradientReducer> reducer_;  ///< this or the next
  AlignedMemory served_weights_;            ///< on a worker that also serves
  std::optional<ServedExchange> served_;
  std::optional<DataLoader> loader_;
  std::optional<Trainer> trainer_;
};

}  // namespace dtrain
