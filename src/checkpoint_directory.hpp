// The files of a run as they lie on the disk: finding, making and removing them. Knows nothing of what they hold.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "dtrain/checkpoint.hpp"

namespace dtrain {

struct StoredCheckpoint {
  std::int64_t step;
  std::filesystem::path path;
};

/// By falling step. Errors: DataError: the directory cannot be read.
std::vector<StoredCheckpoint> list_checkpoints(const CheckpointPaths& paths);

/// Errors: DataError.
void make_directory(const std::filesystem::path& directory);

/// Removes the checkpoints up to `step` that are not to be kept. Result: complaints about those that cannot be removed.
std::vector<std::string> prune_checkpoints(const CheckpointPaths& paths, std::int64_t step, const CheckpointsToKeep& keep);

}  // namespace dtrain
