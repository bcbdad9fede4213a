// A run that was killed while it wrote its last files ends, after resuming, in the files of a run that never was.
#include <gtest/gtest.h>

#include "tests/end_to_end/killed_runs.hpp"

namespace dtrain {
namespace {

/// Last checkpoint, last weights, their average, status, report, status.
constexpr std::size_t kLastRenames = 6;

TEST(KilledAtTheEnd, HasTheFilesOfARunThatNeverWas) {
  const std::size_t renames = renames_of(killable_branching_run()).size();

  for (std::size_t at = renames - kLastRenames + 1; at <= renames; ++at) {
    for (const char* when : {"before", "after"}) expect_same_files_after_kill(killable_branching_run(), at, when);
  }
}

}  // namespace
}  // namespace dtrain
