// Published large-batch recipes by name, as lists of stages, scaled to the run at hand by rules that are said. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "schedules/stages.hpp"

namespace dtrain {

/// The run that a recipe is wanted for.
struct PresetRequest {
  std::string name;
  std::int64_t samples = 1281167;  ///< in an epoch
  std::int64_t global_batch = 0;   ///< 0: the recipe's own
  double epochs = 0.0;             ///< of all stages, branches included; 0: the recipe's own
  double learning_rate = 0.0;      ///< of finetune: that is asked for; 0: it is chosen
  double weights_rate = 0.0;       ///< of finetune: at which its weights were being trained when they were saved; 0: unknown
};

/// Options that belong to a recipe, whatever the run.
struct PresetOptions {
  std::string optimizer = "sgd";
  bool rate_in_velocity = false;
  bool zero_init_gamma = false;
};

/// A recipe, ready to run.
struct PresetPlan {
  std::vector<Stage> stages;
  std::string source;                ///< for people: who published it
  std::vector<std::string> remarks;  ///< what was scaled, from what to what, by which rule
};

/// The names, in the order in which they are listed.
std::vector<std::string> preset_names();
/// The global batch for which a recipe was published. finetune: the same number of images on every rank, at most 256, so that
/// an epoch has 20 steps where the data allow a batch of 8.
std::int64_t preset_batch(const std::string& name, std::int64_t samples, int ranks);

/// Of an unknown name: the defaults.
PresetOptions preset_options(const std::string& name);

/// goyal             8192 pictures, 90 epochs: rate 3.2 in steps of 0.1. Goyal et al. 2017, arXiv:1706.02677
/// surfsara-448      14336, 85.5 epochs poly power 1, then a collapse of 4.5. Codreanu et al. 2017, arXiv:1711.04291
/// surfsara-cycles   4096, a start and three cycles, a collapse branched off after each. The same
/// mlperf-lars       8192, 42 epochs of LARS, poly power 2. MLPerf training's reference; You et al. 2017, arXiv:1708.03888
/// finetune          at most 256, 10 epochs, poly power 1 from the rate at which the weights were being trained, where that is
///                   known and neither the end of a run nor that of a much larger batch; else from 0.01·√(batch/256)
///
/// Rules. A run has the epochs that are asked for, or the recipe's, of ⌈samples/global_batch⌉ steps each; every stage has its
/// published share of them, warm-ups and decays theirs of the stage. Where batch, samples and epochs are the published ones, so
/// are all steps. Rates grow in proportion to the global batch; those at which a warm-up
/// from scratch begins stay. mlperf-lars: rate, weight decay and warm-up go through the published points (4096, 8192, 32768),
/// in straight lines between their logarithms; beyond them the rate follows the root of the batch. Errors: ConfigError: unknown
/// name (lists the known ones, names the nearest is the caller's).
PresetPlan plan_preset(const PresetRequest& request);

}  // namespace dtrain
