// Launches that cannot go well are refused at the start, once and promptly, with what mends them.
#include <gtest/gtest.h>

#include <iterator>
#include <utility>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

using Words = std::vector<std::string>;

Words operator+(Words first, const Words& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

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
  Words line{DTRAIN_MPIEXEC, "--oversubscribe", "--bind-to", "none"};
  for (const Rank& rank : ranks) {
    if (&rank != &ranks.front()) line.emplace_back(":");
    line = line + Words{"-np", "1", "env"} + rank.environment + Words{rank.program} + arguments;
  }
  return {.line = line};
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

}  // namespace
}  // namespace dtrain
