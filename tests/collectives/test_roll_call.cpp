// Word of who answers: how it travels, what outweighs what. 512 ranks in one process.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <set>
#include <vector>

#include "collectives/roll_call.hpp"

namespace dtrain {
namespace {

std::vector<RollCall> roll_calls(int size) {
  std::vector<RollCall> ranks;
  for (int rank = 0; rank < size; ++rank) ranks.emplace_back(rank, size);
  return ranks;
}

/// Every rank that may speak sends what it knew before this round to its neighbours.
void hand_on(std::vector<RollCall>& ranks, const std::set<int>& silent, double now_s) {
  const std::vector<RollCall> before = ranks;
  for (const RollCall& sender : before) {
    const auto rank = static_cast<int>(&sender - before.data());
    if (silent.contains(rank)) continue;
    for (const int neighbour : RollCall::neighbours(rank, sender.size())) {
      ranks[static_cast<std::size_t>(neighbour)].merge(sender.table(), now_s);
    }
  }
}

int rounds_until_all_have_heard(std::vector<RollCall>& ranks, int of, const std::set<int>& silent) {
  const auto has_heard = [&](const RollCall& rank) {
    return silent.contains(static_cast<int>(&rank - ranks.data())) || rank.was_heard(of, 0.0);
  };
  int rounds = 0;
  for (; rounds < 64 && !std::ranges::all_of(ranks, has_heard); ++rounds) hand_on(ranks, silent, 1.0);
  return rounds;
}

TEST(RollCall, NeighboursAreMutualAndFew) {
  for (const int size : {1, 2, 3, 4, 5, 7, 8, 64, 512}) {
    for (int rank = 0; rank < size; ++rank) {
      const std::vector<int> own = RollCall::neighbours(rank, size);
      EXPECT_LE(own.size(), 18U);
      EXPECT_EQ(std::ranges::find(own, rank), own.end());
      for (const int neighbour : own) {
        const std::vector<int> theirs = RollCall::neighbours(neighbour, size);
        EXPECT_NE(std::ranges::find(theirs, rank), theirs.end()) << rank << " of " << size << ", " << neighbour;
      }
    }
  }
  EXPECT_EQ(RollCall::neighbours(0, 4), (std::vector<int>{1, 2, 3}));
  EXPECT_TRUE(RollCall::neighbours(0, 1).empty());
}

TEST(RollCall, AnAnswerReachesAllOf512RanksInNineHops) {
  std::vector<RollCall> ranks = roll_calls(512);
  ranks[17].answer(0.5);

  EXPECT_LE(rounds_until_all_have_heard(ranks, 17, {}), 9);
}

// Two nodes of 64 ranks, and every third rank besides.
TEST(RollCall, AnAnswerGoesAroundRanksThatAreSilent) {
  std::vector<RollCall> ranks = roll_calls(512);
  std::set<int> silent;
  for (int rank = 128; rank < 256; ++rank) silent.insert(rank);
  for (int rank = 0; rank < 512; rank += 3) silent.insert(rank);
  ranks[17].answer(0.5);

  EXPECT_LE(rounds_until_all_have_heard(ranks, 17, silent), 18);
}

TEST(RollCall, HearsARankWheneverItsCountHasGrown) {
  std::vector<RollCall> ranks = roll_calls(2);
  ranks[0].answer(1.0);
  const std::vector<std::uint32_t> first(ranks[0].table().begin(), ranks[0].table().end());
  ranks[0].answer(2.0);

  EXPECT_TRUE(ranks[1].merge(ranks[0].table(), 3.0));
  EXPECT_FALSE(ranks[1].merge(ranks[0].table(), 4.0));
  EXPECT_FALSE(ranks[1].merge(first, 5.0)) << "a table from before";

  EXPECT_TRUE(ranks[1].was_heard(0, 3.0));
  EXPECT_FALSE(ranks[1].was_heard(0, 3.5));
  EXPECT_TRUE(ranks[1].was_anybody_heard(2.5));
  EXPECT_FALSE(ranks[0].was_anybody_heard(0.0)) << "itself alone";
}

TEST(RollCall, AnAnswerSaysWhatItsRankIsAbout) {
  std::vector<RollCall> ranks = roll_calls(2);

  for (const Activity activity : {Activity::reads, Activity::waits, Activity::saves, Activity::reads}) {
    ranks[0].answer(1.0, activity);
    EXPECT_TRUE(ranks[1].merge(ranks[0].table(), 2.0));
    EXPECT_EQ(ranks[1].activity(0), activity);
  }
  ranks[1].mark(0, Fate::ended);
  EXPECT_EQ(ranks[1].activity(0), Activity::waits);
}

TEST(RollCall, AFateOutweighsAnswersAndWeakerFates) {
  std::vector<RollCall> ranks = roll_calls(3);
  ranks[1].answer(1.0);
  ranks[0].mark(1, Fate::ended);
  ranks[0].mark(1, Fate::silent);

  ranks[0].merge(ranks[1].table(), 2.0);
  ranks[2].merge(ranks[0].table(), 2.0);

  EXPECT_EQ(ranks[0].fate(1), Fate::ended);
  EXPECT_EQ(ranks[2].fate(1), Fate::ended);
  EXPECT_TRUE(ranks[2].has_given_up());
}

TEST(RollCall, WhoLeavesOrIsUnknownHasNotBeenGivenUp) {
  RollCall roll(0, 3);

  roll.mark(1, Fate::leaving);
  roll.mark(2, Fate::unknown);

  EXPECT_EQ(roll.fate(1), Fate::leaving);
  EXPECT_EQ(roll.fate(2), Fate::unknown);
  EXPECT_FALSE(roll.has_given_up());
}

TEST(RollCall, DoesNotGiveItselfUp) {
  RollCall roll(1, 2);
  roll.mark(1, Fate::stopped);

  roll.answer(1.0);

  EXPECT_EQ(roll.fate(1), Fate::stopped) << "answers come too late";
  EXPECT_FALSE(roll.has_given_up()) << "of other ranks none is";
}

}  // namespace
}  // namespace dtrain
