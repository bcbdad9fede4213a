// What launchers leave in the environment, as observed under mpirun, Hydra, srun, sbatch and mpirun inside sbatch.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "collectives/launcher.hpp"

namespace dtrain {
namespace {

std::optional<LaunchedRanks> launched_with(const std::map<std::string, std::string>& variables) {
  return launched_ranks([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(Launcher, IsNoneInAnOrdinaryShell) { EXPECT_FALSE(launched_with({{"HOME", "/root"}}).has_value()); }

TEST(Launcher, IsOpenMpisMpirun) {
  const auto launched = launched_with({{"OMPI_COMM_WORLD_SIZE", "4"}, {"PMIX_RANK", "2"}});

  ASSERT_TRUE(launched.has_value());
  EXPECT_EQ(launched->at_least, 4);
  EXPECT_EQ(launched->variable, "OMPI_COMM_WORLD_SIZE=4");
}

TEST(Launcher, IsHydra) {
  const auto launched = launched_with({{"PMI_SIZE", "3"}, {"PMI_RANK", "0"}, {"PMI_FD", "5"}});

  ASSERT_TRUE(launched.has_value());
  EXPECT_EQ(launched->at_least, 3);
}

TEST(Launcher, IsSrunInAStep) {
  const auto launched = launched_with({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "8"}, {"SLURM_NTASKS", "8"}});

  ASSERT_TRUE(launched.has_value());
  EXPECT_EQ(launched->launcher, "srun");
  EXPECT_EQ(launched->at_least, 8);
}

TEST(Launcher, IsNoneInABatchScriptWhichHasTasksButNoStep) {
  EXPECT_FALSE(launched_with({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}}).has_value());
}

TEST(Launcher, IsTheInnermostOneWhenMpirunRunsInsideSlurm) {
  const auto launched = launched_with({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"OMPI_COMM_WORLD_SIZE", "1"}});

  ASSERT_TRUE(launched.has_value());
  EXPECT_EQ(launched->at_least, 1);
}

TEST(Launcher, OfWhichOnlyTheRankIsKnownStartedAtLeastThatMany) {
  EXPECT_EQ(launched_with({{"PMIX_RANK", "5"}})->at_least, 6);
  EXPECT_EQ(launched_with({{"PMIX_RANK", "0"}})->at_least, 1);
}

TEST(Launcher, IgnoresValuesThatAreNoNumbers) {
  EXPECT_FALSE(launched_with({{"OMPI_COMM_WORLD_SIZE", ""}, {"PMI_SIZE", "4x"}, {"PMIX_RANK", "-"}}).has_value());
}

}  // namespace
}  // namespace dtrain
