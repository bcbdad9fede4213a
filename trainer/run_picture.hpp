// Runs as a picture: loss, accuracy and learning rate over epochs.
#pragma once

#include <string>
#include <vector>

#include "trainer/epoch_rows.hpp"

namespace dtrain {

/// What a run's metrics tell.
struct RunHistory {
  std::string name;
  std::vector<MetricsLine> steps;        ///< in order, each once
  std::vector<MetricsLine> validations;  ///< in order, each once
  EpochRows epochs;                      ///< of both; the last one may not have ended yet
};

/// An SVG of three panels. One run: training by step, smoothed, and by epoch, and validation, each with a colour of its own;
/// several: a colour a run. What is not finite is a gap. Epochs are those as executed: a branch, and the trunk after it, one
/// after the other. runs: at least one, each with steps. Pure.
std::string run_picture(const std::vector<RunHistory>& runs);

/// A moving average over about a hundredth of the values, or five, that starts at the first one; NaN where the value is not
/// finite, and anew after it. Pure.
std::vector<double> smoothed(const std::vector<double>& values);

/// Epochs as executed, of lines in order: never falling, where line k is of `epochs[k]` done. Pure.
std::vector<double> executed_epochs(const std::vector<MetricsLine>& steps);

}  // namespace dtrain
