// Every all-reduce algorithm at any rank count, on one node and on several: exact sums of integers, the same bits on all ranks,
// nothing written beside the slice, and in bf16 no more rounding than derived.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "collectives/all_reduce.hpp"
#include "collectives/comm_thread.hpp"
#include "dtrain/error.hpp"
#include "dtrain/random.hpp"
#include "schedules/ring.hpp"

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
  std::string name = to_text(info.param.algorithm) + nodes;
  std::erase(name, '-');
  return name;
}

class AllReduceBy : public testing::TestWithParam<Case> {
 protected:
  Communicator communicator_{GetParam().ranks_per_node};
  NodeWindow window_{communicator_, kLargest + 2 * kBeside};
  AllReduce all_reduce_{communicator_, window_, GetParam().algorithm, WireType::fp32, kWait};

  /// Sums `count` values of a function of (rank, i), and returns this rank's result.
  template <typename Value>
  std::span<const float> sum(std::int64_t count, const Value& value) {
    const std::span<float> own = window_.own().first(static_cast<std::size_t>(count + 2 * kBeside));
    std::fill(own.begin(), own.end(), kUntouched);
    const std::span<float> slice = own.subspan(kBeside, static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) slice[static_cast<std::size_t>(i)] = value(communicator_.rank(), i);
    all_reduce_.run(all_reduce_.prepare({kBeside, kBeside + count}));
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
  const int slice = all_reduce_.prepare({0, 101});
  for (int round = 0; round < kRounds; ++round) {
    all_reduce_.run(slice);
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
  for (int bucket = 0; bucket < kBuckets; ++bucket) all_reduce_.prepare({bucket * kBucket, (bucket + 1) * kBucket});
  CommThread thread([&](int bucket) { all_reduce_.run(bucket); }, kBuckets, {});
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

/// All algorithms that sum, on one node and on several.
std::vector<Case> all_cases() {
  using enum AllReduceAlgorithm;
  std::vector<Case> cases{{shm, 0}};
  for (const int ranks_per_node : {0, 1, 2, 3}) {
    for (const AllReduceAlgorithm algorithm : {ring, halving_doubling, hierarchical}) {
      cases.push_back({.algorithm = algorithm, .ranks_per_node = ranks_per_node});
    }
  }
  cases.push_back({mpi, 0});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Algorithms, AllReduceBy, testing::ValuesIn(all_cases()), to_name);

// ResNet-50's gradients, in one slice: many segments, and more elements than any bucket has.
TEST(AllReduce, GivesExactSumsOfTensOfMillions) {
  constexpr std::int64_t kElements = 26'000'003;
  for (const AllReduceAlgorithm algorithm :
       {AllReduceAlgorithm::ring, AllReduceAlgorithm::halving_doubling, AllReduceAlgorithm::hierarchical}) {
    const Communicator communicator(2);
    NodeWindow window(communicator, kElements);
    AllReduce all_reduce(communicator, window, algorithm, WireType::fp32, kWait);
    for (std::int64_t i = 0; i < kElements; ++i) {
      window.own()[static_cast<std::size_t>(i)] = integer(communicator.rank(), i);
    }

    all_reduce.run(all_reduce.prepare({0, kElements}));

    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < kElements; i += 37) {
      float expected = 0.0f;
      for (int rank = 0; rank < communicator.size(); ++rank) expected += integer(rank, i);
      wrong += window.own()[static_cast<std::size_t>(i)] == expected ? 0 : 1;
    }
    EXPECT_EQ(wrong, 0) << to_text(algorithm);
    communicator.barrier();
  }
}

float uniform(int rank, std::int64_t i) {
  return static_cast<float>(
      Random(2, RandomPurpose::perturbation, {static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(i)}).uniform(-1, 1));
}

// Each of the h additions of partial sums on the way, and the full sum, round what they take by at most 2⁻⁸ of it. A partial
// sum is at most Σ|x| and grows by the roundings before, so |error| ≤ ((1+2⁻⁸)^(h+1) − 1) · Σ|x|. h: ranks−1 in a ring, log₂ of
// them (and one to fold) in halving-doubling, nodes−1 in the hierarchy. Sums in f32 add a few 2⁻²⁴.
TEST(AllReduce, InBf16RoundsNoMoreThanDerivedAndAlikeOnAllRanks) {
  constexpr std::int64_t kElements = 300'007;
  for (const AllReduceAlgorithm algorithm :
       {AllReduceAlgorithm::ring, AllReduceAlgorithm::halving_doubling, AllReduceAlgorithm::hierarchical}) {
    for (const int ranks_per_node : {1, 2, 3}) {
      const Communicator communicator(ranks_per_node);
      NodeWindow window(communicator, kElements);
      AllReduce all_reduce(communicator, window, algorithm, WireType::bf16, kWait);
      for (std::int64_t i = 0; i < kElements; ++i) {
        window.own()[static_cast<std::size_t>(i)] = uniform(communicator.rank(), i);
      }

      all_reduce.run(all_reduce.prepare({0, kElements}));

      const double hops = algorithm == AllReduceAlgorithm::ring           ? communicator.size() - 1
                          : algorithm == AllReduceAlgorithm::hierarchical ? communicator.nodes() - 1
                                                                          : std::ceil(std::log2(communicator.size()));
      const double relative = std::pow(1.0 + 0x1p-8, hops + 1) - 1.0 + 16 * 0x1p-24;
      const bool travels = algorithm == AllReduceAlgorithm::hierarchical ? communicator.nodes() > 1 : communicator.size() > 1;
      double worst = 0.0;  // of the bound
      std::int64_t rounded = 0;
      for (std::int64_t i = 0; i < kElements; i += 3) {
        double sum = 0.0;
        double magnitude = 0.0;
        for (int rank = 0; rank < communicator.size(); ++rank) {
          sum += uniform(rank, i);
          magnitude += std::abs(uniform(rank, i));
        }
        const float found = window.own()[static_cast<std::size_t>(i)];
        worst = std::max(worst, std::abs(found - sum) / (relative * magnitude));
        rounded += (std::bit_cast<std::uint32_t>(found) & 0xffffU) == 0 ? 1 : 0;
      }
      EXPECT_LE(worst, 1.0) << to_text(algorithm) << ", " << ranks_per_node << " ranks a node";
      if (travels) {
        EXPECT_EQ(rounded, (kElements + 2) / 3) << "full sums travel, and stay, in bf16";
      }
      const std::string bits(reinterpret_cast<const char*>(window.own().data()), window.own().size_bytes());
      EXPECT_TRUE(communicator.broadcast_text(bits) == bits) << to_text(algorithm) << ", rank to rank";
      communicator.barrier();
    }
  }
}

TEST_P(AllReduceBy, LeavesSumsWithTheOwnersOfShardsWhoTogetherHaveAll) {
  constexpr std::int64_t kElements = 10007;
  for (const std::int64_t alignment : {kLineElements, std::int64_t{1024}}) {
    for (const SumsAt where : {SumsAt::shard_owner, SumsAt::every_rank}) {
      const int slice = all_reduce_.prepare({kBeside, kBeside + kElements}, {.where = where, .shard_alignment = alignment});
      for (std::int64_t i = 0; i < kElements; ++i) {
        window_.own()[static_cast<std::size_t>(kBeside + i)] = integer(communicator_.rank(), i);
      }

      all_reduce_.run(slice);
      window_.barrier(kWait, "test");

      const Range& shard = all_reduce_.shard(slice);
      for (const std::int64_t cut : {shard.begin, shard.end}) {
        EXPECT_TRUE(cut == kBeside || cut == kBeside + kElements || cut % alignment == 0) << cut;
      }
      std::int64_t wrong = 0;
      std::vector<double> owners(kElements, 0.0);
      for (std::int64_t at = kBeside; at < kBeside + kElements; ++at) {
        const bool is_own = shard.begin <= at && at < shard.end;
        if (is_own) owners[static_cast<std::size_t>(at - kBeside)] = 1.0;
        if (!is_own && where == SumsAt::shard_owner) continue;
        float expected = 0.0f;
        for (int rank = 0; rank < communicator_.size(); ++rank) expected += integer(rank, at - kBeside);
        wrong += window_.own()[static_cast<std::size_t>(at)] == expected ? 0 : 1;
      }
      communicator_.sum(owners);
      EXPECT_EQ(wrong, 0);
      EXPECT_EQ(owners, std::vector<double>(kElements, communicator_.nodes())) << "one owner on every node";
      window_.barrier(kWait, "test");
    }
  }
}

TEST(AllReduce, RoundsNoExactSliceOnABf16Wire) {
  const Communicator communicator(1);
  NodeWindow window(communicator, 32);
  AllReduce all_reduce(communicator, window, AllReduceAlgorithm::ring, WireType::bf16, kWait);
  std::fill(window.own().begin(), window.own().end(), 1.0f + 0x1p-20f);  // no bf16

  all_reduce.run(all_reduce.prepare({0, 16}, {.is_exact = true}));
  all_reduce.run(all_reduce.prepare({16, 32}));

  const auto size = static_cast<float>(communicator.size());
  EXPECT_EQ(window.own()[7], size * (1.0f + 0x1p-20f));
  EXPECT_EQ(window.own()[23], communicator.size() == 1 ? 1.0f + 0x1p-20f : size);
}

TEST(AllReduce, ByNoneLeavesEveryRankItsOwn) {
  const Communicator communicator;
  NodeWindow window(communicator, 100);
  std::fill(window.own().begin(), window.own().end(), static_cast<float>(communicator.rank()));
  AllReduce all_reduce(communicator, window, AllReduceAlgorithm::none, WireType::fp32, kWait);

  all_reduce.run(all_reduce.prepare({0, 100}));

  for (const float value : window.own()) EXPECT_EQ(value, static_cast<float>(communicator.rank()));
}

TEST(AllReduce, TakesTheAlgorithmOfTheTableForEachSize) {
  const Communicator communicator(1);
  NodeWindow window(communicator, 3000);
  AllReduce all_reduce(communicator, window, parse_algorithm_table("halving-doubling:0-4K;ring:4K-max"), WireType::fp32, kWait);
  std::fill(window.own().begin(), window.own().end(), 1.0f);

  const int shorter = all_reduce.prepare({0, 1000});
  const int longer = all_reduce.prepare({1000, 3000});
  all_reduce.run(shorter);
  all_reduce.run(longer);

  EXPECT_EQ(all_reduce.algorithm(shorter), AllReduceAlgorithm::halving_doubling);
  EXPECT_EQ(all_reduce.algorithm(longer), AllReduceAlgorithm::ring);
  for (const float value : window.own()) EXPECT_EQ(value, static_cast<float>(communicator.size()));
}

TEST(AllReduce, RefusesToRunUndecided) {
  const Communicator communicator;
  NodeWindow window(communicator, 100);

  EXPECT_THROW(AllReduce(communicator, window, AllReduceAlgorithm::automatic, WireType::fp32, kWait), std::logic_error);
}

AlgorithmTable chosen(const AlgorithmTable& asked, const Communicator& communicator, WireType wire = WireType::fp32) {
  const NodeWindow window(communicator, 100);
  return choose_algorithms(asked, communicator, window, wire);
}

TEST(ChooseAlgorithms, TakesSharedMemoryOnOneNodeAndATableElsewhere) {
  using enum AllReduceAlgorithm;
  const Communicator one_node;
  const Communicator several_nodes(1);
  const bool is_alone = one_node.size() == 1;

  EXPECT_EQ(chosen(automatic, one_node), is_alone ? none : shm);
  const AlgorithmTable between = chosen(automatic, several_nodes);
  EXPECT_FALSE(between.is_automatic() || between.uses(shm) || between.uses(mpi));
  EXPECT_EQ(between.uses(none), is_alone);
  for (const AllReduceAlgorithm asked : {ring, halving_doubling, hierarchical, mpi, none}) {
    EXPECT_EQ(chosen(asked, several_nodes), asked);
  }
}

TEST(ChooseAlgorithms, RefusesWhatCannotBeHadHere) {
  const Communicator one_node;
  const Communicator several_nodes(1);

  EXPECT_EQ(chosen(AllReduceAlgorithm::shm, one_node), AllReduceAlgorithm::shm);
  if (several_nodes.size() > 1) {
    EXPECT_THROW(chosen(AllReduceAlgorithm::shm, several_nodes), ConfigError);
  }
  EXPECT_THROW(chosen(AllReduceAlgorithm::shm, one_node, WireType::bf16), ConfigError);
  EXPECT_THROW(chosen(AllReduceAlgorithm::mpi, one_node, WireType::bf16), ConfigError);
  EXPECT_EQ(chosen(AllReduceAlgorithm::ring, one_node, WireType::bf16), AllReduceAlgorithm::ring);
}

// The peers never call; a short slice, so that what rank 0 sends leaves nothing pending behind.
TEST(Exchange, NamesThePeerAndTheTransferThatItWaitedFor) {
  static std::vector<float> data(64);  // outlives the receive
  static std::unique_ptr<Exchange> exchange;
  const Communicator communicator;
  if (communicator.size() == 1) GTEST_SKIP() << "one rank waits for nobody";
  exchange = std::make_unique<Exchange>(communicator, WaitPolicy{.spins = 10, .timeout_s = 0.05});

  if (communicator.rank() == 0) {
    const int size = communicator.size();
    const ExchangePlan plan = cut_into_segments(ring_steps(size, 0, {0, 64}), Exchange::segment_elements());
    try {
      const RankGroup everyone{.members = communicator.ranks_by_node(), .self = 0};
      exchange->run({.plan = plan, .group = everyone, .data = data, .name = "ring"});
      ADD_FAILURE() << "nobody else came";
    } catch (const CommError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("ring all-reduce on rank 0: receiving elements"), std::string::npos) << text;
      EXPECT_NE(text.find("from rank " + std::to_string(size - 1) + ", transfer 1 of"), std::string::npos) << text;
    }
  }
  communicator.barrier();
}

TEST(FewValues, AreSummedToTheSameBitsOnAllRanks) {
  const Communicator communicator;
  for (const std::size_t count : {0UL, 1UL, 4097UL}) {
    std::vector<double> exact(count), rounded(count);
    for (std::size_t i = 0; i < count; ++i) {
      exact[i] = static_cast<double>(integer(communicator.rank(), static_cast<std::int64_t>(i)));
      rounded[i] = 1.0 / static_cast<double>(3 * communicator.rank() + static_cast<int>(i % 100) + 1);
    }
    std::vector<double> again = rounded;

    sum_at_root(communicator, exact, kWait);
    sum_at_root(communicator, rounded, kWait);
    sum_at_root(communicator, again, kWait);

    for (std::size_t i = 0; i < count; ++i) {
      double expected = 0.0;
      for (int rank = 0; rank < communicator.size(); ++rank) {
        expected += static_cast<double>(integer(rank, static_cast<std::int64_t>(i)));
      }
      ASSERT_EQ(exact[i], expected) << i;
    }
    EXPECT_EQ(again, rounded);
    const std::string bits(reinterpret_cast<const char*>(rounded.data()), count * sizeof(double));
    EXPECT_EQ(communicator.broadcast_text(bits), bits);
  }
}

TEST(FewValues, OfRankZeroReachAllRanks) {
  const Communicator communicator;
  std::vector<float> values(2048, static_cast<float>(communicator.rank() + 1));

  broadcast_from_root(communicator, values, kWait);

  EXPECT_EQ(values, std::vector<float>(2048, 1.0f));
}

}  // namespace
}  // namespace dtrain
