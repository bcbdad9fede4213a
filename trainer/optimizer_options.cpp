// Judging and completing the options of the optimizers; see optimizer_options.hpp.
#include "trainer/optimizer_options.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace dtrain {
namespace {

constexpr double kSmallestEpsilon = 1e-30;  // f32 has it

struct KindName {
  const char* name;
  OptimizerKind kind;
};
constexpr KindName kKinds[] = {{"sgd", OptimizerKind::sgd},         {"nesterov", OptimizerKind::nesterov},
                               {"rmsprop", OptimizerKind::rmsprop}, {"lars", OptimizerKind::lars},
                               {"adamw", OptimizerKind::adamw},     {"lamb", OptimizerKind::lamb}};

OptimizerKind kind_of(const TrainConfig& config) {
  const auto* const found = std::ranges::find(kKinds, config.optimizer, &KindName::name);
  return found == std::end(kKinds) ? OptimizerKind::sgd : found->kind;
}

bool is_adam(OptimizerKind kind) { return kind == OptimizerKind::adamw || kind == OptimizerKind::lamb; }

RmspropForm rmsprop_form(const TrainConfig& config) {
  return config.rmsprop_form == "tensorflow" ? RmspropForm::tensorflow : RmspropForm::torch;
}

std::string number_of(double value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

/// Why gradients are measured; empty: they are not.
std::string who_has_norms(const TrainConfig& config) {
  if (config.optimizer == "lars" || config.optimizer == "lamb") return "--optimizer " + config.optimizer;
  return config.clip_norm ? "--clip-norm " + number_of(*config.clip_norm) : "";
}

class OptimizerJudge {
 public:
  explicit OptimizerJudge(const TrainConfig& config) : config_(config) {}

  /// An option that some optimizers have; `optimizers` names them for people.
  void belongs_to(bool is_given, const char* option, std::initializer_list<const char*> names, const char* optimizers) {
    if (!is_given || std::ranges::find(names, config_.optimizer) != names.end()) return;
    faults_.push_back({.doing = option,
                       .expected = std::string("--optimizer ") + optimizers,
                       .found = "--optimizer " + config_.optimizer,
                       .remedy = std::string("--optimizer ") + optimizers + ", or leave " + option + " out"});
  }
  void fraction(const std::optional<double>& value, const char* option) {
    if (!value || (*value >= 0.0 && *value < 1.0)) return;
    add(option, "a number from 0 to below 1", number_of(*value));
  }
  void positive(const std::optional<double>& value, const char* option) {
    if (!value || (std::isfinite(*value) && *value > 0.0)) return;
    add(option, "a number above 0", number_of(*value));
  }
  void add(const char* option, std::string expected, std::string found, std::string remedy = {}) {
    faults_.push_back(
        {.doing = option, .expected = std::move(expected), .found = std::move(found), .remedy = std::move(remedy)});
  }
  std::vector<Fault> take() { return std::move(faults_); }

 private:
  const TrainConfig& config_;
  std::vector<Fault> faults_;
};

}  // namespace

const std::vector<std::string>& optimizer_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const KindName& kind : kKinds) all.emplace_back(kind.name);
    return all;
  }();
  return names;
}

std::vector<Fault> optimizer_faults(const TrainConfig& config) {
  if (std::ranges::find(optimizer_names(), config.optimizer) == optimizer_names().end()) return {};  // another's to say
  OptimizerJudge judge(config);
  judge.belongs_to(config.momentum.has_value(), "--momentum", {"sgd", "nesterov", "rmsprop", "lars"},
                   "sgd, nesterov, rmsprop or lars");
  judge.belongs_to(config.momentum_schedule != "constant", "--momentum-schedule", {"sgd", "nesterov", "rmsprop", "lars"},
                   "sgd, nesterov, rmsprop or lars");
  judge.fraction(config.momentum, "--momentum");
  if (config.optimizer == "nesterov" && momentum_of(config) == 0.0) {
    judge.add("--optimizer nesterov", "a momentum above 0", "--momentum 0",
              "--optimizer sgd, which is the same without momentum");
  }
  if (const double decay = weight_decay_of(config); !std::isfinite(decay) || decay < 0.0) {
    judge.add("--weight-decay", "a number from 0", number_of(decay));
  }

  judge.belongs_to(config.rate_in_velocity, "--rate-in-velocity", {"sgd", "nesterov"}, "sgd or nesterov");
  if (config.momentum_correction && !config.rate_in_velocity) {
    judge.add("--momentum-correction", "a velocity that has the rate in it", "--rate-in-velocity off",
              "--rate-in-velocity on, or leave --momentum-correction out: without, the velocity needs no correction");
  }

  judge.belongs_to(!config.rmsprop_form.empty(), "--rmsprop-form", {"rmsprop"}, "rmsprop");
  if (!config.rmsprop_form.empty() && config.rmsprop_form != "torch" && config.rmsprop_form != "tensorflow") {
    judge.add("--rmsprop-form", "torch or tensorflow", "'" + config.rmsprop_form + "'");
  }
  judge.belongs_to(config.rmsprop_alpha.has_value(), "--rmsprop-alpha", {"rmsprop"}, "rmsprop");
  judge.fraction(config.rmsprop_alpha, "--rmsprop-alpha");
  judge.belongs_to(config.beta1.has_value(), "--beta1", {"adamw", "lamb"}, "adamw or lamb");
  judge.fraction(config.beta1, "--beta1");
  judge.belongs_to(config.beta2.has_value(), "--beta2", {"adamw", "lamb"}, "adamw or lamb");
  judge.fraction(config.beta2, "--beta2");
  judge.belongs_to(config.epsilon.has_value(), "--epsilon", {"rmsprop", "adamw", "lamb"}, "rmsprop, adamw or lamb");
  if (config.epsilon && !(std::isfinite(*config.epsilon) && *config.epsilon >= kSmallestEpsilon)) {
    judge.add("--epsilon", "a number from " + number_of(kSmallestEpsilon), number_of(*config.epsilon));
  }
  judge.belongs_to(config.trust_coefficient.has_value(), "--trust-coefficient", {"lars"}, "lars");
  judge.positive(config.trust_coefficient, "--trust-coefficient");
  judge.belongs_to(config.adapts_norms, "--adapt-norms", {"lars", "lamb"}, "lars or lamb");
  judge.positive(config.clip_norm, "--clip-norm");
  if (config.ema && !(*config.ema >= 0.5 && *config.ema < 1.0)) {
    judge.add("--ema", "a number from 0.5 to below 1", number_of(*config.ema),
              "leave --ema out to evaluate the weights as they are");
  }
  if (const std::string norms = who_has_norms(config); !norms.empty()) {
    if (config.overlap == "forward") {
      judge.add("--overlap forward", "weights that are updated one after the other",
                norms + ", for which all gradients are measured before the first update", "--overlap backward");
    }
    if (uses_parameter_servers(config)) {
      judge.add("--allreduce ps", "weights that servers update each by itself",
                norms + ", for which the gradients of all servers would have to be measured",
                "another --allreduce, or sgd, nesterov, rmsprop or adamw without --clip-norm");
    }
  }
  return judge.take();
}

double base_rate(const TrainConfig& config) {
  const OptimizerKind kind = kind_of(config);
  return config.base_lr.value_or(is_adam(kind) ? 0.001 : kind == OptimizerKind::rmsprop ? 0.01 : 0.1);
}

double momentum_of(const TrainConfig& config) { return config.momentum.value_or(0.9); }

double weight_decay_of(const TrainConfig& config) {
  return config.weight_decay.value_or(is_adam(kind_of(config)) ? 0.01 : 1e-4);
}

OptimizerSettings optimizer_settings(const TrainConfig& config) {
  OptimizerSettings settings{
      .kind = kind_of(config), .rate_in_velocity = config.rate_in_velocity, .rmsprop_form = rmsprop_form(config)};
  const bool is_tensorflows = settings.rmsprop_form == RmspropForm::tensorflow;
  settings.alpha = config.rmsprop_alpha.value_or(is_tensorflows ? 0.9 : 0.99);
  settings.beta1 = config.beta1.value_or(settings.beta1);
  settings.beta2 = config.beta2.value_or(settings.beta2);
  settings.epsilon = config.epsilon.value_or(is_tensorflows ? 1e-10 : settings.kind == OptimizerKind::lamb ? 1e-6 : 1e-8);
  settings.trust_coefficient = config.trust_coefficient.value_or(settings.trust_coefficient);
  settings.adapts_norms = config.adapts_norms;
  settings.clip_norm = config.clip_norm.value_or(0.0);
  settings.ema = config.ema.value_or(0.0);
  return settings;
}

std::string describe_optimizer(const TrainConfig& config) {
  const OptimizerSettings settings = optimizer_settings(config);
  std::ostringstream text;
  text.precision(17);
  if (settings.rate_in_velocity) text << "rate_in_velocity=on\n";
  if (config.momentum_correction) text << "momentum_correction=on\n";
  if (settings.kind == OptimizerKind::rmsprop) {
    text << "rmsprop_form=" << (settings.rmsprop_form == RmspropForm::torch ? "torch" : "tensorflow")
         << "\nrmsprop_alpha=" << settings.alpha << "\n";
  }
  if (is_adam(settings.kind)) text << "beta1=" << settings.beta1 << "\nbeta2=" << settings.beta2 << "\n";
  if (settings.kind == OptimizerKind::rmsprop || is_adam(settings.kind)) text << "epsilon=" << settings.epsilon << "\n";
  if (settings.kind == OptimizerKind::lars) text << "trust_coefficient=" << settings.trust_coefficient << "\n";
  if (settings.adapts_norms) text << "adapt_norms=on\n";
  if (settings.clip_norm > 0.0) text << "clip_norm=" << settings.clip_norm << "\n";
  if (settings.ema > 0.0) text << "ema=" << settings.ema << "\n";
  return text.str();
}

}  // namespace dtrain
