// The program as users start it: exit codes, what it prints where, alone and under mpirun.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "tests/shell.hpp"

namespace {

using dtrain::shell;
using Outcome = dtrain::ShellOutcome;

Outcome run_dtrain(const std::string& arguments) { return shell(std::string(DTRAIN_PROGRAM) + " " + arguments); }

Outcome mpirun_dtrain(int ranks, const std::string& arguments) {
  return shell("OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout 120 " MPIRUN " -np " + std::to_string(ranks) +
               " --oversubscribe --bind-to none " DTRAIN_PROGRAM " " + arguments);
}

std::size_t occurrences(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

TEST(Program, ShowsHelpAndVersion) {
  EXPECT_EQ(run_dtrain("--help").exit_code, 0);
  EXPECT_NE(run_dtrain("--help").text.find("--global-batch"), std::string::npos);
  EXPECT_EQ(run_dtrain("--version").exit_code, 0);
  EXPECT_EQ(run_dtrain("").exit_code, 0);
}

TEST(Program, AFaultyCommandLineIsExitCodeTwoWithEveryFault) {
  const Outcome outcome = run_dtrain("--modle resnet50 --lr fast --momentum 2");

  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.text.find("try: --model"), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find("--lr"), std::string::npos);
  EXPECT_NE(outcome.text.find("--momentum"), std::string::npos);
}

TEST(Program, MissingDataIsExitCodeThree) {
  const Outcome outcome = run_dtrain("--data /nonexistent --steps 1");

  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_NE(outcome.text.find("/nonexistent"), std::string::npos) << outcome.text;
}

TEST(Program, AMissingFileIsExitCodeThree) { EXPECT_EQ(run_dtrain("inspect /nonexistent.safetensors").exit_code, 3); }

TEST(Program, UnderMpirunAFaultyCommandLineIsSaidOnce) {
  const Outcome outcome = mpirun_dtrain(3, "--modle resnet50");

  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(occurrences(outcome.text, "try: --model"), 1u) << outcome.text;
}

TEST(Program, UnderMpirunAnErrorThatAllRanksMeetIsSaidOnce) {
  const Outcome outcome = mpirun_dtrain(3, "--data /nonexistent --steps 1 --global-batch 3");

  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_EQ(occurrences(outcome.text, "/nonexistent"), 1u) << outcome.text;
}

TEST(Program, UnderMpirunTheMapHasALineForEachRank) {
  const Outcome outcome = mpirun_dtrain(2, "topo");

  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(occurrences(outcome.text, "NUMA domain"), 1u) << outcome.text;
  EXPECT_EQ(occurrences(outcome.text, "\n  0 "), 1u) << outcome.text;
  EXPECT_EQ(occurrences(outcome.text, "\n  1 "), 1u) << outcome.text;
}

TEST(Program, RanksOfOneMachineDivideItHoweverNodesAreCounted) {
  const Outcome outcome = mpirun_dtrain(2, "topo --ranks-per-node 1");

  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(occurrences(outcome.text, "NUMA domain"), 1u) << outcome.text;
  EXPECT_EQ(occurrences(outcome.text, "\n  1 "), 1u) << outcome.text;
}

TEST(Program, UnderMpirunACommandWithoutRanksRunsOnce) {
  const Outcome outcome = mpirun_dtrain(2, "models");

  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(occurrences(outcome.text, "resnet152 "), 1u) << outcome.text;
}

TEST(Scripts, AreValidBash) {
  for (const char* script : {"packages.sh", "quickstart.sh", "run.sh", "slurm.sbatch"}) {
    EXPECT_EQ(shell("bash -n " SCRIPTS "/" + std::string(script)).exit_code, 0) << script;
  }
}

TEST(Scripts, RunShowsTheLineItWouldRun) {
  const Outcome outcome = shell("bash " SCRIPTS "/run.sh --dry-run --nodes 4 -- --model resnet50");

  EXPECT_EQ(outcome.exit_code, 0) << outcome.text;
  EXPECT_NE(outcome.text.find("-np 8 --map-by ppr:2:node --bind-to none"), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find("--model resnet50"), std::string::npos) << outcome.text;
}

}  // namespace
