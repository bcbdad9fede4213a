// Defaults and derived quantities of a run; see run_plan.hpp.
#include "trainer/run_plan.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "dtrain/error.hpp"
#include "schedules/shards.hpp"

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

std::map<std::string, std::string> parse_recipe(const std::string& recipe) {
  std::map<std::string, std::string> values;
  std::istringstream lines(recipe);
  for (std::string line; std::getline(lines, line);) {
    const auto equals = line.find('=');
    if (equals != std::string::npos) values[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return values;
}

std::string describe_recipe(const RunPlan& plan, const TrainConfig& config, int ranks) {
  std::ostringstream text;
  text.precision(17);
  text << "model=" << plan.network.name << "\nclasses=" << plan.network.num_classes << "\ncrop=" << plan.train_transform.crop
       << "\nresize=" << plan.train_transform.resize << "\naugmentation=" << static_cast<int>(plan.train_transform.augmentation)
       << "\nsamples=" << plan.samples << "\nshuffle=" << plan.shuffle << "\nseed=" << plan.seed
       << "\nglobal_batch=" << plan.global_batch << "\nlocal_batch=" << plan.local_batch << "\nranks=" << ranks
       << "\noptimizer=" << config.optimizer << "\nmomentum=" << plan.momentum << "\nweight_decay=" << plan.weight_decay
       << "\nlabel_smoothing=" << plan.label_smoothing << "\nschedule=" << to_text(plan.rate.curve)
       << "\nlearning_rate=" << plan.rate.peak << "\nwarmup_epochs=" << plan.rate.warmup_epochs
       << "\nwarmup_start=" << plan.rate.warmup_start << "\ntotal_steps=" << plan.total_steps
       << "\nprecision=" << to_text(plan.compile.precision) << "\nfuse=" << config.fuse << "\nconv=" << config.conv
       << "\nallreduce=" << config.allreduce
       << "\nfusion_mb=" << (config.fusion_mb ? std::to_string(*config.fusion_mb) : "auto") << "\n";
  if (config.wire_dtype != "fp32") text << "wire_dtype=" << config.wire_dtype << "\n";
  if (uses_parameter_servers(config)) {
    text << "parameter_servers=" << config.parameter_servers << "\nps_mode=" << config.ps_mode << "\n";
    if (config.ps_mode == "backup") text << "backup_workers=" << backup_workers_of(config) << "\n";
    if (config.ps_mode == "async") text << "max_staleness=" << max_staleness_of(config) << "\n";
  }
  if (config.aux_heads) text << "aux_heads=on\n";  // left out otherwise, as in recipes older than the options
  return text.str();
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
                            .expected = "at least " + std::to_string(classes) + " classes, as many as the data has",
                            .found = "--num-classes " + std::to_string(network.num_classes),
                            .remedy = "leave --num-classes out: it then follows the data"});
  }
  return network;
}

TransformOptions evaluation_transform(const NetworkSpec& network, std::int64_t resize) {
  TransformOptions transform;
  transform.augmentation = Augmentation::none;
  transform.channels = network.channels;
  transform.crop = network.height;
  transform.resize = resize > 0 ? resize : default_resize(network.height);
  return transform;
}

std::int64_t default_local_batch(std::int64_t global_batch, int ranks) {
  return std::min((global_batch + ranks - 1) / ranks, kLocalBatchCap);
}

UpdateRates rates_of_step(const RunPlan& plan, std::int64_t step) {
  return {.learning_rate = static_cast<float>(learning_rate(plan.rate, step)),
          .momentum = plan.momentum,
          .weight_decay = plan.weight_decay};
}

RunPlan plan_run(const TrainConfig& config, const DataFacts& data, int ranks) {
  RunPlan plan;
  ModelOptions model_options{.num_classes = config.num_classes,
                             .image_size = config.crop,
                             .zero_init_last_norm = config.zero_init_gamma,
                             .aux_heads = config.aux_heads,
                             .dropout = std::nullopt};
  if (config.dropout) model_options.dropout = static_cast<float>(*config.dropout);
  plan.network = network_for(config.model, model_options, 0, data.classes);

  plan.eval_transform = evaluation_transform(plan.network, config.resize);
  plan.train_transform = plan.eval_transform;
  plan.train_transform.augmentation = augmentation_of(config.augment, plan.network.height);
  plan.train_transform.seed = config.seed;

  plan.samples = data.samples;
  plan.global_batch = config.global_batch > 0 ? config.global_batch : 32 * static_cast<std::int64_t>(ranks);
  plan.local_batch = config.local_batch > 0 ? config.local_batch : default_local_batch(plan.global_batch, ranks);
  plan.steps_per_epoch = steps_per_epoch(plan.samples, plan.global_batch);
  const double epochs = config.epochs > 0.0 ? config.epochs : 90.0;
  plan.total_steps = config.steps > 0
                         ? config.steps
                         : std::max<std::int64_t>(1, std::llround(epochs * static_cast<double>(plan.steps_per_epoch)));

  plan.optimizer = config.optimizer == "nesterov" ? OptimizerKind::nesterov : OptimizerKind::sgd;
  plan.momentum = static_cast<float>(config.momentum);
  plan.weight_decay = static_cast<float>(config.weight_decay);
  plan.label_smoothing = static_cast<float>(config.label_smoothing);
  plan.rate =
      RatePlan{.curve = parse_curve(config.schedule),
               .peak = config.lr ? *config.lr
                                 : scaled_rate(config.base_lr.value_or(0.1), plan.global_batch,
                                               config.lr_scaling == "sqrt" ? BatchScaling::square_root : BatchScaling::linear),
               .warmup_start = config.warmup_start_lr,
               .warmup_epochs = config.warmup_epochs,
               .total_steps = plan.total_steps,
               .samples = plan.samples,
               .global_batch = plan.global_batch};
  plan.shuffle = config.shuffle;
  plan.seed = config.seed;
  plan.checkpoint_every = parse_interval(config.checkpoint_every);
  plan.eval_every = parse_interval(config.eval_every);
  plan.check_replicas = parse_interval(config.check_replicas);

  const auto sizes = micro_batch_sizes(plan.samples, plan.global_batch, ranks, 0, plan.local_batch, plan.total_steps);
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

std::vector<std::string> differing_keys(const std::string& recipe, const std::string& other) {
  const auto a = parse_recipe(recipe);
  const auto b = parse_recipe(other);
  std::vector<std::string> keys;
  for (const auto& [key, value] : a) {
    const auto found = b.find(key);
    if (found == b.end() || found->second != value) keys.push_back(key);
  }
  for (const auto& [key, value] : b) {
    if (!a.contains(key)) keys.push_back(key);
  }
  return keys;
}

}  // namespace dtrain
