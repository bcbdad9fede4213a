// What can be wrong with the options of a schedule; see schedule_options.hpp.
#include "trainer/schedule_options.hpp"

#include "dtrain/error.hpp"
#include "schedules/presets.hpp"
#include "schedules/stage_text.hpp"
#include "trainer/optimizer_options.hpp"

namespace dtrain {
namespace {

void check_curves(const TrainConfig& config, Faults& faults) {
  const auto check_curve = [&](const std::string& text, const char* option, bool is_of_weight_decay) {
    faults.collect(option, [&] {
      if (parse_curve(text).kind != Curve::Kind::inverse_rate || is_of_weight_decay) return;
      faults.add({.doing = option, .expected = "a curve of its own", .found = text, .remedy = "--weight-decay-schedule"});
    });
  };
  check_curve(config.schedule, "--schedule", false);
  check_curve(config.weight_decay_schedule, "--weight-decay-schedule", true);
  check_curve(config.momentum_schedule, "--momentum-schedule", false);
}

/// Errors: ConfigError: a stage has a momentum that the optimizer does not have, or may not have.
void require_known_momentum(const TrainConfig& config, const std::vector<Stage>& stages) {
  const Stage plain;
  for (const Stage& stage : stages) {
    TrainConfig alone = config;
    if (stage.momentum != plain.momentum) alone.momentum = stage.momentum;
    alone.momentum_schedule = to_text(stage.momentum_schedule);
    const std::vector<Fault> faults = optimizer_faults(alone);
    const std::vector<Fault> of_options = optimizer_faults(config);
    if (faults.size() > of_options.size()) {
      Fault fault = faults.front();
      fault.doing = "the stage " + stage.name + ": " + fault.doing;
      throw ConfigError(fault);
    }
  }
}

/// Options whose place a list of stages takes: what it leaves out comes from them, what it decides cannot be said twice.
void check_stages(const TrainConfig& config, Faults& faults) {
  if (config.preset.empty() && config.stages.empty()) return;
  const std::string decider = config.preset.empty() ? "--stages" : "--preset " + config.preset;
  const auto is_decided = [&](bool is_given, const char* option, const char* remedy) {
    if (!is_given) return;
    faults.add({.doing = option, .expected = decider + " alone to decide it", .found = "both", .remedy = remedy});
  };
  if (!config.preset.empty() && !config.stages.empty()) {
    faults.add({.doing = "--preset and --stages",
                .expected = "one of them",
                .found = "both",
                .remedy = "--dry-run with the preset, which prints its stages as a text for --stages"});
  }
  if (config.steps != 0) is_decided(true, "--steps", "lengths in --stages, or --epochs with a preset");
  if (config.preset.empty()) {
    is_decided(config.epochs != 0.0, "--epochs", "epochs=F in each of the stages");
    faults.collect("--stages", [&] { require_known_momentum(config, parse_stages(config.stages, {})); });
  } else {
    faults.one_of(config.preset, preset_names(), "--preset");
    constexpr const char* kEdit = "--stages with the text that --dry-run prints, changed";
    const bool takes_rate = config.preset == "finetune";
    for (const char* option :
         {"optimizer", "rate-in-velocity", "momentum-correction", "momentum", "weight-decay", "label-smoothing", "schedule",
          "weight-decay-schedule", "momentum-schedule", "warmup-epochs", "warmup-start-lr", "zero-init-gamma"}) {
      is_decided(config.given.contains(option), ("--" + std::string(option)).c_str(), kEdit);
    }
    for (const char* option : {"lr", "base-lr", "lr-scaling"}) {
      is_decided(config.given.contains(option) && !takes_rate, ("--" + std::string(option)).c_str(), kEdit);
    }
    if (takes_rate && config.init_from.empty() && config.resume == "off" && config.dry_run.empty()) {
      faults.add({.doing = "--preset finetune",
                  .expected = "--init-from, the weights to go on from",
                  .found = "none",
                  .remedy = "--init-from FILE, or another preset for a network from scratch"});
    }
  }
  if (uses_parameter_servers(config)) {
    faults.add({.doing = decider,
                .expected = "gradients that ranks sum among themselves",
                .found = "--allreduce ps, whose servers have one stage alone",
                .remedy = "another --allreduce"});
  }
}

void check_rate(const TrainConfig& config, Faults& faults) {
  if (config.lr) faults.positive(*config.lr, "--lr");
  if (config.base_lr) faults.positive(*config.base_lr, "--base-lr");
  if (config.lr && config.base_lr) {
    faults.add({.doing = "--lr and --base-lr",
                .expected = "one of them",
                .found = "both",
                .remedy = "--lr for an absolute rate, --base-lr for a rate that grows with the global batch"});
  }
  faults.one_of(config.lr_scaling, {"linear", "sqrt"}, "--lr-scaling");
  if (config.lr && config.lr_scaling != "linear") {
    faults.add({.doing = "--lr-scaling",
                .expected = "--base-lr, a rate that grows with the global batch",
                .found = "--lr, which is absolute",
                .remedy = "--base-lr instead of --lr"});
  }
  check_curves(config, faults);

  if (config.epochs != 0.0) faults.positive(config.epochs, "--epochs");
  faults.require(!(config.epochs > kMostStageEpochs), "--epochs", "at most " + option_number(kMostStageEpochs),
                 option_number(config.epochs));
  faults.within(config.steps, 0, kMostStageSteps, "--steps");
  if (config.epochs != 0.0 && config.steps != 0) {
    faults.add({.doing = "--epochs and --steps", .expected = "one of them", .found = "both", .remedy = "leave one out"});
  }
  faults.number_within(config.warmup_epochs, 0.0, kMostStageEpochs, "--warmup-epochs");
  faults.not_negative(config.warmup_start_lr, "--warmup-start-lr");
  const double epochs = config.epochs > 0.0 ? config.epochs : kDefaultEpochs;
  if (config.steps == 0 && config.preset.empty() && config.stages.empty() && config.warmup_epochs > epochs) {
    faults.add({.doing = "--warmup-epochs",
                .expected = "no more than the run's " + option_number(epochs) + " epochs",
                .found = option_number(config.warmup_epochs),
                .remedy = "a shorter warm-up or more --epochs"});
  }
}

}  // namespace

void check_schedule(const TrainConfig& config, Faults& faults) {
  check_rate(config, faults);
  check_stages(config, faults);
}

}  // namespace dtrain
