// The directory of a run; see checkpoint_directory.hpp.
#include "src/checkpoint_directory.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <iterator>
#include <optional>
#include <string_view>
#include <system_error>

#include "dtrain/atomic_file.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "step-";
constexpr std::string_view kExtension = ".safetensors";
constexpr std::string_view kProbe = "write-test";

/// Step of a checkpoint's file name; nullopt for other files.
std::optional<std::int64_t> step_of(const fs::path& file) {
  const std::string name = file.filename().string();
  if (name.size() <= kStepPrefix.size() + kExtension.size()) return std::nullopt;
  if (!name.starts_with(kStepPrefix) || !name.ends_with(kExtension)) return std::nullopt;
  const char* const first = name.data() + kStepPrefix.size();
  const char* const last = name.data() + name.size() - kExtension.size();
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(first, last, step);
  if (error != std::errc() || end != last || step < 0) return std::nullopt;
  return step;
}

/// Paths in a directory; none when it does not exist. Errors: DataError: it cannot be read.
std::vector<fs::path> list_directory(const fs::path& directory) {
  std::vector<fs::path> paths;
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) paths.push_back(entry->path());
  if (error && error != std::errc::no_such_file_or_directory) {
    throw_file_error("listing " + directory.string(), error.value());
  }
  return paths;
}

/// Of the files that a run writes: a user's own may have names with ".partial-", too.
bool is_partial_of_run(const fs::path& file) {
  const std::string name = file.filename().string();
  const auto destination = destination_of(name);
  constexpr std::array<std::string_view, 4> kNames{kProbe, "status.json", "report.json", "metrics.jsonl"};
  return destination && (destination->ends_with(kExtension) || std::ranges::find(kNames, *destination) != kNames.end());
}

/// Removes what killed runs left half-written: it may be what fills the disk. Result: complaints.
std::vector<std::string> remove_leftovers(const fs::path& directory) {
  std::vector<std::string> complaints;
  for (const fs::path& file : list_directory(directory)) {
    if (!is_partial_of_run(file) || remove_leftover(file) != LeftoverRemoval::refused) continue;
    complaints.push_back("cannot remove " + file.string() + ", which a run that was killed has left: please remove it");
  }
  return complaints;
}

}  // namespace

fs::path CheckpointPaths::checkpoint(std::int64_t step) const {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "step-%09lld.safetensors", static_cast<long long>(step));
  return checkpoints() / name.data();
}

std::vector<StoredCheckpoint> list_checkpoints(const CheckpointPaths& paths) {
  std::vector<StoredCheckpoint> found;
  for (const fs::path& file : list_directory(paths.checkpoints())) {
    if (const auto step = step_of(file)) found.push_back({*step, file});
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return found;
}

void make_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) throw_file_error("creating directory " + directory.string(), error.value());
}

std::vector<std::string> prune_checkpoints(const CheckpointPaths& paths, std::int64_t step, const CheckpointsToKeep& keep) {
  std::vector<std::string> complaints;
  int kept = 0;
  for (const StoredCheckpoint& checkpoint : list_checkpoints(paths)) {
    if (checkpoint.step > step || ++kept <= keep.newest || checkpoint.step == keep.pinned_step) continue;
    std::error_code error;
    fs::remove(checkpoint.path, error);
    if (!error) continue;
    complaints.push_back("cannot remove " + checkpoint.path.string() + ", which is no longer needed: " + error.message() +
                         "; it keeps its room on the disk until you remove it");
  }
  return complaints;
}

bool holds_weights(const CheckpointPaths& paths) {
  for (const fs::path& weights : {paths.last(), paths.best(), paths.average()}) {
    if (fs::exists(weights)) return true;
  }
  for (const fs::path& directory : {paths.checkpoints(), paths.members()}) {
    const std::vector<fs::path> files = list_directory(directory);
    if (!std::ranges::all_of(files, is_partial_of_run)) return true;
  }
  return false;
}

std::vector<std::string> require_writable(const CheckpointPaths& paths) {
  std::vector<std::string> complaints = remove_leftovers(paths.members());
  for (const fs::path& directory : {paths.out, paths.checkpoints()}) {
    make_directory(directory);
    std::ranges::move(remove_leftovers(directory), std::back_inserter(complaints));
    AtomicFile probe(directory / kProbe);  // never gets this name, which may be somebody's
    probe.write(std::array<std::byte, 4096>{});
    probe.flush();
  }
  return complaints;
}

}  // namespace dtrain
