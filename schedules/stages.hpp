// A run as a list of stages: warm-up and decay, cycles, a collapse. Pure: which stage a step belongs to, what its rates are,
// and where its pictures stand in the data.
//
// Note [A branch leaves the trunk as it was]: a stage may be a branch. It begins from the trunk's weights, and the stage behind
// it goes on from there too: weights, momentum, statistics, and the position in the data. So the trunk is the same, to the bit,
// as in a run without branches. Steps are counted as they are executed, branches included:
//
//   executed   0 ──── init ──── 100 ── branch ── 120 ──── cycle ──── 200
//   in data    0 ────────────── 100 ──────────── 120
//                               100 ───────────────── cycle ──────── 180
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "schedules/curves.hpp"

namespace dtrain {

/// Longer stages than these are slips of the pen.
inline constexpr double kMostStageEpochs = 1e6;
inline constexpr std::int64_t kMostStageSteps = 1'000'000'000'000;

/// What is asked of a stage. As text: "NAME: key=value …", keys as the options of the command line.
struct Stage {
  std::string name = "train";
  double epochs = 0.0;     ///< its length: this
  std::int64_t steps = 0;  ///< or, where it is not 0, this
  double learning_rate = 0.1;
  Curve schedule{};
  double warmup_epochs = 0.0;
  double warmup_start = 0.0;
  double weight_decay = 1e-4;
  Curve weight_decay_schedule{};
  double momentum = 0.9;
  Curve momentum_schedule{};
  double label_smoothing = 0.0;
  std::string augment;           ///< standard | light | none; empty: by the pictures' size
  std::int64_t crop = 0;         ///< side of the pictures; 0: the run's
  bool keeps_momentum = false;   ///< from the stage before, with all of the optimizer's state; else it begins with zeros
  bool keeps_statistics = true;  ///< batch-norm's running mean and variance; else they begin anew
  bool is_branch = false;        ///< see Note [A branch leaves the trunk as it was]

  bool operator==(const Stage&) const = default;
};

/// A stage, placed in a run.
struct PlannedStage {
  Stage stage;
  RatePlan rate;                  ///< of its own steps, from 0
  std::int64_t begin = 0;         ///< first step, as executed
  std::int64_t end = 0;           ///< behind its last one
  std::int64_t data_step = 0;     ///< of its first step: where its pictures stand in the data
  std::int64_t updates_kept = 0;  ///< that the optimizer's state has seen when it begins
  double rate_kept = 0.0;         ///< of the last of those updates

  std::int64_t steps() const { return end - begin; }
  /// Where the pictures of an executed step stand; of `end`: where the next ones would.
  std::int64_t position(std::int64_t step) const { return data_step + step - begin; }
  /// The rate of the update before that of a step; 0: there was none since the state was zeros.
  double rate_before(std::int64_t step) const;
  /// Updates since the optimizer's state was zeros, that of this step included.
  std::int64_t updates(std::int64_t step) const { return updates_kept + step - begin + 1; }
};

/// Places stages one behind the other. samples: in an epoch. Every stage has at least one step.
/// Errors: ConfigError: no stage, a stage without length, with a warm-up longer than itself, or named as another one; the first
/// one a branch.
std::vector<PlannedStage> plan_stages(const std::vector<Stage>& stages, std::int64_t samples, std::int64_t global_batch);

/// Number of the stage that an executed step belongs to, 0 ≤ step < the run's steps.
std::size_t stage_at(const std::vector<PlannedStage>& stages, std::int64_t step);

/// What an update works with.
struct StageRates {
  double learning_rate = 0.0;
  double momentum = 0.0;
  double weight_decay = 0.0;
};
/// At a step of the stage, as executed.
StageRates rates_at(const PlannedStage& stage, std::int64_t step);

/// The first step whose pictures no stage needs: steps of the data, from 0.
std::int64_t data_steps(const std::vector<PlannedStage>& stages);

}  // namespace dtrain
