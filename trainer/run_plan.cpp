// Defaults and derived quantities of a run; see run_plan.hpp.
#include "trainer/run_plan.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <variant>

#include "dtrain/error.hpp"
#include "schedules/presets.hpp"
#include "schedules/shards.hpp"
#include "schedules/stage_text.hpp"
#include "trainer/optimizer_options.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kSmallPicture = 64;
constexpr std::int64_t kLocalBatchCap = 64;

Augmentation augmentation_of(const std::string& name, std::int64_t crop) {
  if (name == "standard") return Augmentation::standard;
  if (name == "light") return Augmentation::light;
  if (name == "none") return Augmentation::none;
  return crop <= kSmallPicture ? Augmentation::light : Augmentation::standard;
}

/// Probabilities of the dropout layers, in their order; one where all are the same; empty: there are none.
std::string dropout_text(const NetworkSpec& network) {
  std::vector<float> probabilities;
  for (const Node& node : network.nodes) {
    if (const auto* const dropout = std::get_if<Dropout>(&node.layer)) probabilities.push_back(dropout->probability);
  }
  if (probabilities.empty()) return {};
  if (std::ranges::count(probabilities, probabilities.front()) == std::ssize(probabilities)) probabilities.resize(1);
  std::ostringstream text;
  for (const float probability : probabilities) text << (text.tellp() > 0 ? "," : "") << probability;
  return text.str();
}

/// The stages' keys: of a single stage by themselves, as they have always been written.
void describe_stages(const RunPlan& plan, std::ostringstream& text) {
  if (plan.stages.size() > 1) {
    std::vector<Stage> stages;
    for (const PlannedStage& planned : plan.stages) stages.push_back(planned.stage);
    text << "\nstages=" << to_text(stages);
    return;
  }
  const Stage& stage = plan.stages.front().stage;
  // As floats: that is what they have been.
  text << "\nmomentum=" << static_cast<float>(stage.momentum) << "\nweight_decay=" << static_cast<float>(stage.weight_decay)
       << "\nlabel_smoothing=" << static_cast<float>(stage.label_smoothing) << "\nschedule=" << to_text(stage.schedule)
       << "\nlearning_rate=" << stage.learning_rate << "\nwarmup_epochs=" << stage.warmup_epochs
       << "\nwarmup_start=" << stage.warmup_start;
  if (!stage.augment.empty()) text << "\nstage_augment=" << stage.augment;
  if (stage.crop > 0) text << "\nstage_crop=" << stage.crop;
  if (stage.weight_decay_schedule != Curve{}) text << "\nweight_decay_schedule=" << to_text(stage.weight_decay_schedule);
  if (stage.momentum_schedule != Curve{}) text << "\nmomentum_schedule=" << to_text(stage.momentum_schedule);
}

std::string describe_recipe(const RunPlan& plan, const TrainConfig& config, int ranks) {
  std::ostringstream text;
  text.precision(17);
  text << "model=" << plan.network.name << "\nclasses=" << plan.network.num_classes << "\ncrop=" << plan.train_transform.crop
       << "\nresize=" << plan.train_transform.resize << "\naugmentation=" << static_cast<int>(plan.train_transform.augmentation)
       << "\nsamples=" << plan.samples << "\nshuffle=" << plan.shuffle << "\nseed=" << plan.seed
       << "\nglobal_batch=" << plan.global_batch
       << "\nlocal_batch=" << std::min(plan.local_batch, (plan.global_batch + ranks - 1) / ranks) << "\nranks=" << ranks
       << "\noptimizer=" << config.optimizer;
  describe_stages(plan, text);
  text << "\ntotal_steps=" << plan.total_steps << "\nprecision=" << to_text(plan.compile.precision) << "\nfuse=" << config.fuse
       << "\nconv=" << config.conv << "\nallreduce=" << config.allreduce
       << "\nfusion_mb=" << (config.fusion_mb ? std::to_string(*config.fusion_mb) : "auto") << "\n"
       << describe_optimizer(config);
  if (const std::string dropout = dropout_text(plan.network); !dropout.empty()) text << "dropout=" << dropout << "\n";
  if (config.wire_dtype != "fp32") text << "wire_dtype=" << config.wire_dtype << "\n";
  if (uses_parameter_servers(config)) {
    text << "parameter_servers=" << config.parameter_servers << "\nps_mode=" << config.ps_mode << "\n";
    if (config.ps_mode == "backup") text << "backup_workers=" << backup_workers_of(config) << "\n";
    if (config.ps_mode == "async") text << "max_staleness=" << max_staleness_of(config) << "\n";
  }
  const Preprocessing usual;
  if (plan.eval_transform.interpolation != usual.interpolation)
    text << "interpolation=" << to_text(plan.eval_transform.interpolation) << "\n";
  if (plan.eval_transform.mean != usual.mean) text << "mean=" << to_text(plan.eval_transform.mean) << "\n";
  if (plan.eval_transform.stddev != usual.stddev) text << "std=" << to_text(plan.eval_transform.stddev) << "\n";
  if (plan.syncs_norms) text << "bn=sync\n";
  if (config.aux_heads) text << "aux_heads=on\n";  // left out otherwise, as in recipes older than the options
  return text.str();
}

std::string options_text_of(const PresetOptions& options) {
  const PresetOptions plain;
  std::string text;
  if (options.optimizer != plain.optimizer) text += " --optimizer " + options.optimizer;
  if (options.rate_in_velocity) text += " --rate-in-velocity on";
  if (options.zero_init_gamma) text += " --zero-init-gamma on";
  return text.empty() ? text : text.substr(1);
}

/// What the options say of one stage; it is as long as the run.
Stage stage_of_options(const TrainConfig& config, std::int64_t global_batch) {
  const BatchScaling scaling = config.lr_scaling == "sqrt" ? BatchScaling::square_root : BatchScaling::linear;
  return {.epochs = config.epochs > 0.0 ? config.epochs : kDefaultEpochs,
          .steps = config.steps,
          .learning_rate = config.lr ? *config.lr : scaled_rate(base_rate(config), global_batch, scaling),
          .schedule = parse_curve(config.schedule),
          .warmup_epochs = config.warmup_epochs,
          .warmup_start = config.warmup_start_lr,
          .weight_decay = weight_decay_of(config),
          .weight_decay_schedule = parse_curve(config.weight_decay_schedule),
          .momentum = momentum_of(config),
          .momentum_schedule = parse_curve(config.momentum_schedule),
          .label_smoothing = config.label_smoothing};
}

/// The stages of the run, whichever way they are asked for.
PresetPlan asked_stages(const TrainConfig& config, const DataFacts& data, std::int64_t asked_batch) {
  // Rates that grow with the batch grow with the images that a step really has.
  const std::int64_t global_batch = std::min(asked_batch, data.samples);
  const Stage of_options = stage_of_options(config, global_batch);
  if (!config.preset.empty()) {
    return plan_preset({.name = config.preset,
                        .samples = data.samples,
                        .global_batch = global_batch,
                        .epochs = config.epochs,
                        .learning_rate = config.lr || config.base_lr ? of_options.learning_rate : 0.0,
                        .weights_rate = config.weights_rate});
  }
  if (config.stages.empty()) return {.stages = {of_options}};
  const BatchScaling scaling = config.lr_scaling == "sqrt" ? BatchScaling::square_root : BatchScaling::linear;
  return {.stages = parse_stages(config.stages, {of_options, global_batch, scaling})};
}

}  // namespace

std::int64_t default_resize(std::int64_t crop) { return crop <= kSmallPicture ? crop : (crop * 256 + 112) / 224; }

NetworkSpec network_for(const std::string& model, const ModelOptions& options, std::int64_t crop, std::int64_t classes) {
  ModelOptions complete = options;
  if (complete.image_size == 0) complete.image_size = crop;
  if (complete.num_classes == 0) complete.num_classes = classes;
  NetworkSpec network = build_model(model, complete);
  if (network.num_classes < classes) {
    throw ConfigError(Fault{.doing = "building " + network.name + " for the data set",
                            .expected = "at least " + counted(classes, "class", "classes") + ", as many as the data has",
                            .found = "--num-classes " + std::to_string(network.num_classes),
                            .remedy = "leave --num-classes out: it then follows the data"});
  }
  return network;
}

TransformOptions plain_transform(const NetworkSpec& network, std::int64_t resize) {
  TransformOptions transform;
  transform.augmentation = Augmentation::none;
  transform.channels = network.channels;
  transform.crop = network.height;
  transform.resize = resize > 0 ? resize : default_resize(network.height);
  return transform;
}

Preprocessing preprocessing_of(const TransformOptions& transform) {
  return {.resize = transform.resize,
          .crop = transform.crop,
          .interpolation = transform.interpolation,
          .mean = transform.mean,
          .stddev = transform.stddev};
}

std::int64_t default_local_batch(std::int64_t global_batch, int ranks) {
  return std::min((global_batch + ranks - 1) / ranks, kLocalBatchCap);
}

TransformOptions stage_transform(const RunPlan& plan, const PlannedStage& stage) {
  TransformOptions transform = plan.train_transform;
  if (stage.stage.crop > 0) {
    transform.crop = stage.stage.crop;
    transform.resize = default_resize(transform.crop);
  }
  if (!stage.stage.augment.empty()) transform.augmentation = augmentation_of(stage.stage.augment, transform.crop);
  return transform;
}

NetworkSpec network_at(const NetworkSpec& network, std::int64_t crop) {
  NetworkSpec other = network;
  other.height = other.width = crop;
  const auto refuse = [&](const std::string& found) {
    throw ConfigError(Fault{.doing = "training " + network.name + " on pictures of " + std::to_string(crop) + " pixels",
                            .expected = "a network whose weights do not depend on the pictures' size",
                            .found = found,
                            .remedy = "a network that ends in adaptive pooling, as resnet50, or stages without crop="});
  };
  try {
    if (parameters_by_node(other) != parameters_by_node(network)) refuse("other shapes of weights");
  } catch (const ConfigError& error) {
    refuse(error.what());
  }
  return other;
}

std::vector<std::int64_t> training_crops(const RunPlan& plan) {
  std::vector<std::int64_t> crops{plan.train_transform.crop};
  for (const PlannedStage& stage : plan.stages) {
    const std::int64_t crop = stage_transform(plan, stage).crop;
    if (std::find(crops.begin(), crops.end(), crop) == crops.end()) crops.push_back(crop);
  }
  return crops;
}

UpdateRates rates_of_step(const RunPlan& plan, std::int64_t step) {
  const PlannedStage& stage = plan.stages[stage_at(plan.stages, step)];
  const StageRates rates = rates_at(stage, step);
  // A velocity that came to be at rate 0 is what it was before: there is nothing to correct.
  const double before = plan.corrects_momentum ? stage.rate_before(step) : 0.0;
  return {.learning_rate = static_cast<float>(rates.learning_rate),
          .momentum = static_cast<float>(rates.momentum),
          .weight_decay = static_cast<float>(rates.weight_decay),
          .rate_ratio = before > 0.0 ? static_cast<float>(rates.learning_rate / before) : 1.0f,
          .updates = stage.updates(step)};
}

RunPlan plan_run(const TrainConfig& asked, const DataFacts& data, int ranks) {
  const TrainConfig config = with_preset(asked);
  RunPlan plan;
  plan.samples = data.samples;
  plan.global_batch = config.global_batch > 0  ? config.global_batch
                      : !config.preset.empty() ? preset_batch(config.preset, data.samples, ranks)
                                               : 32 * static_cast<std::int64_t>(ranks);
  const PresetPlan preset = asked_stages(config, data, plan.global_batch);
  ModelOptions model_options{.num_classes = config.num_classes,
                             .image_size = config.crop,
                             .zero_init_last_norm = config.zero_init_gamma,
                             .aux_heads = config.aux_heads,
                             .dropout = std::nullopt};
  if (config.dropout) model_options.dropout = static_cast<float>(*config.dropout);
  plan.network = network_for(config.model, model_options, 0, data.classes);

  plan.eval_transform = evaluation_transform(plan.network, config);
  plan.train_transform = plan.eval_transform;
  plan.train_transform.augmentation = augmentation_of(config.augment, plan.network.height);
  plan.train_transform.seed = config.seed;

  plan.card = {.model = plan.network.name, .preprocessing = preprocessing_of(plan.eval_transform)};
  plan.validation = data.validation;
  for (const std::string& folder : data.class_names) plan.card.class_names.push_back(class_name_of(folder));

  plan.local_batch = config.local_batch > 0 ? config.local_batch : default_local_batch(plan.global_batch, ranks);
  plan.steps_per_epoch = steps_per_epoch(plan.samples, plan.global_batch);
  plan.stages = plan_stages(preset.stages, plan.samples, plan.global_batch);
  plan.source = preset.source;
  plan.options = options_text_of(preset_options(asked.preset));
  plan.remarks = preset.remarks;
  plan.total_steps = plan.stages.back().end;
  for (const std::int64_t crop : training_crops(plan)) network_at(plan.network, crop);

  plan.optimizer = optimizer_settings(config);
  plan.corrects_momentum = config.momentum_correction;
  plan.shuffle = config.shuffle;
  plan.seed = config.seed;
  plan.syncs_norms = config.bn == "sync";
  plan.checkpoint_every = parse_interval(config.checkpoint_every);
  plan.eval_every = parse_interval(config.eval_every);
  plan.check_replicas = parse_interval(config.check_replicas);
  plan.patience = {.stall_timeout_s = config.stall_timeout_s, .data_timeout_s = config.data_timeout_s};

  const auto sizes = micro_batch_sizes(plan.samples, plan.global_batch, ranks, 0, plan.local_batch, data_steps(plan.stages));
  plan.compile = CompileOptions{.batch = sizes.empty() ? 1 : sizes.front(),
                                .training = true,
                                .precision = parse_precision(config.precision),
                                .conv_algorithm = config.conv == "direct" ? ConvAlgorithm::direct : ConvAlgorithm::automatic,
                                .fusions = parse_fusions(config.fuse),
                                .recompute_norm = config.recompute == "bn",
                                .accumulates = (plan.global_batch + ranks - 1) / ranks > plan.local_batch,
                                .seed = config.seed};
  plan.recipe = describe_recipe(plan, config, ranks);
  return plan;
}

}  // namespace dtrain
