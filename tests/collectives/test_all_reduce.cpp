// Every all-reduce algorithm at any rank count: exact sums of integers, the same bits on all ranks, nothing written beside the
// slice.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "collectives/all_reduce.hpp"
#include "collectives/comm_thread.hpp"
#include "dtrain/error.hpp"
#include "dtrain/random.hpp"

namespace dtrain {
namespace {

constexpr WaitPolicy kWait{.spins = 100, .timeout_s = 60.0};
constexpr std::int64_t kLargest = 1048577;
constexpr std::int64_t kBeside = 24;  ///< elements before and after a slice; no multiple of a cache line
constexpr float kUntouched = -77.0f;

/// Element i of a rank's contribution: a small integer, so that sums of eight are exact in any order.
float integer(std::int64_t rank, std::int64_t i) { return static_cast<float>((i * 7 + rank * 3) % 101 - 50); }

/// Counts around the rank count, larger than a vector, and larger than a ring segment.
std::vector<std::int64_t> counts_for(int size) { return {0, 1, size - 1, size, size + 1, 10007, kLargest}; }

struct Case {
  AllReduceAlgorithm algorithm;
  int ranks_per_node;  ///< 0: all on one node
};
std::string to_name(const testing::TestParamInfo<Case>& info) {
  const std::string nodes =
      info.param.ranks_per_node == 0 ? "OnOneNode" : std::to_string(info.param.ranks_per_node) + "RanksANode";
  return to_text(info.param.algorithm) + nodes;
}

class AllReduceBy : public testing::TestWithParam<Case> {
 protected:
  Communicator communicator_{GetParam().ranks_per_node};
  NodeWindow window_{communicator_, kLargest + 2 * kBeside};
  AllReduce all_reduce_{communicator_, window_, GetParam().algorithm, kWait};

  /// Sums `count` values of a function of (rank, i), and returns this rank's result.
  template <typename Value>
  std::span<const float> sum(std::int64_t count, const Value& value) {
    const std::span<float> own = window_.own().first(static_cast<std::size_t>(count + 2 * kBeside));
    std::fill(own.begin(), own.end(), kUntouched);
    const std::span<float> slice = own.subspan(kBeside, static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) slice[static_cast<std::size_t>(i)] = value(communicator_.rank(), i);
    all_reduce_.run(kBeside, count);
    return slice;
  }
};

TEST_P(AllReduceBy, GivesExactSumsOfIntegers) {
  for (const std::int64_t count : counts_for(communicator_.size())) {
    const std::span<const float> slice = sum(count, integer);

    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      float expected = 0.0f;
      for (int rank = 0; rank < communicator_.size(); ++rank) expected += integer(rank, i);
      wrong += slice[static_cast<std::size_t>(i)] == expected ? 0 : 1;
    }
    EXPECT_EQ(wrong, 0) << "of " << count << " elements";
    communicator_.barrier();  // a rank that is ahead writes its own segment alone, but others may still check neighbours
  }
}

TEST_P(AllReduceBy, WritesNothingBesideTheSlice) {
  for (const std::int64_t count : counts_for(communicator_.size())) {
    sum(count, integer);

    const std::span<const float> own = window_.own();
    std::int64_t touched = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(kBeside); ++i) {
      touched += own[i] == kUntouched ? 0 : 1;
      touched += own[static_cast<std::size_t>(kBeside + count) + i] == kUntouched ? 0 : 1;
    }
    EXPECT_EQ(touched, 0) << "with " << count << " elements";
  }
}

TEST_P(AllReduceBy, GivesAllRanksTheSameBitsTwice) {
  const auto real = [](int rank, std::int64_t i) {
    return static_cast<float>(
        Random(1, RandomPurpose::perturbation, {static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(i)}).normal());
  };
  for (const std::int64_t count : {std::int64_t{10007}, std::int64_t{300007}}) {
    const std::span<const float> first = sum(count, real);
    const std::string first_bits(reinterpret_cast<const char*>(first.data()), first.size_bytes());
    const std::span<const float> second = sum(count, real);
    const std::string second_bits(reinterpret_cast<const char*>(second.data()), second.size_bytes());

    EXPECT_TRUE(first_bits == second_bits) << "run to run, " << count << " elements";
    EXPECT_TRUE(communicator_.broadcast_text(first_bits) == first_bits) << "rank to rank, " << count << " elements";
  }
}

TEST_P(AllReduceBy, RunsManyTimesBackToBack) {
  constexpr int kRounds = 50;
  const std::span<float> own = window_.own().first(101);
  float expected = 1.0f;
  std::fill(own.begin(), own.end(), 1.0f);
  for (int round = 0; round < kRounds; ++round) {
    all_reduce_.run(0, 101);
    // Kept small: after each sum all ranks hold size · x; back to x.
    for (float& value : own) value = value / static_cast<float>(communicator_.size()) + 1.0f;
    expected += 1.0f;
  }

  EXPECT_EQ(own[0], expected);
  EXPECT_EQ(own[100], expected);
}

TEST_P(AllReduceBy, RunsBucketsOnTheCommThreadWhileTheOwnerWrites) {
  constexpr std::int64_t kBucket = 20000;
  constexpr int kBuckets = 20;
  CommThread thread([&](int bucket) { all_reduce_.run(bucket * kBucket, kBucket); }, kBuckets, {});
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    for (std::int64_t i = bucket * kBucket; i < (bucket + 1) * kBucket; ++i) {
      window_.own()[static_cast<std::size_t>(i)] = integer(communicator_.rank(), i);
    }
    thread.submit(bucket);
  }

  std::int64_t wrong = 0;
  for (int bucket = 0; bucket < kBuckets; ++bucket) {
    thread.wait(bucket);
    for (std::int64_t i = bucket * kBucket; i < (bucket + 1) * kBucket; ++i) {
      float expected = 0.0f;
      for (int rank = 0; rank < communicator_.size(); ++rank) expected += integer(rank, i);
      wrong += window_.own()[static_cast<std::size_t>(i)] == expected ? 0 : 1;
    }
  }

  EXPECT_EQ(wrong, 0);
  thread.reset();
}

INSTANTIATE_TEST_SUITE_P(Algorithms, AllReduceBy,
                         testing::Values(Case{AllReduceAlgorithm::shm, 0}, Case{AllReduceAlgorithm::ring, 0},
                                         Case{AllReduceAlgorithm::mpi, 0}, Case{AllReduceAlgorithm::ring, 1},
                                         Case{AllReduceAlgorithm::ring, 2}),
                         to_name);

TEST(AllReduce, ByNoneLeavesEveryRankItsOwn) {
  const Communicator communicator;
  NodeWindow window(communicator, 100);
  std::fill(window.own().begin(), window.own().end(), static_cast<float>(communicator.rank()));
  AllReduce all_reduce(communicator, window, AllReduceAlgorithm::none, kWait);

  all_reduce.run(0, 100);

  for (const float value : window.own()) EXPECT_EQ(value, static_cast<float>(communicator.rank()));
}

TEST(AllReduce, RefusesToRunUndecided) {
  const Communicator communicator;
  NodeWindow window(communicator, 100);

  EXPECT_THROW(AllReduce(communicator, window, AllReduceAlgorithm::automatic, kWait), std::logic_error);
}

TEST(ChooseAllReduce, TakesSharedMemoryOnOneNodeAndTheRingElsewhere) {
  using enum AllReduceAlgorithm;
  const Communicator one_node;
  const Communicator several_nodes(1);
  const bool is_alone = one_node.size() == 1;

  EXPECT_EQ(choose_all_reduce(automatic, one_node, true), is_alone ? none : shm);
  EXPECT_EQ(choose_all_reduce(automatic, one_node, false), is_alone ? none : ring);
  EXPECT_EQ(choose_all_reduce(automatic, several_nodes, true), is_alone ? none : ring);
  for (const AllReduceAlgorithm asked : {ring, mpi, none}) EXPECT_EQ(choose_all_reduce(asked, several_nodes, false), asked);
}

TEST(ChooseAllReduce, RefusesSharedMemoryThatIsNotThere) {
  const Communicator one_node;
  const Communicator several_nodes(1);

  EXPECT_EQ(choose_all_reduce(AllReduceAlgorithm::shm, one_node, true), AllReduceAlgorithm::shm);
  EXPECT_THROW(choose_all_reduce(AllReduceAlgorithm::shm, one_node, false), ConfigError);
  if (several_nodes.size() > 1) {
    EXPECT_THROW(choose_all_reduce(AllReduceAlgorithm::shm, several_nodes, true), ConfigError);
  }
}

// The peers never call; a short slice, so that what rank 0 sends leaves nothing pending behind.
TEST(RingAllReduce, NamesThePeerTheBlockAndTheStepThatItWaitedFor) {
  static std::vector<float> data(64), scratch(static_cast<std::size_t>(ring_scratch_elements()));  // outlive the receive
  const Communicator communicator;
  if (communicator.size() == 1) GTEST_SKIP() << "one rank waits for nobody";

  if (communicator.rank() == 0) {
    try {
      ring_all_reduce(communicator, data, scratch, {.spins = 10, .timeout_s = 0.05});
      ADD_FAILURE() << "nobody else came";
    } catch (const CommError& error) {
      const std::string text = error.what();
      const std::string left = std::to_string(communicator.size() - 1);
      EXPECT_NE(text.find("step 0 of"), std::string::npos) << text;
      EXPECT_NE(text.find("receiving block " + left + " from rank " + left), std::string::npos) << text;
    }
  }
  communicator.barrier();
}

}  // namespace
}  // namespace dtrain
