// Everything a run is told, as plain values with their defaults: filled by the command line, read by the trainer.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dtrain/graph.hpp"
#include "dtrain/optimizer.hpp"

namespace dtrain {

/// Of --fusion-mb.
inline constexpr double kBytesPerMb = 1024.0 * 1024.0;

struct TrainConfig {
  std::set<std::string> given;  ///< names of the options that were given, without dashes; filled by the command line

  // Network
  std::string model = "resnet50";
  std::int64_t num_classes = 0;    ///< 0: as the data set has
  std::string precision = "fp32";  ///< fp32 | bf16 | auto
  bool allow_slow = false;         ///< bf16 also where the CPU has to imitate it
  std::string conv = "auto";       ///< auto | direct
  std::string fuse = "all";        ///< all | none | names of fusions
  std::string recompute = "off";   ///< off | bn: results of batch-norm computed again in backward
  std::optional<double> dropout;
  bool aux_heads = false;  ///< auxiliary classifiers, in training
  bool zero_init_gamma = false;
  std::string init_from;
  bool init_partial = false;
  double weights_rate = 0.0;  ///< at which those were being trained when they were saved; 0: unknown

  // Data
  std::string data = "synthetic";    ///< directory, or "synthetic"
  std::string data_format = "auto";  ///< auto | imagefolder
  std::string val_data;              ///< empty: the val/ (or test/) beside train/ when data has it
  std::string augment;               ///< standard | light | none; empty: standard, light for pictures up to 64 pixels
  std::int64_t resize = 0;           ///< 0: crop·256/224
  std::int64_t crop = 0;             ///< 0: that of --init-from, else the model's picture size
  std::string interpolation;         ///< bilinear | bicubic | nearest; empty: that of --init-from, else bilinear
  std::string mean, stddev;          ///< "0.485,0.456,0.406"; empty: those of --init-from, else ImageNet's
  bool shuffle = true;
  int workers = 0;  ///< 0: chosen from the cores the rank has
  std::int64_t max_damaged = 100;
  std::int64_t synthetic_size = 1281167;

  // Training
  std::int64_t global_batch = 0;       ///< 0: 32 a rank
  std::int64_t local_batch = 0;        ///< 0: the rank's share, at most 64 and what fits the memory
  std::string bn = "local";            ///< local | sync: batch-norm sees a micro-batch, or those of all ranks at once
  double epochs = 0.0;                 ///< 0: 90 unless steps is given
  std::int64_t steps = 0;              ///< 0: from epochs
  std::string optimizer = "sgd";       ///< sgd | nesterov | rmsprop | lars | adamw | lamb
  std::optional<double> lr;            ///< absolute
  std::optional<double> base_lr;       ///< per 256 samples; default: base_rate
  std::string lr_scaling = "linear";   ///< linear | sqrt: how base_lr becomes that of the global batch
  std::optional<double> momentum;      ///< default: momentum_of
  std::optional<double> weight_decay;  ///< default: weight_decay_of
  double label_smoothing = 0.0;
  std::string schedule = "cosine";
  std::string weight_decay_schedule = "constant";
  std::string momentum_schedule = "constant";
  double warmup_epochs = 0.0;
  double warmup_start_lr = 0.0;
  std::string preset;  ///< name of a published recipe, which decides all of the above that is not its input
  std::string stages;  ///< text of parse_stages; empty: one stage, of the above
  std::uint64_t seed = 1;

  // Optimizer; defaults: optimizer_settings
  bool rate_in_velocity = false;     ///< sgd, nesterov
  bool momentum_correction = false;  ///< of a velocity with the rate in it
  std::string rmsprop_form;          ///< torch | tensorflow; empty: torch
  std::optional<double> rmsprop_alpha;
  std::optional<double> beta1, beta2;       ///< adamw, lamb
  std::optional<double> epsilon;            ///< rmsprop, adamw, lamb
  std::optional<double> trust_coefficient;  ///< lars
  bool adapts_norms = false;                ///< lars, lamb: biases and batch-norm as the weights
  std::optional<double> clip_norm;          ///< of all gradients together; none: they are not clipped
  std::optional<double> ema;                ///< of the weights, which are then evaluated; none: they are not averaged

  // Exchange
  std::string allreduce = "auto";
  std::optional<double> fusion_mb;     ///< chosen from the cost model where not given
  std::string wire_dtype = "fp32";     ///< fp32 | bf16: type in which gradients travel
  std::string overlap = "on";          ///< on | forward | backward | off: when gradients travel
  std::string shared_update = "auto";  ///< auto | on | off: one copy of weights and velocity for the ranks of a node
  double stall_timeout_s = 60.0;       ///< a bucket of gradients that is late by this ends the job
  double data_timeout_s = 600.0;       ///< a file that takes longer to read or to save ends the job
  int ranks_per_node = 0;

  // Parameter servers (allreduce = "ps")
  int parameter_servers = 0;                   ///< ranks that only serve; 0: every rank trains and serves
  std::string ps_mode = "sync";                ///< sync | backup | async
  std::optional<std::int64_t> backup_workers;  ///< backup: gradients of a step that are not waited for; default 1
  std::optional<std::int64_t> max_staleness;   ///< async: steps that a worker may be ahead of the slowest; default 4

  // Placement
  int threads = 0;                    ///< compute threads a rank; 0: chosen
  int comm_cores = -1;                ///< −1: chosen
  std::string bind = "auto";          ///< auto | numa | socket | core | none
  std::string mixed_cpus = "refuse";  ///< refuse | allow: ranks whose CPUs have different instructions

  // Output
  std::string out;                          ///< empty: nothing is saved
  std::string resume = "off";               ///< auto | off | path of a checkpoint
  std::string checkpoint_every = "1epoch";  ///< "100" steps, "1epoch", "off"
  std::string eval_every = "1epoch";
  std::string check_replicas = "500";  ///< how often the ranks' weights are compared: as checkpoint_every
  int keep_checkpoints = 2;
  std::int64_t log_every = 10;
  std::string metrics;  ///< file; empty: out/metrics.jsonl
  std::string report;   ///< file; empty: out/report.json
  std::string profile;  ///< file; empty: no profile

  // Looking ahead
  std::string dry_run;                 ///< file for a picture of the plan, which is all that is done then; empty: train
  std::optional<double> images_per_s;  ///< for the plan's times; measured where not given
};

struct EvalConfig {
  std::set<std::string> given;  ///< as TrainConfig's

  // Network
  std::string model = "resnet50";
  std::string weights;             ///< safetensors file, or several with commas between them: an ensemble
  std::int64_t num_classes = 0;    ///< 0: as the data set has; with class indices: the model's own
  std::string precision = "fp32";  ///< fp32 | bf16 | auto
  bool allow_slow = false;         ///< bf16 also where the CPU has to imitate it
  std::string conv = "auto";       ///< auto | direct

  // Data
  std::string data;                  ///< class folders, or a directory that holds them in val/ or test/; or "synthetic"
  std::string data_format = "auto";  ///< auto | imagefolder
  std::string class_indices;         ///< file of lines "folder index"; empty: folder k is the network's class k
  std::int64_t resize = 0;           ///< 0: crop·256/224
  std::int64_t crop = 0;             ///< 0: that of the weights, else the model's picture size
  std::string interpolation;         ///< bilinear | bicubic | nearest; empty: that of the weights, else bilinear
  std::string mean, stddev;          ///< "0.485,0.456,0.406"; empty: those of the weights, else ImageNet's
  int workers = 0;                   ///< 0: chosen from the cores the rank has
  std::int64_t max_damaged = 100;
  double data_timeout_s = 600.0;  ///< an image that takes longer to read ends the job
  std::int64_t synthetic_size = 1281167;
  std::int64_t global_batch = 0;  ///< 0: 32 a rank
  std::int64_t local_batch = 0;   ///< 0: the rank's share, at most 64 and what fits the memory

  // Exchange and placement
  int ranks_per_node = 0;
  int threads = 0;                    ///< compute threads a rank; 0: chosen
  int comm_cores = 0;                 ///< evaluation has nothing to exchange while it computes
  std::string bind = "auto";          ///< auto | numa | socket | core | none
  std::string mixed_cpus = "refuse";  ///< refuse | allow: ranks whose CPUs have different instructions
  double stall_timeout_s = 60.0;      ///< a rank that does not answer for so long, and is stopped, ends the job

  // Output
  std::string logits;      ///< safetensors file for every sample's logits, of one file of weights; empty: none
  std::string confusion;   ///< CSV file for which classes are taken for which; empty: none
  bool per_class = false;  ///< accuracy of every class, printed and in the report
  std::string report;      ///< file; empty: none
};

/// Of a run that is told neither epochs nor steps.
inline constexpr double kDefaultEpochs = 90.0;

/// With the options that its preset brings along.
TrainConfig with_preset(TrainConfig config);

/// Whether weights are updated by parameter servers.
inline bool uses_parameter_servers(const TrainConfig& config) { return config.allreduce == "ps"; }
/// Ranks of the job that train.
inline int training_ranks(const TrainConfig& config, int ranks) {
  return uses_parameter_servers(config) ? ranks - config.parameter_servers : ranks;
}

/// Where ranks do not wait for each other, they do so once in so many steps, to ask whether one of them was told to stop.
inline constexpr std::int64_t kStepsBetweenQuestions = 20;
inline std::int64_t backup_workers_of(const TrainConfig& config) { return config.backup_workers.value_or(1); }
inline std::int64_t max_staleness_of(const TrainConfig& config) { return config.max_staleness.value_or(4); }

// Bounds of options, far above what is used, within which they can be added and multiplied.
inline constexpr std::int64_t kLargestBatch = 1 << 16;                      ///< images of a rank in one pass
inline constexpr std::int64_t kLargestGlobalBatch = std::int64_t{1} << 40;  ///< images
inline constexpr std::int64_t kMostImages = std::int64_t{1} << 40;          ///< of synthetic data
inline constexpr std::int64_t kMostCounted = std::int64_t{1} << 40;         ///< of whatever else is counted
inline constexpr double kLongestTimeout_s = 1e9;
inline constexpr double kMostFusion_mb = 1e6;

/// All faults of a configuration, each with its option; empty when it can run on `ranks` ranks. No I/O.
std::vector<std::string> validate(const TrainConfig& config, int ranks);
std::vector<std::string> validate(const EvalConfig& config, int ranks);

/// The precision of a validated configuration: auto takes bf16 where the CPU computes it natively, fp32 elsewhere.
Precision parse_precision(std::string_view text);

/// How often something happens during training: every so many steps, or every so many epochs, or never (both 0).
struct Interval {
  std::int64_t steps = 0;
  double epochs = 0.0;

  bool is_off() const { return steps == 0 && epochs == 0.0; }
  bool operator==(const Interval&) const = default;
};

/// "100" (steps), "1epoch", "0.5epoch", "off". Errors: ConfigError.
Interval parse_interval(std::string_view text);

/// Whether the interval ends with step number `steps_done` (counted from 1 over the whole run). A fraction of an epoch that is
/// not a whole number of steps ends with the step that completes it: 0.5epoch of 5 steps ends after steps 3, 5, 8, 10, …
bool is_due(const Interval& interval, std::int64_t steps_done, std::int64_t steps_per_epoch);

/// "0.485,0.456,0.406", or one number for all three channels. Of values in [0, 1]. Errors: ConfigError: not so
/// many numbers, one below `lowest` or above 1.
std::array<float, 3> parse_channels(const std::string& text, float lowest);

/// The parts of a comma-separated list. Errors: ConfigError: an empty part, or one that is there twice.
std::vector<std::string> parse_list(const std::string& text);

/// The candidate with the smallest edit distance to `name` (the first of several); empty when none is similar: more than half
/// of the letters of the longer one would change.
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace dtrain
