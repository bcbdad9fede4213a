// Where a training run writes, by its options: report and metrics may be named, or are in --out.
#pragma once

#include <filesystem>
#include <vector>

#include "trainer/config.hpp"
#include "trainer/output_files.hpp"

namespace dtrain {

/// Empty: not asked for, and there is no --out.
std::filesystem::path report_path(const TrainConfig& config);
std::filesystem::path metrics_path(const TrainConfig& config);

/// All of them, to be looked at before the work. Some paths may be empty.
std::vector<NamedFile> training_outputs(const TrainConfig& config);
/// The files of weights that it begins with.
std::vector<NamedFile> training_inputs(const TrainConfig& config);

}  // namespace dtrain
