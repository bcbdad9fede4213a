// Launches that cannot go well are refused at the start, once and promptly, with what mends them.
#include <gtest/gtest.h>
#include <sched.h>

#include <utility>

#include "dtrain/cpu.hpp"
#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

void expect_refused_once(const Outcome& outcome, int exit_code, const Words& says) {
  EXPECT_EQ(outcome.exit_code, exit_code) << outcome;
  for (const std::string& text : says) EXPECT_EQ(outcome.count(text), 1) << "\"" << text << "\" in " << outcome;
  EXPECT_FALSE(outcome.says("images/s")) << outcome;
}

/// What runs on ranks, a few steps of it.
const std::vector<Words>& rank_commands() {
  static const std::vector<Words> commands{
      {"train", "--model", "resnet20", "--num-classes", "10", "--threads", "1", "--steps", "1", "--global-batch", "4"},
      {"eval", "--model", "resnet20", "--num-classes", "10", "--threads", "1", "--data", "synthetic", "--synthetic-size", "8",
       "--weights", "no.safetensors"},
      {"bench", "--models", "resnet20", "--threads", "1", "--batches", "2", "--steps", "1", "--warmup", "0"},
      {"topo"},
      {"models", "--plan", "resnet20"}};
  return commands;
}

/// One rank of each program, with its own environment, under one mpirun.
struct Rank {
  std::string program = DTRAIN_BINARY;
  Words environment{};
};
Command unlike_ranks(const std::vector<Rank>& ranks, const Words& arguments) {
  std::vector<Words> commands;
  for (const Rank& rank : ranks) commands.push_back(Words{"env"} + rank.environment + Words{rank.program} + arguments);
  return {.line = mpirun_line(commands)};
}

class OtherMpirun : public testing::Test {
 protected:
  void SetUp() override {
    if (mpirun_.empty()) GTEST_SKIP() << "no mpirun.mpich; launch/packages.sh --with-tests installs it";
  }
  const std::string mpirun_ = DTRAIN_OTHER_MPIRUN;
};

TEST_F(OtherMpirun, IsRefusedOnceForAllItsProcessesWithTheRightOne) {
  for (const Words& command : rank_commands()) {
    const Outcome outcome = run({.line = Words{mpirun_, "-np", "3", DTRAIN_BINARY} + command}, kPromptlyS);

    expect_refused_once(outcome, 4, {"3 ranks, which mpiexec (Hydra", "found 1 in Open MPI", "/bin/mpirun"});
    EXPECT_FALSE(outcome.says("MPI_ABORT")) << outcome;
  }
}

TEST_F(OtherMpirun, IsRefusedAlsoWhereItTellsNoProcessTheirNumber) {
  const Outcome outcome =
      run({.line = Words{mpirun_, "-pmi-port", "-np", "4", DTRAIN_BINARY} + rank_commands().front()}, kPromptlyS);

  EXPECT_EQ(outcome.exit_code, 4) << outcome;
  EXPECT_TRUE(outcome.says("at least 4 ranks, which mpiexec (Hydra")) << outcome;
}

TEST_F(OtherMpirun, StartsOneRankWhichIsNoFault) {
  const Outcome outcome = run({.line = {mpirun_, "-np", "1", DTRAIN_BINARY, "topo"}});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
}

TEST(Program, OfAnotherVersionOnARankIsRefusedForEveryCommand) {
  for (const Words& command : rank_commands()) {
    const Outcome outcome = run(unlike_ranks({{}, {}, {.program = DTRAIN_OTHER_VERSION}}, command), kPromptlyS);

    expect_refused_once(outcome, 4,
                        {"dtrain version: \"", "on rank 0 (host ", "but \"0.0.9+0123456789ab\" on rank 2 (host ",
                         "ranks that differ: 2 (host ", "one build of dtrain"});
  }
}

TEST(Program, OfAnotherVersionOnRankZeroIsRefusedToo) {
  const Outcome outcome = run(unlike_ranks({{.program = DTRAIN_OTHER_VERSION}, {}, {}}, {"topo"}), kPromptlyS);

  expect_refused_once(outcome, 4, {"\"0.0.9+0123456789ab\" on rank 0", "ranks that differ: 1, 2"});
}

TEST(Program, WithOtherLibrariesOnARankIsRefusedWithTheVersionsOfEach) {
  const Outcome outcome =
      run(unlike_ranks({{}, {.environment = {"LD_PRELOAD=" OTHER_LIBRARIES}}}, rank_commands().front()), kPromptlyS);

  expect_refused_once(
      outcome, 4,
      {"oneDNN version: \"", "but \"1.0.7\" on rank 1", "MPI library: \"Open MPI v", "but \"Open MPI v1.0.7\" on rank 1"});
  EXPECT_FALSE(outcome.says("dtrain version: ")) << outcome;
}

/// Two ranks, of which the second is told otherwise.
Outcome told_differently(const Words& first, const Words& second) {
  return run({.ranks = 2, .arguments = {}, .line = mpirun_line({Words{DTRAIN_BINARY} + first, Words{DTRAIN_BINARY} + second})},
             kPromptlyS);
}

// Each of these decides when ranks meet, or what rank 0 does for all.
TEST(Options, ThatDifferBetweenRanksAreRefusedByName) {
  const std::vector<std::pair<Words, Words>> pairs{
      {{"--shared-update", "off"}, {"--shared-update", "on"}},
      {{"--checkpoint-every", "1"}, {"--checkpoint-every", "7"}},
      {{"--eval-every", "off"}, {}},
      {{"--overlap", "off"}, {"--overlap", "forward"}},
      {{"--check-replicas", "off"}, {"--check-replicas", "3"}},
      {{"--bind", "none"}, {}},
      {{"--init-from", "one.safetensors"}, {"--init-from", "other.safetensors"}},
      {{"--out", "one"}, {}},
  };
  Words here = training({"--steps", "2"});
  Words there = here;
  Words says{"comparing the options of the ranks"};
  for (const auto& [first, second] : pairs) {
    here = here + first;
    there = there + second;
    says.push_back(first.at(0) + ": \"" + first.at(1) + "\" on rank 0 (host ");
  }

  expect_refused_once(told_differently(here, there), 2, says);
}

// Ranks are split into nodes before they can say anything else to each other.
TEST(Options, OfNodesAreComparedBeforeTheRanksAreSplit) {
  const Outcome outcome = told_differently(training({"--ranks-per-node", "1"}), training({}));

  expect_refused_once(outcome, 2, {"--ranks-per-node: \"1\" on rank 0 (host ", "ranks that differ: 1 (host "});
}

TEST(Options, OfAnotherCommandAreRefusedByIt) {
  const Outcome outcome = told_differently(rank_commands().at(0), rank_commands().at(1));

  expect_refused_once(outcome, 2, {"command: \"dtrain train\" on rank 0", "but \"dtrain eval\" on rank 1"});
}

TEST(Options, OfAHostMayDiffer) {
  const Outcome outcome = told_differently(training({"--steps", "2", "--workers", "1"}),
                                           training_on(copy_of_demo_data(), {"--steps", "2", "--workers", "2"}));

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
}

/// This CPU with the others' instructions.
const std::string kFewer = "ONEDNN_MAX_CPU_ISA=AVX2";

/// A CPU that has no more than these cannot play two kinds.
bool is_mixed() { return common_instruction_set({instruction_set(), "AVX2"}) == "AVX2" && instruction_set() != "AVX2"; }

TEST(MixedCpus, AreRefusedWithWhatMakesThemAlike) {
  if (!is_mixed()) GTEST_SKIP() << "a CPU with AVX2 and more is needed, this one has " << instruction_set();
  for (std::size_t command = 0; command < 3; ++command) {
    const Outcome outcome = run(unlike_ranks({{}, {.environment = {kFewer}}}, rank_commands().at(command)), kPromptlyS);

    expect_refused_once(outcome, 4,
                        {"instructions: \"" + instruction_set() + "\" on rank 0", "but \"AVX2\" on rank 1",
                         "mpirun -x ONEDNN_MAX_CPU_ISA=AVX2 …", "--mixed-cpus allow"});
  }
}

TEST(MixedCpus, AreShownByTopoAndRefuseNothingThere) {
  if (!is_mixed()) GTEST_SKIP() << "a CPU with AVX2 and more is needed, this one has " << instruction_set();
  const Outcome outcome = run(unlike_ranks({{}, {.environment = {kFewer}}}, {"topo"}));

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("\n  1 ")) << outcome;
  EXPECT_EQ(outcome.count("but \"AVX2\" on rank 1"), 1) << outcome;
}

TEST(MixedCpus, TrainOnPlainLayoutsWhereAllowedAndAreTold) {
  if (!is_mixed()) GTEST_SKIP() << "a CPU with AVX2 and more is needed, this one has " << instruction_set();
  const Outcome outcome =
      run(unlike_ranks({{}, {.environment = {kFewer}}}, rank_commands().front() + Words{"--mixed-cpus", "allow"}));

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(outcome.count("but \"AVX2\" on rank 1"), 1) << outcome;
  EXPECT_TRUE(outcome.says("all use the plain one")) << outcome;
  EXPECT_TRUE(outcome.says("total images/sec")) << outcome;
}

TEST(MixedCpus, AreAlikeWithTheRemedy) {
  const Outcome outcome =
      run({.line = Words{DTRAIN_MPIEXEC, "-np", "2", "--oversubscribe", "--bind-to", "none", "-x", kFewer, DTRAIN_BINARY} +
                   rank_commands().front()});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_FALSE(outcome.says("on rank 1")) << outcome;
  EXPECT_FALSE(outcome.says("all use the plain one")) << outcome;
}

// Each rank judges the command line for the CPU it is on.
TEST(MixedCpus, OfWhichOneLacksWhatIsAskedForSayThat) {
  if (!is_mixed()) GTEST_SKIP() << "a CPU with AVX2 and more is needed, this one has " << instruction_set();
  const Outcome outcome =
      run(unlike_ranks({{}, {.environment = {kFewer}}}, rank_commands().front() + Words{"--precision", "bf16", "--allow-slow"}),
          kPromptlyS);

  expect_refused_once(outcome, 2, {"[rank 1 on ", "--precision bf16: expected a CPU"});
}

/// mpirun for two ranks that may be more than it has slots, with further words.
Words two_ranks(const Words& options) { return Words{DTRAIN_MPIEXEC, "-np", "2", "--oversubscribe"} + options; }

/// CPUs of this process as taskset counts them.
std::vector<int> own_cpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof mask, &mask) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
  }
  return cpus;
}

/// Two ranks on one CPU, while there are others.
class SharedCore : public testing::Test {
 protected:
  void SetUp() override {
    if (own_cpus().size() < 2) GTEST_SKIP() << "two CPUs are needed";
  }
  const Words on_one_cpu_{"taskset", "-c", std::to_string(own_cpus().at(0))};
  const std::string shared_ = "that the launcher bound ranks 0, 1 to core";
};

TEST_F(SharedCore, IsRefusedWithTheLineThatMendsIt) {
  for (std::size_t command = 0; command < 3; ++command) {
    const Outcome outcome =
        run({.line = two_ranks({"--bind-to", "none"}) + on_one_cpu_ + Words{DTRAIN_BINARY} + rank_commands().at(command)},
            kPromptlyS);

    expect_refused_once(outcome, 2, {shared_, "mpirun --bind-to none …", "or --bind none"});
  }
}

TEST_F(SharedCore, IsRefusedAlsoWhenMpirunItselfAndAScriptAreInBetween) {
  const Words binding{"--bind-to", "core:overload-allowed", "--cpu-list", "0"};
  const Words script{"sh", "-c", "\"$0\" \"$@\"; exit $?", DTRAIN_BINARY};
  const Outcome direct = run({.line = two_ranks(binding) + Words{DTRAIN_BINARY} + rank_commands().front()}, kPromptlyS);
  const Outcome by_script = run({.line = two_ranks(binding) + script + rank_commands().front()}, kPromptlyS);

  expect_refused_once(direct, 2, {shared_});
  expect_refused_once(by_script, 2, {shared_});
}

TEST_F(SharedCore, IsShownByTopoWhichRefusesNothing) {
  const Outcome outcome = run({.line = two_ranks({}) + on_one_cpu_ + Words{DTRAIN_BINARY, "topo"}});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(outcome.count("not bound, shared"), 2) << outcome;
  EXPECT_EQ(outcome.count(shared_), 1) << outcome;
}

TEST_F(SharedCore, IsUsedWhereTheUserSaysSo) {
  const Outcome outcome =
      run({.line = two_ranks({}) + on_one_cpu_ + Words{DTRAIN_BINARY} + rank_commands().front() + Words{"--bind", "none"}});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(outcome.count(shared_), 1) << outcome;
}

TEST_F(SharedCore, IsNoFaultWhereMpirunHasNoOther) {
  const Outcome outcome =
      run({.line = on_one_cpu_ + two_ranks({"--bind-to", "none"}) + Words{DTRAIN_BINARY} + rank_commands().front()});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_FALSE(outcome.says(shared_)) << outcome;
  EXPECT_TRUE(outcome.says("at most 1 rank on this node")) << outcome;
}

TEST_F(SharedCore, IsMendedByTheLine) {
  const Outcome outcome = run({.line = two_ranks({"--bind-to", "none"}) + Words{DTRAIN_BINARY} + rank_commands().front()});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_FALSE(outcome.says("wait for each other")) << outcome;
}

// On a machine of whatever size: bound to nothing, the system spreads them.
TEST(MoreRanksThanCores, AreToldAndRun) {
  const std::string ranks = std::to_string(own_cpus().size() + 1);
  if (own_cpus().size() > 8) GTEST_SKIP() << "more than eight CPUs want too many ranks";
  const Outcome outcome = run({.line = Words{DTRAIN_MPIEXEC, "-np", ranks, "--oversubscribe", DTRAIN_BINARY, "train", "--model",
                                             "resnet20", "--num-classes", "10", "--steps", "1", "--global-batch", ranks}});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("ranks wait for each other")) << outcome;
}

// The run-time gives fewer threads than it promises: kernels would wait for the others for ever.
TEST(FewerThreads, ThanCoresIsWhatALimitLeavesAndIsTold) {
  if (own_cpus().size() < 2) GTEST_SKIP() << "a machine of one CPU has one thread anyway";
  for (const std::string variable : {"OMP_THREAD_LIMIT=1", "OMP_MAX_ACTIVE_LEVELS=0", "OMP_NUM_THREADS=1"}) {
    SCOPED_TRACE(variable);
    const Outcome outcome =
        run({.arguments = {"train", "--model", "lenet5", "--global-batch", "16", "--steps", "2"}, .environment = {variable}},
            kPromptlyS);

    EXPECT_EQ(outcome.exit_code, 0) << outcome;
    EXPECT_EQ(outcome.count("warning: [rank 0"), 1) << outcome;
    EXPECT_TRUE(outcome.says(variable + " in the environment")) << outcome;
  }
}

}  // namespace
}  // namespace dtrain
