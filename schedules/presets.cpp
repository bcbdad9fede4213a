// The recipes' constants and how they are scaled; see presets.hpp.
#include "schedules/presets.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <utility>

#include "dtrain/error.hpp"
#include "schedules/text.hpp"

namespace dtrain {
namespace {

constexpr double kImageNetSamples = 1281167.0;

/// A stage in the units of its publication.
struct PublishedStage {
  const char* name;
  std::int64_t steps;
  double rate;
  double power;              ///< of the polynomial; 0: steps of 0.1 at `drops`
  std::int64_t decay_steps;  ///< of the polynomial, behind the warm-up; 0: to the end of the stage
  std::int64_t warmup_steps = 0;
  double warmup_start = 0.0;
  bool start_scales = false;  ///< the warm-up begins at a rate of the cycle before, not at that of a small batch
  double weight_decay = 1e-4;
  bool is_collapse = false;  ///< without changes of scale and aspect
  bool is_branch = false;
  std::vector<std::int64_t> drops{};
};

struct PublishedRecipe {
  const char* name;
  const char* source;
  std::int64_t batch;
  double epochs;
  bool rate_in_velocity;
  std::vector<PublishedStage> stages;
};

PublishedStage collapse_after(const char* name) {
  return {.name = name,
          .steps = 1560,
          .rate = 0.143,
          .power = 2.0,
          .decay_steps = 0,
          .weight_decay = 2e-4,
          .is_collapse = true,
          .is_branch = true};
}

std::vector<PublishedRecipe> published_recipes() {
  return {
      {.name = "goyal",
       .source = "Goyal et al. 2017, arXiv:1706.02677, in the 8k form of Codreanu et al.",
       .batch = 8192,
       .epochs = 90.0,
       .rate_in_velocity = false,
       .stages = {{.name = "train",
                   .steps = 14075,
                   .rate = 3.2,
                   .power = 0.0,
                   .decay_steps = 0,
                   .warmup_steps = 780,
                   .warmup_start = 0.1,
                   .weight_decay = 1e-4,
                   .drops = {4680, 9360, 12480}}}},
      {.name = "surfsara-448",
       .source = "Codreanu, Podareanu, Saletore 2017, arXiv:1711.04291, on 448 nodes",
       .batch = 14336,
       .epochs = 90.0,
       .rate_in_velocity = true,
       .stages = {{.name = "train",
                   .steps = 7638,
                   .rate = 4.8,
                   .power = 1.0,
                   .decay_steps = 8040 - 446,
                   .warmup_steps = 446,
                   .warmup_start = 0.1,
                   .weight_decay = 5e-5},
                  {.name = "collapse",
                   .steps = 402,
                   .rate = 0.254,
                   .power = 2.0,
                   .decay_steps = 0,
                   .weight_decay = 1e-4,
                   .is_collapse = true}}},
      {.name = "surfsara-cycles",
       .source = "Codreanu, Podareanu, Saletore 2017, arXiv:1711.04291: collapsed ensemble",
       .batch = 4096,
       .epochs = 82.0,  // 25 + 12 + 15 + 15 of the trunk, three times 5 of the branches
       .rate_in_velocity = true,
       .stages = {{.name = "init",
                   .steps = 7800,
                   .rate = 1.6,
                   .power = 1.0,
                   .decay_steps = 18720 - 1560,
                   .warmup_steps = 1560,
                   .warmup_start = 0.1,
                   .weight_decay = 5e-5},
                  {.name = "cycle-1", .steps = 3750, .rate = 1.02, .power = 2.0, .decay_steps = 7500, .weight_decay = 5e-5},
                  collapse_after("collapse-1"),
                  {.name = "cycle-2",
                   .steps = 4750,
                   .rate = 0.764,
                   .power = 2.0,
                   .decay_steps = 7500,
                   .warmup_steps = 1000,
                   .warmup_start = 0.255,
                   .start_scales = true,
                   .weight_decay = 5e-5},
                  collapse_after("collapse-2"),
                  {.name = "cycle-3",
                   .steps = 4750,
                   .rate = 0.572,
                   .power = 2.0,
                   .decay_steps = 7500,
                   .warmup_steps = 1000,
                   .warmup_start = 0.19,
                   .start_scales = true,
                   .weight_decay = 5e-5},
                  collapse_after("collapse-3")}},
  };
}

std::string figure(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

/// Steps of an epoch of the run at hand; its last one may have fewer pictures.
std::int64_t epoch_steps_of(const PresetRequest& request, std::int64_t batch) { return (request.samples - 1) / batch + 1; }

/// Whether a run is the published one, which has the very steps of its publication.
bool is_published_run(const PublishedRecipe& recipe, const PresetRequest& request, std::int64_t batch) {
  return batch == recipe.batch && request.samples == static_cast<std::int64_t>(kImageNetSamples) && request.epochs == 0.0;
}

/// Steps of each stage in the run at hand: together the epochs that are asked for (or the recipe's), whatever an epoch's steps;
/// each stage has its published share of them, rounded where it ends, so that nothing adds up, and at least one step.
/// Example: shares ½ ¼ ¼ of 7 steps: they end at 3.5 → 4, 5.25 → 5 and 7, so 4, 1 and 2 steps.
std::vector<std::int64_t> stage_steps(const PublishedRecipe& recipe, const PresetRequest& request, std::int64_t batch) {
  std::vector<std::int64_t> steps;
  for (const PublishedStage& stage : recipe.stages) steps.push_back(stage.steps);
  if (is_published_run(recipe, request, batch)) return steps;

  const double published = static_cast<double>(std::accumulate(steps.begin(), steps.end(), std::int64_t{0}));
  const double epochs = request.epochs > 0.0 ? request.epochs : recipe.epochs;
  const auto stages = static_cast<std::int64_t>(steps.size());
  const std::int64_t total =
      std::max<std::int64_t>(stages, std::llround(epochs * static_cast<double>(epoch_steps_of(request, batch))));
  std::int64_t begin = 0;
  double passed = 0.0;
  for (std::int64_t i = 0; i < stages; ++i) {
    auto& stage = steps[static_cast<std::size_t>(i)];
    passed += static_cast<double>(stage);
    const std::int64_t end = std::llround(passed / published * static_cast<double>(total));
    stage = std::clamp(end, begin + 1, total - (stages - 1 - i)) - begin;
    begin += stage;
  }
  return steps;
}

/// Turns positions inside a published stage into epochs of the run at hand: exact where the stage is as long as published.
class LengthScale {
 public:
  LengthScale(std::int64_t published_steps, std::int64_t steps, std::int64_t epoch_steps)
      : factor_(static_cast<double>(steps) / static_cast<double>(published_steps)),
        epoch_steps_(static_cast<double>(epoch_steps)) {}

  double epochs(std::int64_t published_steps) const {
    return std::round(static_cast<double>(published_steps) * factor_) / epoch_steps_;
  }
  /// The same, of one step or more.
  double some_epochs(std::int64_t published_steps) const { return std::max(epochs(published_steps), 1.0 / epoch_steps_); }

 private:
  double factor_;
  double epoch_steps_;
};

Curve curve_of(const PublishedStage& published, const LengthScale& scale) {
  if (published.power > 0.0) {
    Curve curve{.kind = Curve::Kind::poly, .power = published.power};
    if (published.decay_steps > 0) curve.over_epochs = scale.some_epochs(published.decay_steps);
    return curve;
  }
  Curve curve{.kind = Curve::Kind::multistep, .gamma = 0.1};
  double last = 0.0;
  for (const std::int64_t drop : published.drops) {
    // In a very short run two drops may fall on the same step: it is one drop then.
    const double at = scale.some_epochs(drop);
    if (at > last) curve.at_epochs.push_back(at);
    last = std::max(last, at);
  }
  return curve;
}

PresetPlan scaled_recipe(const PublishedRecipe& recipe, const PresetRequest& request) {
  const std::int64_t batch = request.global_batch > 0 ? request.global_batch : recipe.batch;
  const double rates = static_cast<double>(batch) / static_cast<double>(recipe.batch);
  const std::vector<std::int64_t> steps = stage_steps(recipe, request, batch);

  PresetPlan plan{.stages = {}, .source = recipe.source, .remarks = {}};
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    const PublishedStage& published = recipe.stages[i];
    const LengthScale scale(published.steps, steps[i], epoch_steps_of(request, batch));
    Stage stage{.name = published.name,
                .epochs = 0.0,
                .steps = steps[i],
                .learning_rate = published.rate * rates,
                .schedule = curve_of(published, scale),
                .warmup_epochs = scale.epochs(published.warmup_steps),
                .warmup_start = published.start_scales ? published.warmup_start * rates : published.warmup_start,
                .weight_decay = published.weight_decay,
                .is_branch = published.is_branch};
    stage.warmup_start = std::min(stage.warmup_start, stage.learning_rate);
    if (published.is_collapse) stage.augment = "light";
    plan.stages.push_back(std::move(stage));
  }
  if (batch != recipe.batch) {
    plan.remarks.push_back("global batch " + std::to_string(batch) + " instead of " + std::to_string(recipe.batch) +
                           ": rates times " + figure(rates) + " (in proportion to the batch)");
  }
  return plan;
}

// Batch, rate, weight decay, epochs of warm-up, as published for LARS.
struct LarsPoint {
  double batch, rate, weight_decay, warmup_epochs;
};
constexpr std::array<LarsPoint, 3> kLarsPoints{{{4096, 10.0, 2e-4, 5}, {8192, 17.0, 2e-4, 5}, {32768, 21.2, 2.5e-5, 16}}};
constexpr double kLarsEpochs = 42.0;

LarsPoint lars_at(double batch) {
  const auto beyond = [&](LarsPoint point) {
    point.rate *= std::sqrt(batch / point.batch);
    return point;
  };
  if (batch <= kLarsPoints.front().batch) return beyond(kLarsPoints.front());
  if (batch >= kLarsPoints.back().batch) return beyond(kLarsPoints.back());
  const auto upper = std::find_if(kLarsPoints.begin(), kLarsPoints.end(), [&](const LarsPoint& p) { return batch < p.batch; });
  const LarsPoint& below = *(upper - 1);
  const double share = std::log(batch / below.batch) / std::log(upper->batch / below.batch);
  const auto between = [&](double a, double b) { return a * std::pow(b / a, share); };
  return {.batch = batch,
          .rate = between(below.rate, upper->rate),
          .weight_decay = between(below.weight_decay, upper->weight_decay),
          .warmup_epochs = between(below.warmup_epochs, upper->warmup_epochs)};
}

PresetPlan lars_recipe(const PresetRequest& request) {
  const std::int64_t batch = request.global_batch > 0 ? request.global_batch : 8192;
  const LarsPoint point = lars_at(static_cast<double>(batch));
  const double epochs = request.epochs > 0.0 ? request.epochs : kLarsEpochs;
  PresetPlan plan{.stages = {},
                  .source = "MLPerf training's ResNet-50 reference; You, Gitman, Ginsburg 2017, arXiv:1708.03888",
                  .remarks = {}};
  plan.stages.push_back({.name = "train",
                         .epochs = epochs,
                         .learning_rate = point.rate,
                         .schedule = {.kind = Curve::Kind::poly, .power = 2.0},
                         .warmup_epochs = point.warmup_epochs * epochs / kLarsEpochs,
                         .weight_decay = point.weight_decay,
                         .label_smoothing = 0.1});
  if (batch != 8192) {
    plan.remarks.push_back("global batch " + std::to_string(batch) + " instead of 8192: rate " + figure(point.rate) +
                           " instead of 17, weight decay " + figure(point.weight_decay) + " instead of 2e-4, warm-up " +
                           figure(point.warmup_epochs) +
                           " instead of 5 epochs of 42 (between the published points 4096, 8192, 32768; beyond them the rate "
                           "follows the root of the batch)");
  }
  return plan;
}

constexpr double kFineTuneEpochs = 10.0;
constexpr double kFineTuneRate = 0.01;            // of a batch of 256; of others by the root of the batch
constexpr double kRateRange = 10.0;               // a rate of the weights' file may be so many times larger or smaller
constexpr std::int64_t kFineTuneBatch = 256;      // at most
constexpr std::int64_t kFineTuneSteps = 20;       // of an epoch, at least
constexpr std::int64_t kFineTuneFewest = 8;       // images of a batch, where that leaves several steps
constexpr double kImagesPerWarmupEpoch = 2048.0;  // of the global batch
constexpr double kLongestWarmupShare = 0.25;      // of the run
constexpr double kWarmupStartShare = 0.1;         // of the rate

/// As large as leaves an epoch its steps, and as many images on every rank.
std::int64_t fine_tune_batch(std::int64_t samples, int ranks) {
  const std::int64_t batch = std::clamp(samples / kFineTuneSteps, kFineTuneFewest, kFineTuneBatch);
  return std::max<std::int64_t>(batch / ranks, 1) * ranks;
}

struct FineTuneRate {
  double rate = 0.0;
  std::string reason;
};

/// The rate that is asked for; or at which the weights were being trained, where that is neither the end of a run nor that of a
/// much larger batch; or one by the batch.
FineTuneRate fine_tune_rate(const PresetRequest& request, std::int64_t batch) {
  if (request.learning_rate > 0.0) return {.rate = request.learning_rate, .reason = ""};
  const double own = kFineTuneRate * std::sqrt(static_cast<double>(batch) / 256.0);
  const std::string by_batch = "0.01 for a batch of 256, in proportion to the root of the batch; --lr sets another";
  const double known = request.weights_rate;
  if (known <= 0.0) return {.rate = own, .reason = "rate " + figure(own) + ": " + by_batch};
  if (known < own / kRateRange || known > own * kRateRange) {
    return {.rate = own,
            .reason = "rate " + figure(own) + ": " + by_batch + ". The weights were saved at rate " + figure(known) + ", " +
                      (known < own ? "the end of a run" : "which is for larger batches")};
  }
  return {.rate = known, .reason = "rate " + figure(known) + ", at which the weights were being trained; --lr sets another"};
}

PresetPlan fine_tune_recipe(const PresetRequest& request) {
  const std::int64_t batch = request.global_batch > 0 ? request.global_batch : fine_tune_batch(request.samples, 1);
  const FineTuneRate rate = fine_tune_rate(request, batch);
  const double epochs = request.epochs > 0.0 ? request.epochs : kFineTuneEpochs;
  const double wanted = std::max(1.0, static_cast<double>(batch) / kImagesPerWarmupEpoch);
  const double warmup = std::min(wanted, kLongestWarmupShare * epochs);
  PresetPlan plan{.stages = {}, .source = "Dell EMC and SURFsara on ChestX-ray14, 2018", .remarks = {}};
  plan.stages.push_back({.name = "finetune",
                         .epochs = epochs,
                         .learning_rate = rate.rate,
                         .schedule = {.kind = Curve::Kind::poly, .power = 1.0},
                         .warmup_epochs = warmup,
                         .warmup_start = kWarmupStartShare * rate.rate});
  if (!rate.reason.empty()) plan.remarks.push_back(rate.reason);
  plan.remarks.push_back("warm-up of " + figure(warmup) + " epochs from a tenth of the rate: an epoch, or one for each 2048 " +
                         "images of a larger global batch, at most a quarter of the run");
  return plan;
}

}  // namespace

std::vector<std::string> preset_names() { return {"goyal", "surfsara-448", "surfsara-cycles", "mlperf-lars", "finetune"}; }

std::int64_t preset_batch(const std::string& name, std::int64_t samples, int ranks) {
  for (const PublishedRecipe& recipe : published_recipes()) {
    if (recipe.name == name) return recipe.batch;
  }
  return name == "mlperf-lars" ? 8192 : fine_tune_batch(samples, ranks);
}

PresetOptions preset_options(const std::string& name) {
  if (name == "mlperf-lars") return {.optimizer = "lars", .rate_in_velocity = false, .zero_init_gamma = true};
  for (const PublishedRecipe& recipe : published_recipes()) {
    if (recipe.name == name) return {.optimizer = "sgd", .rate_in_velocity = recipe.rate_in_velocity, .zero_init_gamma = true};
  }
  return {};
}

PresetPlan plan_preset(const PresetRequest& request) {
  check(request.samples > 0 && request.global_batch >= 0, "plan_preset: samples > 0, global_batch >= 0");
  if (request.name == "finetune") return fine_tune_recipe(request);
  double own_epochs = kLarsEpochs;
  PresetPlan plan;
  if (request.name == "mlperf-lars") {
    plan = lars_recipe(request);
  } else {
    const auto recipes = published_recipes();
    const auto recipe = std::find_if(recipes.begin(), recipes.end(), [&](const auto& r) { return r.name == request.name; });
    if (recipe == recipes.end()) {
      std::string names;
      for (const std::string& name : preset_names()) names += (names.empty() ? "" : ", ") + name;
      throw ConfigError(Fault{.doing = "--preset", .expected = "one of " + names, .found = quoted(request.name)});
    }
    plan = scaled_recipe(*recipe, request);
    own_epochs = recipe->epochs;
  }
  if (request.epochs > 0.0 && request.epochs != own_epochs) {
    plan.remarks.push_back(figure(request.epochs) + " epochs instead of " + figure(own_epochs) +
                           ": every stage, warm-up and decay times " + figure(request.epochs / own_epochs));
  }
  if (request.name != "mlperf-lars" && request.samples != static_cast<std::int64_t>(kImageNetSamples)) {
    plan.remarks.push_back(counted(request.samples, "image") + " instead of ImageNet's 1281167: as many epochs of them");
  }
  return plan;
}

}  // namespace dtrain
