// Opens the data sets that a run names: the directory layouts that people have, and the random pictures of measurements.
#pragma once

#include <memory>
#include <string>

#include "dtrain/data.hpp"
#include "trainer/data_summary.hpp"

namespace dtrain {

struct DataSelection {
  std::string train;       ///< directory or "synthetic"
  std::string validation;  ///< directory; empty: found next to the training images
  std::int64_t synthetic_size = 0;
  std::int64_t synthetic_classes = 0;
  std::int64_t picture_size = 224;  ///< of synthetic pictures
  std::uint64_t seed = 1;
};

struct RunData {
  std::unique_ptr<Dataset> train;
  std::unique_ptr<Dataset> validation;  ///< with training's classes and labels; none: nothing to evaluate on
  bool is_synthetic = false;
  DataSummary summary;
};

/// Training and validation as layout_of (image_folder.hpp) finds them below DIR, or DIR itself as the training set. Classes of
/// validation are matched by name: it may lack some (a warning), and their order is training's.
/// Errors: DataError: directories missing, no layout, a single class, or validation has classes that training has not.
RunData open_run_data(const DataSelection& selection);

/// A run's directory among class folders would be taken for a class, and its files for images, by this run's next start and by
/// every other. Looks only where `out` is below a directory of the selection. Errors: ConfigError.
void require_out_beside_images(const std::string& out, const DataSelection& selection);

struct EvaluationData {
  std::unique_ptr<Dataset> images;  ///< labels follow its own folders; classes may be without images
  DataSummary summary;
};

/// Images to evaluate on: DIR's validation where it has splits, else DIR itself.
/// Errors: DataError: as above, or DIR has no folder for validation.
EvaluationData open_evaluation_data(const DataSelection& selection);

}  // namespace dtrain
