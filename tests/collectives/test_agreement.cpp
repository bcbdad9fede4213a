// What ranks were given, compared: pure, so with as many simulated ranks as wanted.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "collectives/agreement.hpp"

namespace dtrain {
namespace {

std::vector<RankValues> equal_ranks(int count) {
  std::vector<RankValues> ranks;
  ranks.reserve(static_cast<std::size_t>(count));
  for (int rank = 0; rank < count; ++rank) {
    ranks.push_back({.rank = rank,
                     .host = std::string("n").append(std::to_string(rank / 2)),
                     .values = {{"version", "0.1.0"}, {"configuration", "--lr 0.1"}}});
  }
  return ranks;
}

TEST(Agreement, FindsNothingAmongEqualRanks) { EXPECT_EQ(describe_differences(equal_ranks(512)), ""); }

TEST(Agreement, NamesTheValueTheRanksAndTheHosts) {
  std::vector<RankValues> ranks = equal_ranks(8);
  for (const std::size_t rank : {3, 4, 5, 7}) ranks[rank].values[1].value = "--lr 0.2";

  const std::string text = describe_differences(ranks);

  EXPECT_EQ(text,
            "configuration: \"--lr 0.1\" on rank 0 (host n0) but \"--lr 0.2\" on rank 3 (host n1); ranks that differ: 3–5, 7 "
            "(hosts n1, n2, n3)");
}

// As in a part of the job's ranks.
TEST(Agreement, CallsRanksByTheirOwnNumbers) {
  std::vector<RankValues> ranks = equal_ranks(3);
  for (RankValues& one : ranks) one.rank = 2 * one.rank + 1;
  ranks[2].values[1].value = "--lr 0.2";

  const std::string text = describe_differences(ranks);

  EXPECT_NE(text.find("on rank 1 (host n0) but \"--lr 0.2\" on rank 5"), std::string::npos) << text;
  EXPECT_NE(text.find("differ: 5 (host n1)"), std::string::npos) << text;
}

TEST(Agreement, NamesEveryValueThatDiffers) {
  std::vector<RankValues> ranks = equal_ranks(2);
  ranks[1].values = {{"version", "0.2.0"}, {"configuration", "--lr 0.3"}};

  const std::string text = describe_differences(ranks);

  EXPECT_NE(text.find("version: \"0.1.0\""), std::string::npos) << text;
  EXPECT_NE(text.find("configuration: \"--lr 0.1\""), std::string::npos) << text;
}

TEST(Agreement, ShowsLongValuesAroundTheFirstDifference) {
  std::vector<RankValues> ranks = equal_ranks(2);
  const std::string common(5000, 'x');
  ranks[0].values[1].value = common + "<here>" + common;
  ranks[1].values[1].value = common + "<there>" + common;

  const std::string text = describe_differences(ranks);

  EXPECT_NE(text.find("<here>"), std::string::npos) << text;
  EXPECT_NE(text.find("<there>"), std::string::npos) << text;
  EXPECT_LT(text.size(), 500u);
}

TEST(Agreement, NoticesAValueThatIsTheBeginningOfAnother) {
  std::vector<RankValues> ranks = equal_ranks(2);
  ranks[1].values[1].value = "--lr 0.1 --seed 2";

  EXPECT_NE(describe_differences(ranks).find("--seed 2"), std::string::npos);
}

TEST(Agreement, NoticesThatRanksCompareDifferentThings) {
  std::vector<RankValues> ranks = equal_ranks(2);
  ranks[1].values.push_back({"layout", "17"});

  EXPECT_NE(describe_differences(ranks).find("what is compared"), std::string::npos);
}

TEST(Agreement, NamesTheFirstValueThatAllHaveWhereTheOthersDoNotCorrespond) {
  std::vector<RankValues> ranks = equal_ranks(2);
  ranks[0].values = {{"command", "train"}, {"--steps", "7"}};
  ranks[1].values = {{"command", "eval"}, {"--weights", "w"}};

  const std::string text = describe_differences(ranks);

  EXPECT_NE(text.find("command: \"train\" on rank 0"), std::string::npos) << text;
  EXPECT_EQ(text.find("what is compared"), std::string::npos) << text;
}

TEST(Agreement, SurvivesTheWayAsTextWithAnyBytes) {
  const RankValues given{.host = "n:1", .values = {{"", ""}, {"a:b", std::string("3:\0x\n", 5)}, {"ü", "12:"}}};

  const RankValues received = read_rank_values(to_text(given), 0);

  EXPECT_EQ(received.host, given.host);
  ASSERT_EQ(received.values.size(), given.values.size());
  for (std::size_t i = 0; i < given.values.size(); ++i) {
    EXPECT_EQ(received.values[i].name, given.values[i].name);
    EXPECT_EQ(received.values[i].value, given.values[i].value);
  }
}

TEST(Agreement, NoticesARankOfAVersionThatSpeaksOtherwise) {
  for (const std::string foreign :
       {"", "100:short", "4", ":", "-1:x", "99999999999999999999:x", "1f33-a2\n0-1", "2:n1", "2:n11:a"}) {
    std::vector<RankValues> ranks = equal_ranks(2);
    ranks[1] = read_rank_values(foreign, 1);

    EXPECT_NE(describe_differences(ranks).find("words of another version"), std::string::npos) << foreign;
  }
}

TEST(RankList, JoinsNeighbours) {
  EXPECT_EQ(to_rank_list({}), "");
  EXPECT_EQ(to_rank_list({4}), "4");
  EXPECT_EQ(to_rank_list({4, 5}), "4, 5");
  EXPECT_EQ(to_rank_list({0, 2, 3, 4, 5, 9, 10}), "0, 2–5, 9, 10");
}

}  // namespace
}  // namespace dtrain
