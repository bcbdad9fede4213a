// The program as users start it: exit codes, what it prints where, alone and under mpirun.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

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

Outcome shown_line(const std::string& options) { return shell("bash " SCRIPTS "/run.sh --dry-run " + options + " -- topo"); }

TEST(Scripts, RunTakesRanksAHost) {
  const auto shows = [](const std::string& options, const std::string& text) {
    const Outcome outcome = shown_line(options);
    EXPECT_NE(outcome.text.find(text), std::string::npos) << options << ": " << outcome.text;
  };

  shows("--hosts localhost:2", "-np 2 --map-by ppr:2:node --bind-to none --host localhost:2 ");
  shows("--hosts n1,n2", "-np 4 --map-by ppr:2:node --bind-to none --host n1:2\\,n2:2 ");
  shows("--hosts n1:4,n2:1", "-np 5 --map-by slot --bind-to none --host n1:4\\,n2:1 ");
  shows("--hosts n1:1,n2:1,n1:1", "-np 3 --map-by slot --bind-to none --host n1:2\\,n2:1 ");
  shows("--hosts n1,n2 --nodes 1", "-np 2 --map-by ppr:2:node --bind-to none --host n1:2 ");
}

TEST(Scripts, RunReadsHostfilesOfEveryKind) {
  const auto shows = [](const std::string& lines, const std::string& options, const std::string& text) {
    const std::string file = testing::TempDir() + "dtrain_hostfile";
    std::ofstream(file) << lines;
    const Outcome outcome = shown_line("--hostfile " + file + " " + options);
    EXPECT_NE(outcome.text.find(text), std::string::npos) << lines << outcome.text;
    std::filesystem::remove(file);
  };

  shows("# two hosts\nn1 slots=3 max_slots=4\n\nn2 slots=3\n", "",
        "-np 6 --map-by ppr:3:node --bind-to none --host n1:3\\,n2:3 ");
  shows("n1:3\nn2\n", "", "--host n1:3\\,n2:2 ");
  shows("n1\nn1\nn1\nn2\nn2\nn2", "", "--host n1:3\\,n2:3 ");                    // $PBS_NODEFILE
  shows("n1\nn1\nn1\nn2\nn2\nn2", "--ranks-per-node 1", "--host n1:1\\,n2:1 ");  // of a node of three cores
}

TEST(Scripts, RunRefusesHostsInItsOwnWords) {
  for (const auto& [options, text] : std::vector<std::pair<std::string, std::string>>{
           {"--hosts ,", "expected the name of a host"},
           {"--hosts a,,b", "expected the name of a host"},
           {"--hosts -x", "expected the name of a host, found '-x'"},
           {"--hosts a:0", "ranks of 'a': expected a whole number from 1, found '0'"},
           {"--hosts a:2:2", "ranks of 'a'"},
           {"--hosts a,b --nodes 3", "--nodes 3: expected at most as many as hosts are named, 2"},
           {"--ranks-per-node 99999999999999999999", "--ranks-per-node: expected a whole number"},
           {"--hostfile /nonexistent", "cannot read '/nonexistent'"},
           {"--hostfile /dev/null", "found none"}}) {
    const Outcome outcome = shown_line(options);

    EXPECT_EQ(outcome.exit_code, 2) << options;
    EXPECT_NE(outcome.text.find("run.sh: "), std::string::npos) << options << ": " << outcome.text;
    EXPECT_NE(outcome.text.find(text), std::string::npos) << options << ": " << outcome.text;
  }
}

TEST(Scripts, RunStartsRanksOnANamedHost) {
  const Outcome outcome = shell("DTRAIN=" DTRAIN_PROGRAM " timeout 60 bash " SCRIPTS "/run.sh --hosts localhost:2 -- topo");

  EXPECT_EQ(outcome.exit_code, 0) << outcome.text;
  EXPECT_EQ(occurrences(outcome.text, "\n  1 "), 1u) << outcome.text;
}

TEST(Scripts, RunSaysThatAHostIsUnknown) {
  const Outcome outcome =
      shell("DTRAIN=" DTRAIN_PROGRAM " timeout 60 bash " SCRIPTS "/run.sh --hosts no-such-host.invalid:2 -- topo");

  EXPECT_EQ(outcome.exit_code, 4) << outcome.text;
  EXPECT_NE(outcome.text.find("run.sh: mpirun failed, with its code 255"), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find("no host of the name 'no-such-host.invalid' is known"), std::string::npos) << outcome.text;
  EXPECT_EQ(outcome.text.find("signal"), std::string::npos) << outcome.text;
}

TEST(Scripts, RunSaysThatThereIsNoMpirun) {
  const Outcome outcome = shell(
      "mkdir -p /tmp/dtrain_no_mpirun && cd /tmp/dtrain_no_mpirun && for t in bash id nproc sed dirname; do "
      "ln -sf $(command -v $t) $t; done; PATH=$PWD DTRAIN=/bin/true bash " SCRIPTS "/run.sh -- topo");
  std::filesystem::remove_all("/tmp/dtrain_no_mpirun");

  EXPECT_EQ(outcome.exit_code, 2) << outcome.text;
  EXPECT_NE(outcome.text.find("run.sh: no mpirun on the path"), std::string::npos) << outcome.text;
}

/// A rank's script that leaves a verdict in the directory of --out, as a run does.
std::string leaving(const std::string& state, int exit_code, int step) {
  return "printf '{\\n \"state\": \"" + state + "\",\\n \"exit_code\": " + std::to_string(exit_code) +
         ",\\n \"step\": " + std::to_string(step) +
         ",\\n \"pid\": %d,\\n \"started\": \"2030-01-31T23:59:59Z\"\\n}\\n' $$ > \"$VERDICT/status.json\"";
}

class Verdict : public testing::Test {
 protected:
  Verdict() { std::filesystem::create_directories(out_); }
  ~Verdict() override { std::filesystem::remove_all(out_); }
  std::string out_ = testing::TempDir() + "dtrain_verdict";
};

TEST_F(Verdict, OfTheRunCountsMoreThanMpirunsCode) {
  setenv("VERDICT", out_.c_str(), 1);

  EXPECT_EQ(run_script("if [ $OMPI_COMM_WORLD_RANK = 0 ]; then " + leaving("stopped", 75, 8) + "; fi; exit 0", "--out " + out_)
                .exit_code,
            75);
  EXPECT_EQ(run_script("exit 3", "--out=" + out_).exit_code, 3) << "it is that of an earlier run";
  unsetenv("VERDICT");
}

TEST_F(Verdict, DecidesWhetherAJobIsQueuedAgain) {
  struct Case {
    std::string before, run;
    int exit_code;
    bool is_queued;
  };
  const std::string nothing = ":";
  for (const Case& c : {Case{nothing, leaving("stopped", 75, 8) + "; exit 0", 0, true},  // MPICH's 0
                        Case{nothing, leaving("stopped", 75, 8) + "; exit 75", 0, true},
                        Case{leaving("stopped", 75, 8), leaving("stopped", 75, 8) + "; exit 75", 75, false},  // no step more
                        Case{leaving("stopped", 75, 8), leaving("stopped", 75, 9) + "; exit 75", 0, true},
                        Case{leaving("stopped", 75, 8), leaving("done", 0, 9) + "; exit 0", 0, false},
                        Case{leaving("stopped", 75, 8), "exit 3", 3, false},  // before it began
                        Case{leaving("stopped", 75, 8), leaving("failed", 5, 9) + "; exit 7", 5, false},
                        Case{nothing, leaving("running", 0, 9) + "; exit 137", 137, false}}) {
    const std::string bin = out_ + "/bin";
    std::filesystem::remove_all(out_);
    std::filesystem::create_directories(bin);
    std::ofstream(bin + "/srun") << "#!/bin/sh\n" << c.run << "\n";
    std::ofstream(bin + "/before") << c.before << "\n";
    std::ofstream(bin + "/scontrol") << "#!/bin/sh\necho \"$@\" > $VERDICT/queued\n";
    for (const char* name : {"/srun", "/scontrol"}) {
      std::filesystem::permissions(bin + name, std::filesystem::perms::owner_all);
    }

    const Outcome outcome =
        shell("export VERDICT=" + out_ + " OUT=" + out_ + " PATH=" + bin +
              ":$PATH SLURM_SUBMIT_DIR=/ SLURM_NTASKS=2 SLURM_JOB_ID=17; sh " + bin + "/before; bash " SCRIPTS "/slurm.sbatch");

    EXPECT_EQ(outcome.exit_code, c.exit_code) << c.before << "\n" << c.run << "\n" << outcome.text;
    EXPECT_EQ(std::filesystem::exists(out_ + "/queued"), c.is_queued) << c.before << "\n" << c.run << "\n" << outcome.text;
  }
}

TEST(Program, NamesTheVariablesThatTakeThreadsAway) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "a machine of one CPU has none to give away";
  const auto topo = [](const std::string& environment, const std::string& options = "") {
    return shell("unset OMP_NUM_THREADS; " + environment + " " DTRAIN_PROGRAM " topo " + options).text;
  };

  EXPECT_NE(topo("OMP_NUM_THREADS=1").find("OMP_NUM_THREADS=1 in the environment: 1 thread"), std::string::npos);
  EXPECT_EQ(topo("OMP_NUM_THREADS=1", "--threads 1").find("warning"), std::string::npos);
  EXPECT_NE(topo("GOMP_CPU_AFFINITY=0").find("GOMP_CPU_AFFINITY=0 in the environment: CPU 0 alone"), std::string::npos);
  EXPECT_NE(topo("OMP_THREAD_LIMIT=1").find("OMP_THREAD_LIMIT=1 in the environment: 1 thread"), std::string::npos);
  EXPECT_NE(topo("OMP_THREAD_LIMIT=1", "--threads 2").find("--threads 2: expected at most 1"), std::string::npos);
  EXPECT_EQ(topo("").find("warning"), std::string::npos);
}

}  // namespace
