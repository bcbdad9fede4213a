// When and where a run saves, and from where it continues. The root writes; all ranks read.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "dtrain/checkpoint.hpp"
#include "trainer/replica.hpp"
#include "trainer/run_plan.hpp"

namespace dtrain {

/// Epochs of its stage done after so many steps of a run.
double epochs_done(const RunPlan& plan, std::int64_t step);

class CheckpointKeeper {
 public:
  /// out: empty: nothing is saved. resume: "off", "auto" or a file.
  CheckpointKeeper(const TrainConfig& config, const RunPlan& plan, const Communicator& communicator);

  bool is_enabled() const { return !paths_.out.empty(); }
  const CheckpointPaths& paths() const { return paths_; }

  /// Before anything is computed, on the root, agreed on by all: the directory can be written, has room for what is saved,
  /// and does not hold another run (unless it is to be resumed). Errors: DataError, ConfigError on every rank.
  void prepare(std::int64_t parameters, std::int64_t statistics) const;

  /// Weights and position of the run that is continued; steps done, 0 for a fresh start. Collective.
  /// Errors: DataError (damaged, another model), ConfigError (another batch, data set or seed: the position would mean
  /// something else).
  TrainingPosition resume(Replica& replica, Optimizer& optimizer, std::vector<std::string>& messages) const;

  /// Saves with the ranks' average of batch-norm's statistics, and with their own for going on; collective. damaged: training
  /// images met so far. Errors: DataError on the root.
  void save(Replica& replica, const Optimizer& optimizer, std::int64_t step, const std::vector<std::int64_t>& damaged);
  /// Whether save() after this step was not ended in the middle. Collective.
  bool is_saved_whole(std::int64_t step, bool has_average) const;
  /// Keeps a branch's weights, or the average in their place, under its name. Statistics averaged before. Collective. Errors:
  /// DataError.
  void keep_member(Replica& replica, const PlannedStage& branch) const;
  /// Weights, statistics and optimizer's state of the trunk, as saved when a branch began at `step`. Collective. Errors:
  /// DataError.
  void restore_trunk(Replica& replica, Optimizer& optimizer, std::int64_t step) const;
  /// Keeps the weights, or the average in their place, as best.safetensors when top1 exceeds every earlier one. Statistics
  /// averaged before. step: steps done. Result: it did.
  bool keep_best(Replica& replica, double top1, std::int64_t step);
  double best_top1() const { return best_top1_; }
  void set_best_top1(double top1) { best_top1_ = top1; }

 private:
  /// What belongs to the weights after so many steps.
  WeightsCard card_at(std::int64_t step) const;
  /// Each rank's own of a checkpoint's statistics, or, where they are of another number of ranks, the average. Collective.
  /// Result: as hand_out's.
  std::int64_t go_on_with(const RankStatistics& statistics, Replica& replica) const;
  /// On the root. Errors: DataError: less room than the run's files will take.
  void require_room(std::int64_t parameters, std::int64_t statistics) const;
  /// Of what has no effect on the run: files that cannot be removed, say.
  void warn_once(const std::vector<std::string>& complaints) const;
  /// On the root. Errors: ConfigError: weights of an earlier run, of which there is no checkpoint.
  void require_nothing_finished() const;
  /// On the root: the best weights are all that is there, of a run that was ended before its first checkpoint.
  bool begins_over_best() const;
  /// On the root, before a save without an average: one of earlier must not look as if it belonged to the new weights.
  void set_average_aside() const;
  /// The output directory has a run that the new one would not continue.
  bool holds_another_run() const;
  /// A run that goes on after `step`, from `file`, needs the trunk where it is in a branch, and the members of branches that
  /// are done: reads them, and copies them first where the file is of another run. Errors: DataError: missing or damaged.
  void require_branch_files(std::int64_t step, const std::string& file) const;

  /// Writes `file` on the root, under a watch: the others may wait for long. Errors: DataError on every rank.
  void save_on_root(const std::filesystem::path& file, const std::function<void()>& save) const;

  std::string resume_;
  CheckpointPaths paths_;
  const RunPlan& plan_;
  const Communicator& communicator_;
  int keep_last_;
  double best_top1_ = -1.0;
  mutable std::set<std::string> complained_;
};

}  // namespace dtrain
