// The cost model in closed form, and what it chooses.
#include <gtest/gtest.h>

#include <stdexcept>

#include "schedules/exchange_cost.hpp"

namespace dtrain {
namespace {

using enum AllReduceAlgorithm;

constexpr ExchangeRates kRates{.link_latency_s = 1e-5,
                               .link_bytes_per_s = 1e9,
                               .node_latency_s = 1e-6,
                               .node_bytes_per_s = 5e9,
                               .memory_bytes_per_s = 1e10};
constexpr std::int64_t kElements = 25'000'000;  // 100 MB

TEST(ExchangeCost, OfARingIsThatOfItsLinks) {
  // 4 ranks on 4 nodes: 6 steps of 25 MB.
  EXPECT_NEAR(predict_all_reduce_s(ring, kElements, {.nodes = 4, .ranks_per_node = 1}, kRates), 6 * (0.025 + 1e-5), 1e-9);
  // In bf16 half of it: the additions, in f32, still take less: 3 · 25 MB / 10 GB/s = 7.5 ms a step.
  EXPECT_NEAR(predict_all_reduce_s(ring, kElements, {.nodes = 4, .ranks_per_node = 1}, kRates, 2), 6 * (0.0125 + 1e-5), 1e-9);
}

TEST(ExchangeCost, OfHalvingDoublingHasFewerLatencies) {
  const Cluster cluster{.nodes = 8, .ranks_per_node = 1};

  EXPECT_NEAR(predict_all_reduce_s(halving_doubling, kElements, cluster, kRates), 2 * 0.0875 + 6e-5, 1e-9);
  EXPECT_NEAR(predict_all_reduce_s(ring, kElements, cluster, kRates), 2 * 0.0875 + 14e-5, 1e-9);
}

TEST(ExchangeCost, OfSharedMemoryIsItsTraffic) {
  // Two ranks, each reads and writes 100 MB.
  EXPECT_NEAR(predict_all_reduce_s(shm, kElements, {.nodes = 1, .ranks_per_node = 2}, kRates), 2e-6 + 0.04, 1e-9);
}

TEST(ExchangeCost, OfTheHierarchyPutsOneRingOnTheLinks) {
  // Link: 2 · 3/4 · 100 MB, against 2 · 7/8 in the flat ring; the sums are made meanwhile; 2 · 100 MB of memory to gather.
  const Cluster cluster{.nodes = 4, .ranks_per_node = 2};

  EXPECT_NEAR(predict_all_reduce_s(hierarchical, kElements, cluster, kRates), 0.15 + 6e-5 + 0.02 + 3e-6, 1e-9);
  EXPECT_NEAR(predict_all_reduce_s(ring, kElements, cluster, kRates), 0.175 + 14e-5, 1e-9);
}

TEST(ExchangeCost, IsNothingForNobodyOrNothing) {
  EXPECT_EQ(predict_all_reduce_s(ring, kElements, {}, kRates), 0.0);
  EXPECT_EQ(predict_all_reduce_s(ring, 0, {.nodes = 2, .ranks_per_node = 2}, kRates), 0.0);
  EXPECT_EQ(predict_all_reduce_s(none, kElements, {.nodes = 2, .ranks_per_node = 2}, kRates), 0.0);
}

TEST(ExchangeCost, RefusesWhatHasNoPlan) {
  EXPECT_THROW(predict_all_reduce_s(mpi, kElements, {.nodes = 2, .ranks_per_node = 2}, kRates), std::logic_error);
  EXPECT_THROW(predict_all_reduce_s(shm, kElements, {.nodes = 2, .ranks_per_node = 2}, kRates), std::logic_error);
}

TEST(BucketSize, KeepsLatenciesToATwentiethOfAnExchange) {
  // Ring over 4 nodes: 6 · 10 µs against 1.5 ns a byte: a twentieth from 0.8 MB on, so the smallest bucket does.
  EXPECT_EQ(plan_bucket_bytes(ring, {.nodes = 4, .ranks_per_node = 1}, kRates), 4 << 20);
  // Over 64 nodes: 126 · 10 µs against 2 ns a byte: from 12.6 MB on.
  EXPECT_EQ(plan_bucket_bytes(ring, {.nodes = 64, .ranks_per_node = 1}, kRates), 16 << 20);
  EXPECT_EQ(plan_bucket_bytes(ring, {.nodes = 512, .ranks_per_node = 1}, kRates), 64 << 20);
  EXPECT_EQ(plan_bucket_bytes(shm, {.nodes = 1, .ranks_per_node = 2}, kRates), 4 << 20);
  EXPECT_EQ(plan_bucket_bytes(mpi, {.nodes = 4, .ranks_per_node = 1}, kRates), 8 << 20);
}

TEST(AlgorithmPlan, TakesSharedMemoryOnANode) {
  EXPECT_EQ(plan_algorithm_table({.nodes = 1, .ranks_per_node = 1}, true), none);
  EXPECT_EQ(plan_algorithm_table({.nodes = 1, .ranks_per_node = 4}, true), shm);
  EXPECT_FALSE(plan_algorithm_table({.nodes = 1, .ranks_per_node = 4}, false).uses(shm));
}

TEST(AlgorithmPlan, TakesFewStepsForShortSlicesAndTheLinksOnceForLongOnes) {
  const AlgorithmTable table = plan_algorithm_table({.nodes = 4, .ranks_per_node = 2}, true, kRates);

  EXPECT_EQ(table.choose(1 << 10), halving_doubling);
  EXPECT_EQ(table.choose(100'000'000), hierarchical);
  EXPECT_FALSE(plan_algorithm_table({.nodes = 4, .ranks_per_node = 2}, false, kRates).uses(hierarchical));
}

TEST(AlgorithmPlan, IsMadeFor512Ranks) {
  const AlgorithmTable table = plan_algorithm_table({.nodes = 256, .ranks_per_node = 2}, true);

  EXPECT_EQ(table.choose(4096), halving_doubling);
}

}  // namespace
}  // namespace dtrain
