// A run that was killed before or after any of its renames ends, after resuming, in the files of a run that never was.
#include <gtest/gtest.h>

#include "tests/end_to_end/killed_runs.hpp"

namespace dtrain {
namespace {

void kill_at_every_rename(const KillableRun& kind) {
  const std::size_t renames = renames_of(kind).size();
  for (std::size_t at = 1; at <= renames; ++at) {
    for (const char* when : {"before", "after"}) expect_same_files_after_kill(kind, at, when);
  }
}

TEST(KilledAnywhere, ARunWithBranchesAndAveragesHasTheFilesOfOneThatNeverWas) {
  kill_at_every_rename(killable_branching_run());
}

TEST(KilledAnywhere, AServedRunHasTheFilesOfOneThatNeverWas) { kill_at_every_rename(killable_served_run()); }

TEST(KilledAnywhere, HereIsAtAHundredPlaces) {
  EXPECT_GE(2 * (renames_of(killable_branching_run()).size() + renames_of(killable_served_run()).size()), 100U);
}

}  // namespace
}  // namespace dtrain
