// The program as users start it: exit codes, what it prints where, alone and under mpirun.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
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

/// run.sh with two ranks that are this shell script; it sees the rank's number.
Outcome run_script(const std::string& rank_script, const std::string& and_then = "") {
  std::string file = "/tmp/dtrain_rank_XXXXXX";
  const int made = mkstemp(file.data());
  if (made < 0) return {};
  close(made);
  std::ofstream(file) << "#!/bin/sh\n" << rank_script << "\n";
  std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  Outcome outcome = shell("DTRAIN=" + file + " timeout 60 bash " SCRIPTS "/run.sh -- " + and_then);
  std::filesystem::remove(file);
  return outcome;
}

TEST(Scripts, RunReturnsTheExitCodeOfTheRanks) {
  for (const int code : {0, 3, 4, 75}) {
    EXPECT_EQ(run_script("exit " + std::to_string(code)).exit_code, code);
  }
}

TEST(Scripts, RunCallsAKilledRankALossOfCommunication) {
  const Outcome outcome = run_script("if [ $OMPI_COMM_WORLD_RANK = 1 ]; then kill -s KILL $$; fi; sleep 30");

  EXPECT_EQ(outcome.exit_code, 4) << outcome.text;
  EXPECT_NE(outcome.text.find("run.sh: a rank was ended by signal 9; exit code 4"), std::string::npos) << outcome.text;
}

TEST(Scripts, RunPassesSignalsOn) {
  const Outcome outcome = run_script("trap 'exit 75' USR1; while :; do sleep 0.1; done",
                                     "& script=$!; sleep 3; pkill -USR1 -P $script bash; wait $script");

  EXPECT_EQ(outcome.exit_code, 75) << outcome.text;
}

TEST(Scripts, RunLetsMpirunNoticeALostHostBeforeTheStallTimeOut) {
  const auto line = [](const std::string& options) { return shell("bash " SCRIPTS "/run.sh --dry-run " + options).text; };
  const std::string keepalive = "oob_tcp_keepalive_time 10 --mca oob_tcp_keepalive_intvl 10 --mca oob_tcp_keepalive_probes 4";

  EXPECT_NE(line("--nodes 2 -- --model resnet50").find(keepalive), std::string::npos) << "for 60 s";
  EXPECT_NE(line("--nodes 2 -- --stall-timeout 12").find("intvl 2 --mca oob_tcp_keepalive_probes 4"), std::string::npos);
  EXPECT_NE(line("--nodes 2 -- --stall-timeout=12.5").find("intvl 2 --mca oob_tcp_keepalive_probes 4"), std::string::npos);
  EXPECT_NE(line("--nodes 2 -- --stall-timeout 3").find("intvl 1 --mca oob_tcp_keepalive_probes 1"), std::string::npos);
  EXPECT_NE(line("--nodes 2 -- --stall-timeout soon").find(keepalive), std::string::npos) << "dtrain refuses it";
  EXPECT_EQ(line("-- --model resnet50").find("keepalive"), std::string::npos) << "one machine";
}

}  // namespace
