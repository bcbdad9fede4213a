// Judges configurations before anything costs time: every fault is found and named with its option. What only the data set or
// the machine can tell (number of samples, files, memory) is checked where it is read.
#include "trainer/config.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <numeric>
#include <utility>

#include "collectives/all_reduce.hpp"
#include "dtrain/error.hpp"
#include "dtrain/models.hpp"
#include "dtrain/preprocessing.hpp"
#include "schedules/presets.hpp"
#include "schedules/text.hpp"
#include "trainer/optimizer_options.hpp"
#include "trainer/option_faults.hpp"
#include "trainer/schedule_options.hpp"

namespace dtrain {
namespace {

constexpr int kMostThreads = 4096;
constexpr int kMostWorkers = 1024;
constexpr int kMostKept = 1'000'000;
constexpr float kSmallestDeviation = 1e-6f;
constexpr double kShortestStall_s = 1.0;  ///< a roll call of many ranks takes a second

void check_precision(const std::string& value, bool allow_slow, Faults& faults) {
  faults.one_of(value, {"fp32", "bf16", "auto"}, "--precision");
  if (value != "bf16" || bf16_support() == Bf16Support::native) return;
  if (bf16_support() == Bf16Support::slow) {
    if (allow_slow) return;
    faults.add({.doing = "--precision bf16",
                .expected = "a CPU that computes bf16 (avx512_bf16 or AMX)",
                .found = "AVX-512 without it, on which bf16 is imitated and slower than fp32",
                .remedy = "--precision fp32, or --allow-slow to have it all the same"});
    return;
  }
  faults.add({.doing = "--precision bf16",
              .expected = "a CPU with AVX-512, better with avx512_bf16 or AMX",
              .found = "one without, for which oneDNN has no bf16 convolutions",
              .remedy = "--precision fp32"});
}

/// What training and evaluation are told alike.
template <typename Config>
void check_shared(const Config& config, int ranks, Faults& faults) {
  if (config.num_classes != 0) faults.within(config.num_classes, 2, kMostClasses, "--num-classes");
  check_precision(config.precision, config.allow_slow, faults);
  faults.one_of(config.conv, {"auto", "direct"}, "--conv");

  faults.one_of(config.data_format, {"auto", "imagefolder"}, "--data-format");
  faults.within(config.resize, 0, kLargestSide, "--resize");
  faults.within(config.crop, 0, kLargestSide, "--crop");
  if (config.resize > 0 && config.crop > config.resize) {
    faults.add({.doing = "--resize",
                .expected = "at least --crop " + std::to_string(config.crop),
                .found = std::to_string(config.resize),
                .remedy = "--resize " + std::to_string(config.crop)});
  }
  if (!config.interpolation.empty()) faults.one_of(config.interpolation, {"bilinear", "bicubic", "nearest"}, "--interpolation");
  if (!config.mean.empty()) faults.collect("--mean", [&] { parse_channels(config.mean, 0.0f); });
  if (!config.stddev.empty()) faults.collect("--std", [&] { parse_channels(config.stddev, kSmallestDeviation); });
  faults.within(config.workers, 0, kMostWorkers, "--workers");
  faults.within(config.max_damaged, 0, kMostCounted, "--max-damaged");
  faults.number_within(config.data_timeout_s, kShortestStall_s, kLongestTimeout_s, "--data-timeout");
  faults.within(config.synthetic_size, 1, kMostImages, "--synthetic-size");

  faults.within(config.global_batch, 0, kLargestGlobalBatch, "--global-batch");
  faults.within(config.local_batch, 0, kLargestBatch, "--local-batch");
  if (config.global_batch > 0 && config.global_batch < ranks) {
    faults.add({.doing = "--global-batch",
                .expected = "at least one sample for each of the " + counted(ranks, "rank"),
                .found = std::to_string(config.global_batch),
                .remedy = "--global-batch " + std::to_string(ranks) + " or more, or fewer ranks"});
  }

  faults.at_least(config.ranks_per_node, 0, "--ranks-per-node");
  faults.within(config.threads, 0, kMostThreads, "--threads");
  faults.within(config.comm_cores, -1, kMostThreads, "--comm-cores");
  faults.one_of(config.bind, {"auto", "numa", "socket", "core", "none"}, "--bind");
  faults.one_of(config.mixed_cpus, {"refuse", "allow"}, "--mixed-cpus");
}

void check_optimizer(const TrainConfig& config, Faults& faults) {
  faults.one_of(config.optimizer, optimizer_names(), "--optimizer");
  for (const Fault& fault : optimizer_faults(config)) faults.add(fault);
  faults.fraction(config.label_smoothing, "--label-smoothing");
}

void check_output(const TrainConfig& config, Faults& faults) {
  if (config.resume.empty()) {
    faults.add({.doing = "--resume", .expected = "auto, off or the path of a checkpoint", .found = "nothing"});
  }
  if (config.resume == "auto" && config.out.empty()) {
    faults.add({.doing = "--resume auto",
                .expected = "the run's directory to look for checkpoints in",
                .found = "no --out",
                .remedy = "--out DIR, or --resume PATH of a checkpoint"});
  }
  if (config.resume != "auto" && config.resume != "off" && !config.resume.empty() && !config.init_from.empty()) {
    faults.add({.doing = "--resume and --init-from",
                .expected = "one source of weights",
                .found = config.resume + " and " + config.init_from,
                .remedy = "--resume to continue a run, --init-from to begin a new one from its weights"});
  }
  if (config.init_partial && config.init_from.empty()) {
    faults.add({.doing = "--init-partial on",
                .expected = "--init-from, the file of which a part is to be taken",
                .found = "none",
                .remedy = "--init-from FILE"});
  }
  faults.collect("--checkpoint-every", [&] { parse_interval(config.checkpoint_every); });
  faults.collect("--check-replicas", [&] { parse_interval(config.check_replicas); });
  faults.collect("--eval-every", [&] { parse_interval(config.eval_every); });
  faults.within(config.keep_checkpoints, 1, kMostKept, "--keep-checkpoints");
  faults.within(config.log_every, 1, kMostCounted, "--log-every");
  if (config.images_per_s) faults.positive(*config.images_per_s, "--images-per-s");
  if (!config.dry_run.empty() && uses_parameter_servers(config) && !config.images_per_s) {
    faults.add({.doing = "--dry-run",
                .expected = "--images-per-s, for with --allreduce ps the speed is not measured",
                .found = "none",
                .remedy = "--images-per-s F, as `dtrain bench --allreduce ps` prints it"});
  }
  if (config.images_per_s && config.dry_run.empty()) {
    faults.add({.doing = "--images-per-s",
                .expected = "--dry-run, whose times it gives",
                .found = "a run that is to train",
                .remedy = "--dry-run too, or leave it out"});
  }
}

/// Gradients that are summed by the ranks themselves, or sent to servers.
void check_exchange(const TrainConfig& config, int ranks, Faults& faults) {
  if (config.fusion_mb) {
    faults.positive(*config.fusion_mb, "--fusion-mb");
    faults.require(!(*config.fusion_mb > kMostFusion_mb), "--fusion-mb", "at most " + option_number(kMostFusion_mb),
                   option_number(*config.fusion_mb));
  }
  faults.number_within(config.stall_timeout_s, kShortestStall_s, kLongestTimeout_s, "--stall-timeout");
  faults.one_of(config.overlap, {"on", "forward", "backward", "off"}, "--overlap");
  faults.one_of(config.shared_update, {"auto", "on", "off"}, "--shared-update");
  faults.one_of(config.wire_dtype, {"fp32", "bf16"}, "--wire-dtype");
  if (config.wire_dtype == "bf16" && ranks == 1) {
    faults.add({.doing = "--wire-dtype bf16",
                .expected = "ranks that send gradients to each other",
                .found = "one rank",
                .remedy = "--wire-dtype fp32, or start several ranks with mpirun"});
  }
  const bool is_table = config.allreduce.find_first_of(":;") != std::string::npos;
  if (is_table) {
    faults.collect("--allreduce", [&] { parse_algorithm_table(config.allreduce); });
  } else {
    faults.one_of(config.allreduce, {"auto", "shm", "ring", "halving-doubling", "hierarchical", "mpi", "ps", "none"},
                  "--allreduce");
  }
  const std::string exchange = "--allreduce " + config.allreduce;
  if (config.shared_update == "on" && (config.allreduce == "none" || uses_parameter_servers(config))) {
    faults.add({.doing = "--shared-update on",
                .expected = "gradients that the ranks of a node sum among themselves",
                .found = exchange,
                .remedy = "--shared-update off"});
  }
}

/// Ranks: of the whole job.
void check_servers(const TrainConfig& config, int ranks, Faults& faults) {
  faults.one_of(config.ps_mode, {"sync", "backup", "async"}, "--ps-mode");
  if (!uses_parameter_servers(config)) {
    const auto needs_servers = [&](bool is_given, const char* option) {
      if (!is_given) return;
      faults.add({.doing = option,
                  .expected = "--allreduce ps",
                  .found = "--allreduce " + config.allreduce + ", which has no parameter servers",
                  .remedy = "--allreduce ps, or leave the option out"});
    };
    needs_servers(config.parameter_servers != 0, "--parameter-servers");
    needs_servers(config.ps_mode != "sync", "--ps-mode");
    needs_servers(config.backup_workers.has_value(), "--backup-workers");
    needs_servers(config.max_staleness.has_value(), "--max-staleness");
    return;
  }
  faults.within(config.parameter_servers, 0, ranks - 1, "--parameter-servers");
  if (config.wire_dtype == "bf16") {
    faults.add({.doing = "--wire-dtype bf16",
                .expected = "gradients that ranks sum among themselves",
                .found = "--allreduce ps, whose messages are fp32",
                .remedy = "--wire-dtype fp32"});
  }
  const auto belongs_to = [&](bool is_given, const char* option, const char* mode) {
    if (!is_given || config.ps_mode == mode) return;
    faults.add({.doing = option,
                .expected = std::string("--ps-mode ") + mode,
                .found = "--ps-mode " + config.ps_mode,
                .remedy = std::string("--ps-mode ") + mode + ", or leave the option out"});
  };
  belongs_to(config.backup_workers.has_value(), "--backup-workers", "backup");
  belongs_to(config.max_staleness.has_value(), "--max-staleness", "async");
  if (config.ps_mode == "backup") {
    const int workers = training_ranks(config, ranks);
    const std::int64_t asked = backup_workers_of(config);
    if (asked < 1 || asked >= workers) {
      faults.add({.doing = "--backup-workers",
                  .expected = "at least 1, and fewer than the " + counted(workers, "rank") + " that train",
                  .found = std::to_string(asked),
                  .remedy = "more ranks, or --ps-mode sync"});
    }
  }
  if (config.max_staleness) faults.within(*config.max_staleness, 0, kStepsBetweenQuestions, "--max-staleness");
}

/// Building the description finds an unknown name, a picture that is too small, and dropout or auxiliary heads where there are
/// none.
void check_model(const std::string& model, const ModelOptions& options, Faults& faults) {
  faults.collect("--model", [&] { build_model(model, options); });
}

/// Statistics of all ranks at once want ranks that keep step, and batch-norms.
void check_batch_norm(const TrainConfig& config, const ModelOptions& options, Faults& faults) {
  faults.one_of(config.bn, {"local", "sync"}, "--bn");
  if (config.bn != "sync") return;
  if (config.allreduce == "none" || uses_parameter_servers(config)) {
    faults.add({.doing = "--bn sync",
                .expected = "ranks that sum gradients among themselves, step by step",
                .found = "--allreduce " + config.allreduce,
                .remedy = "--allreduce auto, or --bn local"});
  }
  try {
    const NetworkSpec network = build_model(config.model, options);
    const auto is_norm = [](const Node& node) { return std::holds_alternative<BatchNorm>(node.layer); };
    if (std::ranges::any_of(network.nodes, is_norm)) return;
    faults.add({.doing = "--bn sync",
                .expected = "a network with batch-norm",
                .found = network.name + ", which has none",
                .remedy = "leave --bn out"});
  } catch (const ConfigError&) {  // check_model names it
  }
}

ModelOptions model_options(std::int64_t num_classes, std::int64_t crop) {
  // What is out of bounds is named with its option.
  return {.num_classes = std::clamp<std::int64_t>(num_classes, 0, kMostClasses),
          .image_size = std::clamp<std::int64_t>(crop, 0, kLargestSide),
          .zero_init_last_norm = false,
          .dropout = std::nullopt};
}

/// 0, the model's own, where the model is still to be read from weights: building that one judges the crop.
template <typename Config>
std::int64_t crop_to_judge(const Config& config, const std::string& weights) {
  return weights.empty() || config.given.contains("model") ? config.crop : 0;
}

std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= from.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= to.size(); ++j) {
      const std::size_t replaced = diagonal + (from[i - 1] == to[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

}  // namespace

TrainConfig with_preset(TrainConfig config) {
  if (config.preset.empty()) return config;
  const PresetOptions options = preset_options(config.preset);
  config.optimizer = options.optimizer;
  config.rate_in_velocity = options.rate_in_velocity;
  config.zero_init_gamma = config.zero_init_gamma || options.zero_init_gamma;
  return config;
}

std::vector<std::string> validate(const TrainConfig& config, int ranks) {
  Faults faults;
  ModelOptions options = model_options(config.num_classes, crop_to_judge(config, config.init_from));
  options.aux_heads = config.aux_heads;
  if (config.dropout) {
    faults.fraction(*config.dropout, "--dropout");
    if (*config.dropout >= 0.0 && *config.dropout < 1.0) options.dropout = static_cast<float>(*config.dropout);
  }
  check_model(config.model, options, faults);
  check_batch_norm(config, options, faults);
  check_shared(config, std::max(1, training_ranks(config, ranks)), faults);
  faults.collect("--fuse", [&] { parse_fusions(config.fuse); });
  faults.one_of(config.recompute, {"off", "bn"}, "--recompute");
  if (config.data.empty()) {
    faults.add({.doing = "--data", .expected = "a directory or synthetic", .found = "nothing"});
  }
  if (!config.augment.empty()) faults.one_of(config.augment, {"standard", "light", "none"}, "--augment");
  check_optimizer(with_preset(config), faults);
  check_schedule(config, faults);
  check_exchange(config, ranks, faults);
  check_servers(config, ranks, faults);
  check_output(config, faults);
  return faults.take();
}

std::vector<std::string> validate(const EvalConfig& config, int ranks) {
  Faults faults;
  check_model(config.model, model_options(config.num_classes, crop_to_judge(config, config.weights)), faults);
  if (config.weights.empty()) {
    faults.add({.doing = "--weights", .expected = "a safetensors file", .found = "nothing", .remedy = "--weights FILE"});
  } else {
    faults.collect("--weights", [&] { parse_list(config.weights); });
  }
  if (!config.logits.empty() && config.weights.find(',') != std::string::npos) {
    faults.add({.doing = "--logits",
                .expected = "one file of weights",
                .found = "several, whose probabilities are averaged, so that there are no logits",
                .remedy = "--logits with each file by itself"});
  }
  if (config.data.empty()) {
    faults.add({.doing = "--data", .expected = "a directory of class folders", .found = "nothing", .remedy = "--data DIR"});
  }
  faults.number_within(config.stall_timeout_s, kShortestStall_s, kLongestTimeout_s, "--stall-timeout");
  if (config.data == "synthetic" && !config.class_indices.empty()) {
    faults.add({.doing = "--class-indices",
                .expected = "class folders, whose names the file lists",
                .found = "--data synthetic, which has none",
                .remedy = "--data DIR, or leave --class-indices out"});
  }
  check_shared(config, ranks, faults);
  return faults.take();
}

Precision parse_precision(std::string_view text) {
  const bool is_bf16 = text == "bf16" || (text == "auto" && bf16_support() == Bf16Support::native);
  return is_bf16 ? Precision::bf16 : Precision::fp32;
}

Interval parse_interval(std::string_view text) {
  const auto refuse = [&] {
    throw ConfigError(Fault{.doing = "reading an interval",
                            .expected = "a number of steps (100), of epochs (1epoch, 0.5epoch) or off",
                            .found = "'" + std::string(text) + "'"});
  };
  if (text == "off") return {};
  const char* const end = text.data() + text.size();
  Interval interval;
  if (text.ends_with("epoch") || text.ends_with("epochs")) {
    const auto [rest, fault] = std::from_chars(text.data(), end, interval.epochs);
    const std::string_view unit(rest, static_cast<std::size_t>(end - rest));
    const bool is_number = fault == std::errc{} && std::isfinite(interval.epochs) && interval.epochs > 0.0;
    if (!is_number || (unit != "epoch" && unit != "epochs")) refuse();
  } else {
    const auto [rest, fault] = std::from_chars(text.data(), end, interval.steps);
    if (fault != std::errc{} || rest != end || interval.steps <= 0) refuse();
  }
  return interval;
}

bool is_due(const Interval& interval, std::int64_t steps_done, std::int64_t steps_per_epoch) {
  if (interval.is_off() || steps_done <= 0) return false;
  if (interval.steps > 0) return steps_done % interval.steps == 0;
  // Number of intervals completed after s steps: ⌊s / (epochs·steps_per_epoch)⌋. It must have grown with the last step. The
  // small addend absorbs the rounding of fractions such as 0.1, whose multiples miss whole numbers by 1e-16 of their size.
  const double length = interval.epochs * static_cast<double>(steps_per_epoch);
  const auto completed = [&](std::int64_t steps) { return std::floor(static_cast<double>(steps) / length + 1e-9); };
  return completed(steps_done) > completed(steps_done - 1);
}

std::array<float, 3> parse_channels(const std::string& text, float lowest) {
  std::vector<float> values;
  const auto refuse = [&](const std::string& remedy) {
    throw ConfigError(Fault{.doing = "reading values of the three channels",
                            .expected = "three numbers with commas between them, or one for all, from " +
                                        shortest_text(lowest) + " to 1: of pixels that run from 0 to 1",
                            .found = "'" + text + "'",
                            .remedy = remedy});
  };
  for (const char* at = text.data();;) {
    float value = 0.0f;
    const char* const end = text.data() + text.size();
    while (at != end && *at == ' ') ++at;
    const auto [rest, fault] = std::from_chars(at, end, value);
    if (fault != std::errc{} || !std::isfinite(value) || (rest != end && *rest != ',')) refuse("0.485,0.456,0.406, say");
    if (value > 1.0f) refuse("the numbers divided by 255, if they are of bytes");
    if (value < lowest) refuse("0.229,0.224,0.225, say");
    values.push_back(value);
    if (rest == end) break;
    at = rest + 1;
  }
  if (values.size() == 1) values.resize(3, values.front());
  if (values.size() != 3) refuse("0.485,0.456,0.406, say");
  return {values[0], values[1], values[2]};
}

std::vector<std::string> parse_list(const std::string& text) {
  const auto refuse = [&](const std::string& expected, const std::string& found) {
    throw ConfigError(Fault{.doing = "reading the list '" + text + "'", .expected = expected, .found = found});
  };
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    if (part.empty()) refuse("parts with a comma between two of them", "an empty part");
    if (std::ranges::find(parts, part) != parts.end()) refuse("every part once", "'" + part + "' again");
    parts.push_back(part);
    begin = end + 1;
  }
  return parts;
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates) {
  const std::string* nearest = nullptr;
  std::size_t smallest = std::numeric_limits<std::size_t>::max();
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < smallest && 2 * distance <= std::max(name.size(), candidate.size())) {
      smallest = distance;
      nearest = &candidate;
    }
  }
  return nearest == nullptr ? std::string() : *nearest;
}

}  // namespace dtrain
