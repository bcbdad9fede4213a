// Reading metrics; see metrics_lines.hpp.
#include "trainer/metrics_lines.hpp"

#include <limits>
#include <nlohmann/json.hpp>

namespace dtrain {
namespace {

/// A number, or the text of one that is not finite.
std::optional<double> number_of(const nlohmann::json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end()) return std::nullopt;
  if (found->is_number()) return found->get<double>();
  if (!found->is_string()) return std::nullopt;
  const auto text = found->get<std::string>();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  if (text == "nan" || text == "-nan") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

}  // namespace

MetricsLine line_of(const StepReport& step, const std::string& stage) {
  return {.step = step.step,
          .epoch = step.epoch,
          .stage = stage,
          .loss = step.loss,
          .top1 = step.top1,
          .samples = step.samples,
          .seconds = step.step_s,
          .learning_rate = step.learning_rate};
}

MetricsLine line_of(const StepReport& step, const EvaluationResult& validation, const std::string& stage) {
  return {.is_validation = true,
          .step = step.step,
          .epoch = step.epoch,
          .stage = stage,
          .loss = validation.loss(),
          .top1 = validation.top1(),
          .top5 = validation.has_top5() ? std::optional(validation.top5()) : std::nullopt,
          .samples = validation.sums.samples,
          .left_out = validation.left_out.count(),
          .left_out_images = validation.left_out.names,
          .seconds = validation.seconds};
}

std::optional<MetricsLine> parse_metrics_line(const std::string& text) {
  const nlohmann::json line = nlohmann::json::parse(text, nullptr, false);
  if (!line.is_object()) return std::nullopt;
  MetricsLine read{.is_validation = line.contains("val_loss")};
  const auto step = number_of(line, "step"), epoch = number_of(line, "epoch");
  const auto loss = number_of(line, read.is_validation ? "val_loss" : "loss");
  const auto top1 = number_of(line, read.is_validation ? "val_top1" : "top1");
  if (!step || !epoch || !loss || !top1 || !(*step >= 0.0 && *step < 1e15)) return std::nullopt;
  read.step = static_cast<std::int64_t>(*step);
  read.epoch = *epoch;
  read.loss = *loss;
  read.top1 = *top1;
  read.top5 = number_of(line, "val_top5");
  read.samples = static_cast<std::int64_t>(number_of(line, read.is_validation ? "val_samples" : "samples").value_or(0.0));
  read.left_out = static_cast<std::int64_t>(number_of(line, "val_damaged").value_or(0.0));
  read.seconds = number_of(line, read.is_validation ? "val_s" : "step_s").value_or(0.0);
  read.learning_rate = number_of(line, "lr").value_or(0.0);
  if (const auto images = line.find("val_damaged_images"); images != line.end() && images->is_array()) {
    for (const auto& image : *images) {
      if (image.is_string()) read.left_out_images.push_back(image.get<std::string>());
    }
  }
  if (const auto stage = line.find("stage"); stage != line.end() && stage->is_string()) read.stage = stage->get<std::string>();
  return read;
}

}  // namespace dtrain
