// What the kernel says of processes that run, are stopped, have ended, or are others than they were.
#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "collectives/rank_processes.hpp"
#include "tests/collectives/child_process.hpp"

namespace dtrain {
namespace {

TEST(RankProcesses, KnowsThisProcess) {
  const std::optional<ProcessIdentity> own = own_process();

  ASSERT_TRUE(own);
  EXPECT_EQ(own->pid, getpid());
  EXPECT_EQ(own->numbering.rfind("pid:[", 0), 0U) << own->numbering;
  EXPECT_EQ(RankProcesses({{.rank = 5, .process = *own}}).state(5), ProcessState::running);
}

TEST(RankProcesses, TellsRunningStoppedAndEndedApart) {
  ChildProcess child;
  RankProcesses processes({{.rank = 3, .process = child.identity()}});

  EXPECT_EQ(processes.state(3), ProcessState::running);
  EXPECT_FALSE(processes.find_ended());
  child.signal(SIGSTOP);
  child.wait_for(WSTOPPED);
  EXPECT_EQ(processes.state(3), ProcessState::stopped);
  EXPECT_FALSE(processes.find_ended());
  child.signal(SIGKILL);
  child.wait_for(WEXITED);
  EXPECT_EQ(processes.state(3), ProcessState::ended) << "it waits to be collected";
  EXPECT_EQ(processes.find_ended(), 3);
  child.collect();
  EXPECT_EQ(processes.state(3), ProcessState::ended) << "there is no such process";
  EXPECT_EQ(processes.find_ended(), 3);
}

TEST(RankProcesses, FindsOneThatHasBeenStoppedForLong) {
  ChildProcess child;
  RankProcesses processes({{.rank = 3, .process = child.identity()}});
  const auto look = [&](double now_s) {
    EXPECT_FALSE(processes.find_ended());
    return processes.find_stopped(now_s, 5.0);
  };

  EXPECT_FALSE(look(10.0));
  child.signal(SIGSTOP);
  child.wait_for(WSTOPPED);
  EXPECT_FALSE(look(20.0));
  EXPECT_FALSE(look(24.0));
  EXPECT_EQ(look(25.0), 3);
  child.signal(SIGCONT);
  child.wait_for(WCONTINUED);
  EXPECT_FALSE(look(26.0)) << "it runs";
  child.signal(SIGSTOP);
  child.wait_for(WSTOPPED);
  EXPECT_FALSE(look(27.0)) << "counts anew";
  processes.forget_stops();
  EXPECT_FALSE(look(33.0)) << "counts anew";
  EXPECT_EQ(look(38.0), 3);
}

TEST(RankProcesses, AnotherProcessOfTheSameNumberIsNotTheRank) {
  ChildProcess child;
  ProcessIdentity earlier = child.identity();
  --earlier.started;

  EXPECT_EQ(RankProcesses({{.rank = 0, .process = earlier}}).state(0), ProcessState::ended);
}

TEST(RankProcesses, KnowsNothingOfRanksElsewhere) {
  RankProcesses processes({});

  EXPECT_EQ(processes.state(1), std::nullopt);
  EXPECT_EQ(processes.pid(1), 0);
  EXPECT_FALSE(processes.find_ended());
}

TEST(RankProcesses, FindsOneThatHasEndedAmongMany) {
  ChildProcess running, ended;
  std::vector<RankProcesses::Entry> entries;
  for (int rank = 0; rank < 100; ++rank) entries.push_back({.rank = rank, .process = running.identity()});
  entries[77].process = ended.identity();
  ended.signal(SIGKILL);
  ended.collect();
  RankProcesses processes(entries);

  std::optional<int> found;
  for (int looks = 0; looks < 7 && !found; ++looks) found = processes.find_ended();

  EXPECT_EQ(found, 77);
}

// A rank with an error of its own speaks for itself: it is not one that was killed.
TEST(RankProcesses, OneThatLeftHasNotBeenKilled) {
  ChildProcess child([] { show_leaving(Leaving::by_own_error); });
  RankProcesses processes({{.rank = 1, .process = child.identity()}});

  EXPECT_EQ(processes.state(1), ProcessState::leaving);
  EXPECT_FALSE(processes.find_ended());
  EXPECT_TRUE(processes.has_own_error());
  child.signal(SIGKILL);
  child.collect();
  EXPECT_FALSE(processes.find_ended());
  EXPECT_EQ(processes.state(1), ProcessState::leaving);
}

TEST(RankProcesses, OneThatLostOthersHasNotBeenKilledEither) {
  ChildProcess child([] { show_leaving(Leaving::others_lost); });
  RankProcesses processes({{.rank = 1, .process = child.identity()}});
  EXPECT_FALSE(processes.find_ended());

  child.signal(SIGKILL);
  child.collect();

  EXPECT_FALSE(processes.find_ended());
  EXPECT_FALSE(processes.has_own_error()) << "the others have to speak for themselves";
}

}  // namespace
}  // namespace dtrain
