// The node-shared window: who sees what, its barrier across processes, and private memory where sharing is impossible.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "collectives/node_window.hpp"
#include "dtrain/error.hpp"

namespace dtrain {
namespace {

constexpr WaitPolicy kSleeper{.spins = 0, .timeout_s = 60.0};
constexpr WaitPolicy kSpinner{.spins = 500, .timeout_s = 60.0};

/// While it lives, Open MPI's directory for shared windows is said to be elsewhere.
class BackingDirectory {
 public:
  explicit BackingDirectory(const char* path) { setenv(kName, path, 1); }
  ~BackingDirectory() { unsetenv(kName); }
  BackingDirectory(const BackingDirectory&) = delete;
  BackingDirectory& operator=(const BackingDirectory&) = delete;

 private:
  static constexpr const char* kName = "OMPI_MCA_osc_sm_backing_directory";
};

TEST(NodeWindow, StartsWithZerosAtPageBoundaries) {
  const Communicator communicator;
  for (const std::int64_t elements : {0, 1, 1000, 1048577}) {
    const NodeWindow window(communicator, elements);

    ASSERT_TRUE(window.is_shared()) << window.reason();
    EXPECT_EQ(window.reason(), "");
    EXPECT_EQ(window.own().size(), static_cast<std::size_t>(elements));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(window.own().data()) % static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE)), 0u);
    EXPECT_TRUE(std::all_of(window.own().begin(), window.own().end(), [](float value) { return value == 0.0f; }));
    communicator.barrier();
  }
}

TEST(NodeWindow, ShowsEveryRankWhatTheOthersWrote) {
  const Communicator communicator;
  NodeWindow window(communicator, 5000);
  ASSERT_TRUE(window.is_shared());
  std::fill(window.own().begin(), window.own().end(), static_cast<float>(window.node_rank() + 1));

  window.barrier(kSleeper, "test");

  for (int rank = 0; rank < window.node_size(); ++rank) {
    for (const float value : window.segment(rank)) ASSERT_EQ(value, static_cast<float>(rank + 1));
  }
  window.barrier(kSleeper, "test");
}

TEST(NodeWindow, OfOneSegmentIsTheSameMemoryForAllRanksOfTheNode) {
  const Communicator communicator;
  for (const std::int64_t elements : {1, 5000, 1048577}) {
    NodeWindow window(communicator, elements, NodeWindow::Extent::one_segment);
    ASSERT_TRUE(window.is_shared()) << window.reason();
    ASSERT_EQ(window.own().size(), static_cast<std::size_t>(elements));
    EXPECT_TRUE(std::all_of(window.own().begin(), window.own().end(), [](float value) { return value == 0.0f; }));
    window.barrier(kSleeper, "test");
    for (std::int64_t i = window.node_rank(); i < elements; i += window.node_size()) {
      window.own()[static_cast<std::size_t>(i)] = static_cast<float>(i % 1000 + 1);
    }

    window.barrier(kSleeper, "test");

    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < elements; ++i) {
      wrong += window.own()[static_cast<std::size_t>(i)] == static_cast<float>(i % 1000 + 1) ? 0 : 1;
    }
    EXPECT_EQ(wrong, 0);
    window.barrier(kSleeper, "test");
  }
}

TEST(NodeWindow, BelongsToTheRanksOfOneNodeWhenTheMachineIsCutIntoSeveral) {
  const Communicator communicator(2);
  NodeWindow window(communicator, 100);
  ASSERT_TRUE(window.is_shared());
  window.own()[0] = static_cast<float>(communicator.rank());

  window.barrier(kSleeper, "test");

  ASSERT_EQ(window.node_size(), communicator.node_size());
  for (int rank = 0; rank < window.node_size(); ++rank) {
    EXPECT_EQ(window.segment(rank)[0], static_cast<float>(communicator.node_index() * 2 + rank));
  }
  window.barrier(kSleeper, "test");
}

void stress_barrier(NodeWindow& window, const WaitPolicy& wait, int rounds) {
  int wrong = 0;
  for (int round = 1; round <= rounds; ++round) {
    window.own()[0] = static_cast<float>(round);
    if (round % 50 == window.node_rank()) std::this_thread::sleep_for(std::chrono::microseconds(300));
    window.barrier(wait, "stress");
    for (int rank = 0; rank < window.node_size(); ++rank) wrong += window.segment(rank)[0] == static_cast<float>(round) ? 0 : 1;
    window.barrier(wait, "stress");
  }
  EXPECT_EQ(wrong, 0);
}

TEST(NodeWindow, KeepsRanksTogetherThroughThousandsOfBarriers) {
  const Communicator communicator;
  NodeWindow window(communicator, 16);
  ASSERT_TRUE(window.is_shared());

  stress_barrier(window, kSleeper, 2000);
  stress_barrier(window, kSpinner, 500);
}

TEST(NodeWindow, NamesTheNodeRanksThatDoNotComeToABarrier) {
  const Communicator communicator;
  if (communicator.size() == 1) GTEST_SKIP() << "one rank waits for nobody";
  NodeWindow window(communicator, 16);
  ASSERT_TRUE(window.is_shared());

  if (communicator.rank() == 0) {
    try {
      window.barrier({.spins = 10, .timeout_s = 0.05}, "summing bucket 7");
      ADD_FAILURE() << "nobody else came";
    } catch (const CommError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("summing bucket 7"), std::string::npos) << text;
      std::string missing = "node rank 1";
      for (int rank = 2; rank < communicator.size(); ++rank) missing += ", " + std::to_string(rank);
      EXPECT_NE(text.find(missing), std::string::npos) << text;
    }
  }
  communicator.barrier();
}

TEST(NodeWindow, IsPrivateWithAReasonWhereSharedMemoryCannotBeHad) {
  const Communicator communicator;
  for (const char* directory : {"/nowhere/at/all", "/proc"}) {  // missing; without any room
    const BackingDirectory elsewhere(directory);
    NodeWindow window(communicator, 100003);

    EXPECT_EQ(window.is_shared(), communicator.size() == 1);
    EXPECT_EQ(window.own().size(), 100003u);
    EXPECT_TRUE(std::all_of(window.own().begin(), window.own().end(), [](float value) { return value == 0.0f; }));
    if (communicator.size() == 1) continue;
    EXPECT_NE(window.reason().find(directory), std::string::npos) << window.reason();
    EXPECT_NE(window.reason().find(host_name()), std::string::npos) << window.reason();
    EXPECT_THROW(window.segment((communicator.rank() + 1) % communicator.size()), std::logic_error);
    EXPECT_THROW(window.rows(0), std::logic_error);
  }
}

TEST(NodeWindow, IsPrivateOnAllRanksWhenOneOfThemCannotShare) {
  const Communicator communicator;
  if (communicator.size() == 1) GTEST_SKIP() << "one rank always shares with itself";
  {
    std::optional<BackingDirectory> elsewhere;
    if (communicator.rank() == communicator.size() - 1) elsewhere.emplace("/nowhere/at/all");
    const NodeWindow window(communicator, 1000);

    EXPECT_FALSE(window.is_shared());
    EXPECT_NE(window.reason(), "");
  }
}

TEST(NodeWindow, HasABarrierWithoutSharedMemoryToo) {
  const Communicator communicator;
  const BackingDirectory elsewhere("/nowhere/at/all");
  NodeWindow window(communicator, 16);
  if (communicator.size() > 1) {
    ASSERT_FALSE(window.is_shared());
  }
  const auto start = std::chrono::steady_clock::now();
  constexpr auto kLate = std::chrono::milliseconds(100);
  if (communicator.rank() == communicator.size() - 1) std::this_thread::sleep_for(kLate);

  window.barrier(kSleeper, "test");

  const bool all_waited = communicator.size() == 1 || std::chrono::steady_clock::now() - start > kLate / 2;
  EXPECT_TRUE(all_waited);
  for (int round = 0; round < 100; ++round) window.barrier(kSpinner, "test");
}

}  // namespace
}  // namespace dtrain
