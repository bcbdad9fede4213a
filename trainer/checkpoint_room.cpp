// Room for checkpoints; see checkpoint_room.hpp.
#include "trainer/checkpoint_room.hpp"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// At most: some of these steps may be the same.
std::int64_t saves_of(const RunPlan& plan) {
  const Interval& every = plan.checkpoint_every;
  std::int64_t saves = std::ssize(plan.stages);  // at the end of each
  if (every.steps > 0) saves += plan.total_steps / every.steps;
  if (every.epochs > 0.0) {
    const double epochs =
        static_cast<double>(plan.total_steps) / static_cast<double>(std::max<std::int64_t>(plan.steps_per_epoch, 1));
    saves += static_cast<std::int64_t>(epochs / every.epochs);
  }
  return std::min(saves, plan.total_steps);
}

std::int64_t size_of(const fs::path& file) {
  std::error_code error;
  const std::uintmax_t bytes = fs::is_regular_file(file, error) ? fs::file_size(file, error) : 0;
  return error ? 0 : static_cast<std::int64_t>(bytes);
}

}  // namespace

std::int64_t room_bytes(const RunPlan& plan, const SavedElements& elements, std::int64_t keeps, bool evaluates) {
  const std::int64_t branches = std::ranges::count_if(plan.stages, [](const auto& stage) { return stage.stage.is_branch; });
  const std::int64_t checkpoints = std::min(keeps + 1 + (branches > 0 ? 1 : 0), saves_of(plan));
  const std::int64_t weights = 2 + (evaluates ? 1 : 0) + (plan.optimizer.ema > 0.0 ? 1 : 0) + branches;
  return (checkpoints * elements.checkpoint + weights * elements.weights) * static_cast<std::int64_t>(sizeof(float));
}

std::int64_t bytes_there(const CheckpointPaths& paths) {
  std::int64_t bytes = size_of(paths.last()) + size_of(paths.best()) + size_of(paths.average());
  for (const fs::path& directory : {paths.checkpoints(), paths.members()}) {
    std::error_code error;
    for (fs::directory_iterator entry(directory, error); !error && entry != fs::directory_iterator(); entry.increment(error)) {
      bytes += size_of(entry->path());
    }
  }
  return bytes;
}

}  // namespace dtrain
