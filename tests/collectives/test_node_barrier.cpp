// The barrier of node ranks, with threads in the place of processes: order of memory, sleeping, time-out.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "collectives/node_barrier.hpp"
#include "dtrain/random.hpp"

namespace dtrain {
namespace {

/// Runs body(barrier, rank) as every rank, on threads.
template <typename Body>
void run_ranks(int size, const Body& body) {
  const auto flags = std::make_unique<BarrierFlag[]>(NodeBarrier::flag_count(size));
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(size));
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      NodeBarrier barrier(flags.get(), rank, size);
      body(barrier, rank);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

class NodeBarrierOf : public testing::TestWithParam<int> {};

TEST_P(NodeBarrierOf, ShowsEveryRankWhatAllWroteBeforeBackToBack) {
  constexpr int kRounds = 2000;
  const int size = GetParam();
  for (const std::int64_t spins : {0, 50}) {
    std::vector<int> written(static_cast<std::size_t>(size) * 16, 0);  // plain memory: the barrier alone orders it
    std::vector<int> wrong(static_cast<std::size_t>(size) * 16, 0);

    run_ranks(size, [&](NodeBarrier& barrier, int rank) {
      const auto own = static_cast<std::size_t>(rank) * 16;
      for (int round = 1; round <= kRounds; ++round) {
        written[own] = round;
        wrong[own] += static_cast<int>(barrier.enter({.spins = spins, .timeout_s = 60.0}).size());
        for (std::size_t other = 0; other < written.size(); other += 16) wrong[own] += written[other] == round ? 0 : 1;
        wrong[own] += static_cast<int>(barrier.enter({.spins = spins, .timeout_s = 60.0}).size());
      }
    });

    EXPECT_EQ(std::count(wrong.begin(), wrong.end(), 0), static_cast<std::ptrdiff_t>(wrong.size())) << spins << " spins";
  }
}

TEST_P(NodeBarrierOf, WakesSleepersWhicheverRankIsLate) {
  const int size = GetParam();
  std::vector<int> missing(static_cast<std::size_t>(size), 0);

  run_ranks(size, [&](NodeBarrier& barrier, int rank) {
    Random random(3, RandomPurpose::perturbation, {static_cast<std::uint64_t>(rank)});
    for (int round = 0; round < 100; ++round) {
      std::this_thread::sleep_for(std::chrono::microseconds(random.below(300)));
      missing[static_cast<std::size_t>(rank)] += static_cast<int>(barrier.enter({.spins = 0, .timeout_s = 60.0}).size());
    }
  });

  EXPECT_EQ(missing, std::vector<int>(static_cast<std::size_t>(size), 0));
}

INSTANTIATE_TEST_SUITE_P(Sizes, NodeBarrierOf, testing::Values(1, 2, 3, 4, 7, 8));

TEST(NodeBarrier, NamesTheRanksThatDidNotCome) {
  const auto flags = std::make_unique<BarrierFlag[]>(NodeBarrier::flag_count(4));
  std::vector<int> missing_to_1, missing_to_3;

  std::thread first([&] { missing_to_1 = NodeBarrier(flags.get(), 1, 4).enter({.spins = 10, .timeout_s = 0.05}); });
  std::thread second([&] { missing_to_3 = NodeBarrier(flags.get(), 3, 4).enter({.spins = 10, .timeout_s = 0.05}); });
  first.join();
  second.join();

  EXPECT_NE(std::find(missing_to_1.begin(), missing_to_1.end(), 0), missing_to_1.end());
  EXPECT_NE(std::find(missing_to_1.begin(), missing_to_1.end(), 2), missing_to_1.end());
  EXPECT_EQ(std::find(missing_to_1.begin(), missing_to_1.end(), 1), missing_to_1.end());
  EXPECT_EQ(std::find(missing_to_3.begin(), missing_to_3.end(), 3), missing_to_3.end());
}

TEST(NodeBarrier, KeepsItsTimeOut) {
  const auto flags = std::make_unique<BarrierFlag[]>(NodeBarrier::flag_count(2));
  const auto start = std::chrono::steady_clock::now();

  const std::vector<int> missing = NodeBarrier(flags.get(), 0, 2).enter({.spins = 0, .timeout_s = 0.2});

  const double waited_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_EQ(missing, std::vector<int>{1});
  EXPECT_GE(waited_s, 0.2);
  EXPECT_LT(waited_s, 10.0);
}

}  // namespace
}  // namespace dtrain
