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
  EXPECT_EQ(launched->kind, LauncherKind::open_mpi);
  EXPECT_EQ(launched->at_least, 4);
  EXPECT_EQ(launched->variable, "OMPI_COMM_WORLD_SIZE=4");
  EXPECT_EQ(launched->rank_variable, "OMPI_COMM_WORLD_RANK");
}

TEST(Launcher, IsHydra) {
  const auto launched = launched_with({{"PMI_SIZE", "3"}, {"PMI_RANK", "2"}, {"PMI_FD", "5"}, {"MPI_LOCALNRANKS", "3"}});

  ASSERT_TRUE(launched.has_value());
  EXPECT_EQ(launched->kind, LauncherKind::hydra);
  EXPECT_EQ(launched->at_least, 3);
  EXPECT_EQ(launched->rank, 2);
  EXPECT_TRUE(launched->is_exact);
}

TEST(Launcher, IsHydraOverAPortWhichTellsNoSize) {
  const auto launched =
      launched_with({{"PMI_PORT", "vm:36503"}, {"PMI_ID", "0"}, {"MPI_LOCALNRANKS", "2"}, {"MPI_LOCALRANKID", "0"}});

  ASSERT_TRUE(launched.has_value());
  EXPECT_EQ(launched->kind, LauncherKind::hydra);
  EXPECT_EQ(launched->at_least, 2);
  EXPECT_FALSE(launched->is_exact);
  EXPECT_EQ(launched_with({{"PMI_ID", "5"}, {"MPI_LOCALNRANKS", "1"}})->at_least, 6);  // one of many hosts
}

TEST(Launcher, IsSrunInAStep) {
  const auto launched = launched_with({{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "8"}, {"SLURM_NTASKS", "8"}});

  ASSERT_TRUE(launched.has_value());
  EXPECT_EQ(launched->kind, LauncherKind::srun);
  EXPECT_EQ(launched->name, "srun");
  EXPECT_EQ(launched->at_least, 8);
  EXPECT_EQ(launched->rank, 1);
}

TEST(Launcher, IsSrunAlsoWhereThatSpeaksPmi) {
  const auto launched = launched_with(
      {{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "8"}, {"PMI_FD", "11"}, {"PMI_RANK", "1"}, {"PMI_SIZE", "8"}});

  ASSERT_TRUE(launched.has_value());
  EXPECT_EQ(launched->kind, LauncherKind::srun);
  EXPECT_EQ(launched->at_least, 8);
}

TEST(Launcher, IsNoneInABatchScriptWhichHasTasksButNoStep) {
  EXPECT_FALSE(launched_with({{"SLURM_JOB_ID", "7"}, {"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}}).has_value());
}

TEST(Launcher, IsTheInnermostOneInsideSlurm) {
  const std::map<std::string, std::string> step{{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "4"}};
  auto inside = step;
  inside["OMPI_COMM_WORLD_SIZE"] = "1";
  EXPECT_EQ(launched_with(inside)->kind, LauncherKind::open_mpi);
  EXPECT_EQ(launched_with(inside)->at_least, 1);

  inside = step;
  inside["PMI_SIZE"] = inside["MPI_LOCALNRANKS"] = "4";
  EXPECT_EQ(launched_with(inside)->kind, LauncherKind::hydra);
}

TEST(Launcher, OfWhichOnlyTheRankIsKnownStartedAtLeastThatMany) {
  EXPECT_EQ(launched_with({{"PMIX_RANK", "5"}})->at_least, 6);
  EXPECT_EQ(launched_with({{"PMIX_RANK", "0"}})->at_least, 1);
}

TEST(Launcher, IgnoresValuesThatAreNoNumbers) {
  EXPECT_FALSE(launched_with({{"OMPI_COMM_WORLD_SIZE", ""}, {"PMI_SIZE", "4x"}, {"PMIX_RANK", "-1"}}).has_value());
}

}  // namespace
}  // namespace dtrain
