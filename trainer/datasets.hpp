// Opens the data sets that a run names: the directory layouts that people have, and the random pictures of measurements.
#pragma once

#include <memory>
#include <string>

#include "dtrain/data.hpp"

namespace dtrain {

struct DataSelection {
  std::string train;       ///< directory or "synthetic"
  std::string validation;  ///< directory; empty: found beside the training pictures
  std::int64_t synthetic_size = 0;
  std::int64_t synthetic_classes = 0;
  std::int64_t picture_size = 224;  ///< of synthetic pictures
  std::uint64_t seed = 1;
};

struct RunData {
  std::unique_ptr<Dataset> train;
  std::unique_ptr<Dataset> validation;  ///< none: nothing to evaluate on
  bool is_synthetic = false;
};

/// DIR/train and DIR/val (or DIR/test) where DIR holds train/, else DIR itself as the training set.
/// Errors: DataError: directories missing, or training and validation have different classes (both lists are named).
RunData open_run_data(const DataSelection& selection);

/// Pictures to evaluate on: DIR itself when it holds class folders, or its val/ (or test/).
std::unique_ptr<Dataset> open_evaluation_data(const DataSelection& selection);

/// Text in which two ranks' data sets are equal: size, class names, names of the first and last sample.
std::string describe_dataset(const Dataset& dataset);

}  // namespace dtrain
