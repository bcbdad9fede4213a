// From what was asked (TrainConfig) and what is there (data set, ranks) to what will be done: every default filled in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dtrain/data.hpp"
#include "dtrain/graph.hpp"
#include "dtrain/models.hpp"
#include "dtrain/optimizer.hpp"
#include "dtrain/weights_card.hpp"
#include "schedules/stages.hpp"
#include "trainer/config.hpp"
#include "trainer/patience.hpp"

namespace dtrain {

/// What the data set says.
struct DataFacts {
  std::int64_t samples = 0;
  std::int64_t classes = 0;
  std::vector<std::string> class_names{};  ///< of the classes' folders; empty: they have none
  std::string validation{};                ///< digest_text; empty: there is none
};

struct RunPlan {
  NetworkSpec network;
  CompileOptions compile;  ///< batch: the largest micro-batch of any rank
  TransformOptions train_transform, eval_transform;
  OptimizerSettings optimizer;
  std::string validation;          ///< DataFacts'
  WeightsCard card;                ///< of the weights to come, but for their rate
  bool corrects_momentum = false;  ///< where the rate changes
  std::vector<PlannedStage> stages;
  std::string source;                ///< of a published recipe; else empty
  std::string options;               ///< that the recipe brings along, as on the command line
  std::vector<std::string> remarks;  ///< what of that recipe was scaled, and by which rule
  std::int64_t samples = 0;
  std::int64_t global_batch = 0;
  std::int64_t local_batch = 0;
  std::int64_t steps_per_epoch = 0;
  std::int64_t total_steps = 0;  ///< of all stages, as executed
  bool shuffle = true;
  std::uint64_t seed = 1;
  bool syncs_norms = false;  ///< batch-norm's statistics are those of the micro-batches that all ranks compute at the same time
  Interval checkpoint_every, eval_every, check_replicas;
  Patience patience;

  /// "key=value" lines of all options that shape the run. With equal surroundings, equal recipes give equal bits.
  std::string recipe;
  /// The same of what is not said by options (surroundings.hpp); not plan_run's to know.
  std::string surroundings;
};

/// Shorter side to which pictures are resized before the centre crop where nothing is said: 256 for 224, the crop itself for
/// pictures up to 64 pixels, which are used whole.
std::int64_t default_resize(std::int64_t crop);

/// Resize and centre crop for a network, with ImageNet's mean and deviation. resize: 0: default_resize.
TransformOptions plain_transform(const NetworkSpec& network, std::int64_t resize);

/// Network and picture transform that training and evaluation share. classes: of the data set; 0: they do not matter.
NetworkSpec network_for(const std::string& model, const ModelOptions& options, std::int64_t crop, std::int64_t classes);
/// config: resize, interpolation, mean and stddev, each where it is given.
template <typename Config>
TransformOptions evaluation_transform(const NetworkSpec& network, const Config& config) {
  TransformOptions transform = plain_transform(network, config.resize);
  if (!config.interpolation.empty()) transform.interpolation = *parse_interpolation(config.interpolation);
  if (!config.mean.empty()) transform.mean = parse_channels(config.mean, 0.0f);
  if (!config.stddev.empty()) transform.stddev = parse_channels(config.stddev, 0.0f);
  return transform;
}
/// Of an evaluation transform.
Preprocessing preprocessing_of(const TransformOptions& transform);

/// Pictures a rank computes on at once where nothing is said: its share, at most 64.
std::int64_t default_local_batch(std::int64_t global_batch, int ranks);

/// How a stage's training pictures are cut and changed.
TransformOptions stage_transform(const RunPlan& plan, const PlannedStage& stage);
/// The network for pictures of another size: the same parameters. Errors: ConfigError: it has others then.
NetworkSpec network_at(const NetworkSpec& network, std::int64_t crop);
/// Sizes of the stages' pictures, each once, the run's own first.
std::vector<std::int64_t> training_crops(const RunPlan& plan);

/// Of step number `step`, from 0 over the whole run.
UpdateRates rates_of_step(const RunPlan& plan, std::int64_t step);

/// Pure. Errors: ConfigError (unknown model, too few classes for the data).
RunPlan plan_run(const TrainConfig& config, const DataFacts& data, int ranks);

}  // namespace dtrain
