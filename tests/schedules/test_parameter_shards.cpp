// Roles, cuts and costs of parameter servers, for 1 to 512 ranks.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "schedules/parameter_shards.hpp"
#include "schedules/ring.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kResNet50 = 25557032;
const std::vector<int> kRankCounts{1, 2, 3, 4, 5, 7, 8, 16, 63, 64, 100, 511, 512};

/// `ranks` ranks, so many consecutive ones on each node.
std::vector<int> nodes_of(int ranks, int ranks_per_node) {
  std::vector<int> nodes(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank) nodes[static_cast<std::size_t>(rank)] = rank / ranks_per_node;
  return nodes;
}

ServerRoles roles_on_one_node(int ranks, int servers) {
  return plan_server_roles({.node_of_rank = nodes_of(ranks, ranks), .servers = servers});
}

std::vector<std::int64_t> elements_of_servers(const std::vector<ParameterPartition>& partitions, int servers) {
  std::vector<std::int64_t> elements(static_cast<std::size_t>(servers), 0);
  for (const ParameterPartition& partition : partitions) {
    elements[static_cast<std::size_t>(partition.server)] += partition.range.size();
  }
  return elements;
}

TEST(ServerRoles, AreTheLastRanksOfTheJobOnOneNodeAndWithOneRankANode) {
  for (const int ranks_per_node : {1, 6}) {
    const ServerRoles roles = plan_server_roles({.node_of_rank = nodes_of(6, ranks_per_node), .servers = 2});

    EXPECT_EQ(roles.workers, (std::vector<int>{0, 1, 2, 3}));
    EXPECT_EQ(roles.servers, (std::vector<int>{4, 5}));
  }
}

TEST(ServerRoles, SpreadOverTheNodesFromTheLastOne) {
  const std::vector<int> nodes = nodes_of(9, 3);

  EXPECT_EQ(plan_server_roles({.node_of_rank = nodes, .servers = 2}).servers, (std::vector<int>{5, 8}));
  EXPECT_EQ(plan_server_roles({.node_of_rank = nodes, .servers = 3}).servers, (std::vector<int>{2, 5, 8}));
  EXPECT_EQ(plan_server_roles({.node_of_rank = nodes, .servers = 4}).servers, (std::vector<int>{2, 5, 7, 8}));
  EXPECT_EQ(plan_server_roles({.node_of_rank = nodes, .servers = 4}).workers, (std::vector<int>{0, 1, 3, 4, 6}));
  EXPECT_EQ(plan_server_roles({.node_of_rank = {1, 0, 1, 0, 2}, .servers = 3}).servers, (std::vector<int>{2, 3, 4}));
}

TEST(ServerRoles, AreBothWhereNoRankServesAlone) {
  const ServerRoles roles = roles_on_one_node(3, 0);

  EXPECT_EQ(roles.workers, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(roles.servers, roles.workers);
}

TEST(ServerRoles, LeaveAWorker) {
  EXPECT_THROW(roles_on_one_node(2, 2), std::logic_error);
  EXPECT_THROW(roles_on_one_node(2, -1), std::logic_error);
  EXPECT_EQ(roles_on_one_node(512, 511).workers, std::vector<int>{0});
}

TEST(ParameterShards, CoverTheParametersInOrderWithCutsOnTheAlignmentAndNoneTooLarge) {
  for (const std::int64_t elements : {1LL, 15LL, 16LL, 17LL, 1000LL, 100003LL, 25557032LL}) {
    for (const int servers : kRankCounts) {
      for (const std::int64_t largest : {16LL, 1000LL, 1LL << 20}) {
        if (elements / largest > 200000) continue;
        const std::vector<ParameterPartition> partitions =
            plan_parameter_shards({.elements = elements, .servers = servers, .partition_elements = largest});

        std::int64_t begin = 0;
        for (const ParameterPartition& partition : partitions) {
          ASSERT_EQ(partition.range.begin, begin);
          ASSERT_EQ(partition.range.begin % 16, 0);
          ASSERT_GT(partition.range.size(), 0);
          // Below two cache lines nothing can be said: a cut falls on every line, and the last part has what is left.
          ASSERT_LE(partition.range.size(), std::max<std::int64_t>(largest, 32)) << elements << " on " << servers;
          ASSERT_LT(partition.server, servers);
          begin = partition.range.end;
        }
        ASSERT_EQ(begin, elements);
      }
    }
  }
  EXPECT_TRUE(plan_parameter_shards({.elements = 0, .servers = 3}).empty());
}

TEST(ParameterShards, GiveAllServersEquallyMuch) {
  for (const int servers : kRankCounts) {
    const std::vector<ParameterPartition> partitions = plan_parameter_shards({.elements = kResNet50, .servers = servers});
    const std::vector<std::int64_t> elements = elements_of_servers(partitions, servers);
    const auto [least, most] = std::ranges::minmax(elements);
    const auto rounds = static_cast<std::int64_t>(partitions.size()) / servers;

    EXPECT_EQ(static_cast<std::int64_t>(partitions.size()) % servers, 0) << servers << " servers";
    EXPECT_LE(most - least, rounds * 2 * 16) << servers << " servers";
    EXPECT_GT(least, 0) << servers << " servers";
  }
}

TEST(ParameterShards, DealThePartitionsInTurn) {
  const std::vector<ParameterPartition> partitions =
      plan_parameter_shards({.elements = 96, .servers = 3, .partition_elements = 32});

  EXPECT_EQ(partitions, (std::vector<ParameterPartition>{{.range = {0, 16}, .server = 0},
                                                         {.range = {16, 32}, .server = 1},
                                                         {.range = {32, 48}, .server = 2},
                                                         {.range = {48, 64}, .server = 0},
                                                         {.range = {64, 80}, .server = 1},
                                                         {.range = {80, 96}, .server = 2}}));
}

TEST(ParameterShards, ArePartitionsOfNearlyTheLargestSizeWhereServersAreFew) {
  const std::vector<ParameterPartition> partitions = plan_parameter_shards({.elements = kResNet50, .servers = 1});

  EXPECT_EQ(partitions.size(), 25U);  // 24.4 times 4 MiB
  const std::vector<ParameterPartition> whole = plan_parameter_shards(
      {.elements = kResNet50, .servers = 1, .partition_elements = std::numeric_limits<std::int64_t>::max()});
  EXPECT_EQ(whole, (std::vector<ParameterPartition>{{.range = {0, kResNet50}, .server = 0}}));
}

TEST(ParameterShards, RefuseWhatCannotBeCut) {
  EXPECT_THROW(plan_parameter_shards({.elements = -1}), std::logic_error);
  EXPECT_THROW(plan_parameter_shards({.elements = 1, .servers = 0}), std::logic_error);
  EXPECT_THROW(plan_parameter_shards({.elements = 1, .partition_elements = 15}), std::logic_error);
}

TEST(ParameterServerCost, OfAServerGrowsWithTheWorkersAndShrinksWithTheServers) {
  for (const int servers : {1, 2, 4, 8}) {
    for (const int workers : {1, 2, 8, 64, 504}) {
      const ServerRoles roles = roles_on_one_node(workers + servers, servers);
      const std::vector<ParameterPartition> partitions = plan_parameter_shards({.elements = 1 << 24, .servers = servers});

      const ExchangeCost worker = parameter_server_cost(partitions, roles, 0);
      const ExchangeCost server = parameter_server_cost(partitions, roles, workers + servers - 1);

      EXPECT_EQ(worker.elements_sent, 1 << 24);
      EXPECT_EQ(worker.messages, static_cast<std::int64_t>(partitions.size()));
      EXPECT_EQ(worker.elements_reduced, 0);
      // To within the cut at cache lines, 16 floats for each partition.
      const double even = static_cast<double>(1 << 24) * workers / servers;
      const double cut = 16.0 * workers * static_cast<double>(partitions.size()) / servers;
      EXPECT_NEAR(static_cast<double>(server.elements_sent), even, cut) << workers << " on " << servers;
      EXPECT_EQ(server.messages, workers * static_cast<std::int64_t>(partitions.size()) / servers);
      EXPECT_EQ(server.elements_reduced * workers, (workers - 1) * server.elements_sent);
      EXPECT_EQ(server.steps, 2);
    }
  }
}

TEST(ParameterServerCost, AddsUpToOneMessageEachWayForEachPartitionAndWorker) {
  for (const int ranks : kRankCounts) {
    for (const int servers : {0, 1, 3}) {
      if (servers >= ranks) continue;
      const ServerRoles roles = roles_on_one_node(ranks, servers);
      const auto server_count = static_cast<std::int64_t>(roles.servers.size());
      const auto workers = static_cast<std::int64_t>(roles.workers.size());
      const std::vector<ParameterPartition> partitions =
          plan_parameter_shards({.elements = 1000003, .servers = static_cast<int>(server_count), .partition_elements = 10000});
      std::int64_t messages = 0, elements = 0, reduced = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const ExchangeCost cost = parameter_server_cost(partitions, roles, rank);
        messages += cost.messages;
        elements += cost.elements_sent;
        reduced += cost.elements_reduced;
      }

      const std::int64_t remote_workers = servers == 0 ? workers - 1 : workers;  // a rank sends itself nothing
      EXPECT_EQ(messages, 2 * remote_workers * static_cast<std::int64_t>(partitions.size()));
      EXPECT_EQ(elements, 2 * remote_workers * 1000003);
      EXPECT_EQ(reduced, (workers - 1) * 1000003);
    }
  }
}

TEST(ParameterServerCost, OfCoLocatedServersIsTheRingsVolumeInTwoSteps) {
  for (const int ranks : {1, 2, 4, 8, 64, 512}) {
    const std::int64_t elements = std::int64_t{1} << 24;
    const ServerRoles roles = roles_on_one_node(ranks, 0);
    const std::vector<ParameterPartition> partitions = plan_parameter_shards({.elements = elements, .servers = ranks});

    const ExchangeCost served = parameter_server_cost(partitions, roles, 0);
    const ExchangeCost ring = cost_of(ring_steps(ranks, 0, {0, elements}));

    // Cut at cache lines, the arena is less even than the ring's blocks: by at most one line for each partition, each way.
    const double cut = 2.0 * 16.0 * ranks * static_cast<double>(partitions.size()) / ranks;
    EXPECT_NEAR(static_cast<double>(served.elements_sent), static_cast<double>(ring.elements_sent), cut) << ranks << " ranks";
    EXPECT_NEAR(static_cast<double>(served.elements_reduced), static_cast<double>(ring.elements_reduced), cut);
    EXPECT_EQ(served.steps, ranks > 1 ? 2 : 0);
  }
}

TEST(ParameterServerCost, IsOfRanksWithARole) {
  EXPECT_THROW(parameter_server_cost({}, roles_on_one_node(4, 1), 4), std::logic_error);
}

constexpr ExchangeRates kServerRates{.link_latency_s = 1e-5,
                                     .link_bytes_per_s = 1e9,
                                     .node_latency_s = 1e-6,
                                     .node_bytes_per_s = 5e9,
                                     .memory_bytes_per_s = 1e12};
constexpr std::int64_t kHundredMb = 25'000'000;
constexpr std::int64_t kTinyPartitions = 25'000;  ///< so that the pipeline's ends take a thousandth

double predicted_s(int workers, int servers, std::int64_t partition_elements) {
  const int ranks = workers + servers;
  const ServerRoles roles = plan_server_roles({.node_of_rank = nodes_of(ranks, 1), .servers = servers});
  const std::vector<ParameterPartition> partitions = plan_parameter_shards(
      {.elements = kHundredMb, .servers = static_cast<int>(roles.servers.size()), .partition_elements = partition_elements});
  return predict_parameter_server_s(partitions, roles, {.nodes = ranks, .ranks_per_node = 1}, kServerRates);
}

// A node a rank, 100 MB over links of 1 GB/s. 5 % for the cuts and the ends of the pipeline.
TEST(ParameterServerPrediction, IsThatOfTheBusiestLinks) {
  EXPECT_NEAR(predicted_s(8, 1, kTinyPartitions), 0.8, 0.04) << "eight times the parameters into one server, and out of it";
  EXPECT_NEAR(predicted_s(8, 2, kTinyPartitions), 0.4, 0.02);
  EXPECT_NEAR(predicted_s(8, 8, kTinyPartitions), 0.1, 0.005) << "every link once, each way";
  EXPECT_NEAR(predicted_s(2, 8, kTinyPartitions), 0.1, 0.005) << "more servers do not widen a worker's link";
}

TEST(ParameterServerPrediction, OfCoLocatedServersIsThatOfARing) {
  for (const int ranks : {2, 4, 8, 64}) {
    const double ring_s = predict_all_reduce_s(AllReduceAlgorithm::ring, kHundredMb, {.nodes = ranks, .ranks_per_node = 1},
                                               {.link_latency_s = 0.0, .link_bytes_per_s = 1e9, .memory_bytes_per_s = 1e12});

    EXPECT_NEAR(predicted_s(ranks, 0, kTinyPartitions), ring_s, 0.05 * ring_s) << ranks << " ranks";
  }
}

TEST(ParameterServerPrediction, OfOnePartitionIsAPushAndThenAReturn) {
  EXPECT_NEAR(predicted_s(4, 1, kHundredMb + 16), 2 * 0.4 + 2e-5, 1e-6);
}

TEST(ParameterServerPrediction, CountsWhatStaysInsideANodeAtItsOwnRate) {
  const ServerRoles roles = roles_on_one_node(3, 1);
  const std::vector<ParameterPartition> whole = plan_parameter_shards(
      {.elements = kHundredMb, .servers = 1, .partition_elements = std::numeric_limits<std::int64_t>::max()});

  // Two workers push 100 MB each at 5 GB/s; one addition reads and writes 300 MB at 1 TB/s; then the same way back.
  EXPECT_NEAR(predict_parameter_server_s(whole, roles, {.nodes = 1, .ranks_per_node = 3}, kServerRates),
              2 * (0.04 + 3e-4) + 2e-6, 1e-9);
}

TEST(ParameterServerPrediction, IsNothingForARankAloneAndRefusesRanksThatAreNotThere) {
  const std::vector<ParameterPartition> partitions = plan_parameter_shards({.elements = 1000});

  EXPECT_EQ(predict_parameter_server_s(partitions, roles_on_one_node(1, 0), {}, kServerRates), 0.0);
  EXPECT_EQ(predict_parameter_server_s({}, roles_on_one_node(2, 1), {.nodes = 2, .ranks_per_node = 1}, kServerRates), 0.0);
  EXPECT_THROW(predict_parameter_server_s(partitions, roles_on_one_node(2, 1), {}, kServerRates), std::logic_error);
}

}  // namespace
}  // namespace dtrain
