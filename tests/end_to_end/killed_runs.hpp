// Runs that are killed at one of the renames by which files appear, resumed, and compared with one that nobody disturbed.
#pragma once

#include <string>
#include <vector>

#include "tests/end_to_end/running.hpp"

namespace dtrain {

struct KillableRun {
  std::string name;
  int ranks = 0;
  Words options;
};

/// Two branches, averaged weights, an evaluation after each epoch and the ensemble in the end.
const KillableRun& killable_branching_run();
/// Two ranks that serve each other, batch-norm's statistics of each.
const KillableRun& killable_served_run();

/// What an undisturbed run renames, in order: paths below --out. The run is made once.
const std::vector<std::string>& renames_of(const KillableRun& kind);

/// Kills such a run before or after (`when`) its rename number `at`, from 1, and resumes it. Fails unless all files are those
/// of the undisturbed run, but for the log, and for what names times, speeds, memory and the process.
void expect_same_files_after_kill(const KillableRun& kind, std::size_t at, const std::string& when);

}  // namespace dtrain
