// Lines of metrics.jsonl as values, whoever reads them again: a run that goes on, and `dtrain plot`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/evaluation.hpp"
#include "trainer/trainer.hpp"

namespace dtrain {

/// What is known after a step: of the step itself, or of the validation images.
struct MetricsLine {
  bool is_validation = false;
  std::int64_t step = 0;
  double epoch = 0.0;  ///< done after the step
  std::string stage;   ///< empty in a run of one
  double loss = 0.0;   ///< may be NaN or infinite
  double top1 = 0.0;
  std::optional<double> top5{};  ///< of validation, where it means something
  std::int64_t samples = 0;
  std::int64_t left_out = 0;                   ///< of validation: images that cannot be read
  std::vector<std::string> left_out_images{};  ///< the first ten of them
  double seconds = 0.0;
  double learning_rate = 0.0;  ///< of a step
};

MetricsLine line_of(const StepReport& step, const std::string& stage);
MetricsLine line_of(const StepReport& step, const EvaluationResult& validation, const std::string& stage);

/// A line as MetricsFile writes it; nullopt: it is none, as one that a killed run left half-written.
std::optional<MetricsLine> parse_metrics_line(const std::string& text);

}  // namespace dtrain
