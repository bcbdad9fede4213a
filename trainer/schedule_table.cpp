// Tables of stages; see schedule_table.hpp.
#include "trainer/schedule_table.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "dtrain/error.hpp"
#include "schedules/stage_text.hpp"
#include "trainer/text_table.hpp"

namespace dtrain {
namespace {

std::string figures(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

/// "0.0002", or "0.0001 → 0.0002".
std::string from_to(double first, double last) {
  return figures(first) == figures(last) ? figures(first) : figures(first) + " → " + figures(last);
}

StageRates first_rates(const PlannedStage& stage) { return rates_at(stage, stage.begin); }
StageRates last_rates(const PlannedStage& stage) { return rates_at(stage, stage.end - 1); }

double epochs_of(const PlannedStage& stage) {
  return static_cast<double>(stage.steps()) / static_cast<double>(epoch_steps(stage.rate));
}

std::string duration_text(double total_s) {
  std::array<char, 32> text{};
  if (total_s < 120.0) {
    std::snprintf(text.data(), text.size(), "%.0f s", total_s);
  } else if (total_s < 7200.0) {
    std::snprintf(text.data(), text.size(), "%.0f min", total_s / 60.0);
  } else {
    std::snprintf(text.data(), text.size(), "%.1f h", total_s / 3600.0);
  }
  return text.data();
}

std::string speed_text(double images_per_s) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), images_per_s < 100.0 ? "%.1f" : "%.0f", images_per_s);
  return text.data();
}

double seconds_of(const RunPlan& plan, const PlannedStage& stage, double images_per_s) {
  const auto crop = static_cast<double>(stage_transform(plan, stage).crop);
  const auto own = static_cast<double>(plan.train_transform.crop);
  const double epochs = epochs_of(stage);
  return epochs * static_cast<double>(plan.samples) / images_per_s * (crop * crop) / (own * own);
}

std::string pictures_text(const RunPlan& plan, const PlannedStage& stage) {
  const TransformOptions transform = stage_transform(plan, stage);
  const char* const augmentation = transform.augmentation == Augmentation::standard ? "standard"
                                   : transform.augmentation == Augmentation::light  ? "light"
                                                                                    : "none";
  return std::to_string(transform.crop) + " px, " + augmentation;
}

}  // namespace

std::string stage_text(const PlannedStage& planned) {
  const Stage& stage = planned.stage;
  std::string text = stage.name + ": " + counted(planned.steps(), "step") + " (" + figures(epochs_of(planned)) +
                     (epochs_of(planned) == 1.0 ? " epoch" : " epochs") + "), learning rate " +
                     from_to(first_rates(planned).learning_rate, last_rates(planned).learning_rate);
  if (const std::int64_t warmup = warmup_steps(planned.rate); warmup > 0) {
    text += ", at most " + figures(stage.learning_rate) + " after a warm-up of " + counted(warmup, "step");
  }
  text += ", schedule " + to_text(stage.schedule) + ", weight decay " +
          from_to(first_rates(planned).weight_decay, last_rates(planned).weight_decay);
  return text + (stage.is_branch ? ", branch" : "");
}

std::string schedule_table(const RunPlan& plan, double images_per_s) {
  std::vector<std::vector<std::string>> rows{{"stage", "steps", "epochs", "rate at first", "after warm-up", "at last",
                                              "weight decay", "momentum", "pictures", "time"}};
  double total_s = 0.0;
  for (const PlannedStage& stage : plan.stages) {
    const std::int64_t warmup = warmup_steps(stage.rate);
    const double stage_s = seconds_of(plan, stage, images_per_s);
    total_s += stage_s;
    rows.push_back(
        {stage.stage.name + (stage.stage.is_branch ? " (branch)" : ""), std::to_string(stage.steps()),
         figures(epochs_of(stage)), figures(first_rates(stage).learning_rate),
         warmup > 0 ? figures(stage.stage.learning_rate) + " at " + std::to_string(warmup) : "–",
         figures(last_rates(stage).learning_rate), from_to(first_rates(stage).weight_decay, last_rates(stage).weight_decay),
         from_to(first_rates(stage).momentum, last_rates(stage).momentum), pictures_text(plan, stage), duration_text(stage_s)});
  }
  std::string text = table_text(rows);
  text += "global batch " + std::to_string(plan.global_batch) + ", " + counted(plan.samples, "picture") + ", " +
          counted(plan.steps_per_epoch, "step") + " an epoch; all stages: " + counted(plan.total_steps, "step") + ", " +
          duration_text(total_s) + " at " + speed_text(images_per_s) + " images/s\n";
  if (!plan.source.empty()) text += "source: " + plan.source + "\n";
  for (const std::string& remark : plan.remarks) text += "scaled: " + remark + "\n";
  std::vector<Stage> stages;
  for (const PlannedStage& stage : plan.stages) stages.push_back(stage.stage);
  std::string lines = to_text(stages);
  for (std::size_t at = 0; (at = lines.find("; ", at)) != std::string::npos; at += 4) lines.replace(at, 2, ";\n  ");
  return text + "as a text for --stages" + (plan.options.empty() ? "" : ", with " + plan.options) + ":\n  " + lines + "\n";
}

}  // namespace dtrain
