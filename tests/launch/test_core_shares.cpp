// Dividing cores: nobody's core twice, equal shares, domains kept whole where that is possible.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "launch/core_shares.hpp"
#include "tests/launch/machines.hpp"

namespace dtrain {
namespace {

std::set<int> domains_of(const NodeTopology& machine, const CoreShare& share) {
  std::set<int> domains;
  for (const int core : share.cores) domains.insert(machine.cores[static_cast<std::size_t>(core)].numa);
  return domains;
}

void expect_no_core_twice(const std::vector<CoreShare>& shares) {
  std::set<int> given;
  for (const CoreShare& share : shares) {
    if (share.is_crowded) continue;
    for (const int core : share.cores) EXPECT_TRUE(given.insert(core).second) << "core " << core << " is given twice";
  }
}

TEST(CoreShares, OneRankGetsAllCores) {
  const NodeTopology machine = read_synthetic("package:2 numa:1 core:24 pu:1");

  const auto shares = share_cores(machine, same_for_all(machine, 1));

  EXPECT_EQ(shares[0].cores.size(), 48u);
  EXPECT_FALSE(shares[0].is_crowded);
}

TEST(CoreShares, TwoRanksGetADomainEach) {
  const NodeTopology machine = read_synthetic("package:2 numa:1 core:24 pu:1");

  const auto shares = share_cores(machine, same_for_all(machine, 2));

  EXPECT_EQ(domains_of(machine, shares[0]), (std::set<int>{0}));
  EXPECT_EQ(domains_of(machine, shares[1]), (std::set<int>{1}));
  EXPECT_EQ(shares[0].cores.size(), 24u);
  EXPECT_EQ(shares[1].cores.size(), 24u);
}

TEST(CoreShares, ARankThatDoesNotFitIntoADomainTakesWhatTheOthersLeave) {
  const NodeTopology machine = read_synthetic("package:2 numa:1 core:24 pu:1");

  const auto shares = share_cores(machine, same_for_all(machine, 3));

  for (const CoreShare& share : shares) EXPECT_EQ(share.cores.size(), 16u);
  EXPECT_EQ(domains_of(machine, shares[0]).size(), 1u);
  EXPECT_EQ(domains_of(machine, shares[1]).size(), 1u);
  EXPECT_EQ(domains_of(machine, shares[2]).size(), 2u);
  expect_no_core_twice(shares);
}

TEST(CoreShares, SharesAreEqualWithinOneCoreAndUseEveryCore) {
  for (const char* description :
       {"package:2 numa:1 core:24 pu:1", "package:1 numa:4 core:8 pu:2", "package:2 numa:1 core:7 pu:2",
        "package:1 numa:1 core:1 pu:1", "package:1 numa:3 core:5 pu:1"}) {
    const NodeTopology machine = read_synthetic(description);
    for (int ranks = 1; ranks <= static_cast<int>(machine.cores.size()); ++ranks) {
      const auto shares = share_cores(machine, same_for_all(machine, ranks));
      std::size_t total = 0;
      std::size_t smallest = machine.cores.size();
      std::size_t largest = 0;
      for (const CoreShare& share : shares) {
        EXPECT_FALSE(share.is_crowded);
        total += share.cores.size();
        smallest = std::min(smallest, share.cores.size());
        largest = std::max(largest, share.cores.size());
      }
      EXPECT_EQ(total, machine.cores.size()) << description << " with " << ranks;
      EXPECT_LE(largest - smallest, 1u) << description << " with " << ranks;
      expect_no_core_twice(shares);
    }
  }
}

TEST(CoreShares, RanksStayInADomainWheneverTheCountsAllowIt) {
  const NodeTopology machine = read_synthetic("package:1 numa:4 core:8 pu:1");
  for (const int ranks : {4, 8, 16, 32}) {
    for (const CoreShare& share : share_cores(machine, same_for_all(machine, ranks))) {
      EXPECT_EQ(domains_of(machine, share).size(), 1u) << ranks;
    }
  }
  for (const CoreShare& share : share_cores(machine, same_for_all(machine, 2)))
    EXPECT_EQ(domains_of(machine, share).size(), 2u);
}

TEST(CoreShares, MoreRanksThanCoresAreCrowded) {
  const NodeTopology machine = read_synthetic("package:1 numa:1 core:2 pu:1");

  for (const CoreShare& share : share_cores(machine, same_for_all(machine, 3))) {
    EXPECT_TRUE(share.is_crowded);
    EXPECT_EQ(share.cores, (std::vector<int>{0, 1}));
  }
}

TEST(CoreShares, DisjointBindingsAreRespected) {
  const NodeTopology machine = read_synthetic("package:1 numa:1 core:8 pu:1");

  const auto shares = share_cores(machine, {{4, 5}, {0, 1, 2}, {7}});

  EXPECT_EQ(shares[0].cores, (std::vector<int>{4, 5}));
  EXPECT_EQ(shares[1].cores, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(shares[2].cores, (std::vector<int>{7}));
  EXPECT_NE(shares[0].group, shares[1].group);
}

TEST(CoreShares, PairsOfRanksDivideTheirPackage) {
  const NodeTopology machine = read_synthetic("package:2 numa:1 core:4 pu:1");

  const auto shares = share_cores(machine, {{0, 1, 2, 3}, {4, 5, 6, 7}, {0, 1, 2, 3}, {4, 5, 6, 7}});

  EXPECT_EQ(shares[0].cores, (std::vector<int>{0, 1}));
  EXPECT_EQ(shares[2].cores, (std::vector<int>{2, 3}));
  EXPECT_EQ(shares[1].cores, (std::vector<int>{4, 5}));
  EXPECT_EQ(shares[3].cores, (std::vector<int>{6, 7}));
  EXPECT_EQ(shares[0].group, shares[2].group);
  EXPECT_NE(shares[0].group, shares[1].group);
}

TEST(CoreShares, PartlyOverlappingBindingsGiveEachRankCoresOfItsOwn) {
  const NodeTopology machine = read_synthetic("package:1 numa:1 core:6 pu:1");

  const auto shares = share_cores(machine, {{0, 1, 2, 3}, {0}, {2, 3, 4, 5}});

  expect_no_core_twice(shares);
  EXPECT_EQ(shares[1].cores, (std::vector<int>{0}));  // it has no other
  EXPECT_GE(shares[0].cores.size(), 2u);
  EXPECT_GE(shares[2].cores.size(), 2u);
  EXPECT_EQ(shares[0].cores.size() + shares[2].cores.size(), 5u);
}

TEST(CoreShares, OverlappingBindingsWithTooFewCoresAreCrowded) {
  const NodeTopology machine = read_synthetic("package:1 numa:1 core:8 pu:1");

  const auto shares = share_cores(machine, {{0}, {0}, {0, 1}, {5}});

  EXPECT_TRUE(shares[0].is_crowded);
  EXPECT_TRUE(shares[1].is_crowded);
  EXPECT_TRUE(shares[2].is_crowded);
  EXPECT_FALSE(shares[3].is_crowded);
}

TEST(CoreShares, HardwareThreadsOfOneCoreAreOneCore) {
  const NodeTopology machine = read_synthetic("package:1 numa:1 core:2 pu:2");  // core 0: CPUs 0 1, core 1: CPUs 2 3

  const auto shares = share_cores(machine, {{0, 2}, {1, 3}});

  EXPECT_EQ(shares[0].cores, (std::vector<int>{0}));
  EXPECT_EQ(shares[1].cores, (std::vector<int>{1}));
}

TEST(CoreShares, NoMoreRanksShareACoreThanMust) {
  const NodeTopology machine = read_synthetic("package:1 numa:1 core:4 pu:1");
  const auto least = [&](const std::vector<CpuSet>& usable) { return least_ranks_on_a_core(machine, usable); };

  EXPECT_EQ(least({{0}, {1}, {0, 1, 2, 3}}), (std::vector<int>{1, 1, 1}));
  EXPECT_EQ(least({{0}, {0}, {3}}), (std::vector<int>{2, 2, 1}));
  EXPECT_EQ(least({{0, 1}, {0, 1}, {0, 1}}), (std::vector<int>{2, 2, 2}));
  EXPECT_EQ(least({{0}, {0, 1}, {0, 1}, {1}, {1}}), (std::vector<int>{3, 3, 3, 3, 3}));
  EXPECT_EQ(least({{0}, {0}, {0, 1}, {1, 2}, {2, 3}}), (std::vector<int>{2, 2, 2, 2, 2}));
  EXPECT_EQ(least({{2}, {2}, {2}, {2}, {2}}), (std::vector<int>{5, 5, 5, 5, 5}));
  EXPECT_EQ(least(std::vector<CpuSet>(9, machine.allowed)).front(), 3);
}

}  // namespace
}  // namespace dtrain
