// The communicator at any rank count: the split into nodes, sums in rank order, texts, and agreement at start.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "dtrain/error.hpp"
#include "dtrain/random.hpp"

namespace dtrain {
namespace {

/// A variable of the environment, changed until the end of a scope.
class ScopedVariable {
 public:
  ScopedVariable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    setenv(name, value, 1);
  }
  ~ScopedVariable() {
    if (before_) {
      setenv(name_, before_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  ScopedVariable(const ScopedVariable&) = delete;
  ScopedVariable& operator=(const ScopedVariable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(Communicator, CountsAllRanksOfThisMachineAsOneNode) {
  const Communicator communicator;

  EXPECT_EQ(communicator.nodes(), 1);
  EXPECT_EQ(communicator.node_index(), 0);
  EXPECT_EQ(communicator.node_size(), communicator.size());
  EXPECT_EQ(communicator.node_rank(), communicator.rank());
  EXPECT_EQ(communicator.is_root(), communicator.rank() == 0);
}

TEST(Communicator, CutsConsecutiveRanksIntoNodesWhenAsked) {
  for (const int ranks_per_node : {1, 2, 3}) {
    const Communicator communicator(ranks_per_node);
    const int node = communicator.rank() / ranks_per_node;

    EXPECT_EQ(communicator.nodes(), (communicator.size() + ranks_per_node - 1) / ranks_per_node);
    EXPECT_EQ(communicator.node_index(), node);
    EXPECT_EQ(communicator.node_rank(), communicator.rank() % ranks_per_node);
    EXPECT_EQ(communicator.node_size(), std::min(ranks_per_node, communicator.size() - node * ranks_per_node));
  }
}

/// The numbers that rank `rank` contributes: of mixed magnitude, so that another order of additions would show.
template <typename T>
std::vector<T> contribution(int rank, std::size_t count) {
  std::vector<T> values(count);
  Random random(1, RandomPurpose::perturbation, {static_cast<std::uint64_t>(rank)});
  for (T& value : values) value = static_cast<T>(random.normal() * std::exp(random.uniform(-8.0, 8.0)));
  return values;
}

template <typename T>
void expect_sums_in_rank_order(std::size_t count) {
  const Communicator communicator;
  std::vector<T> expected = contribution<T>(0, count);
  for (int rank = 1; rank < communicator.size(); ++rank) {
    const std::vector<T> values = contribution<T>(rank, count);
    for (std::size_t i = 0; i < count; ++i) expected[i] += values[i];
  }
  std::vector<T> values = contribution<T>(communicator.rank(), count);

  communicator.sum(std::span<T>(values));

  EXPECT_TRUE(count == 0 || std::memcmp(values.data(), expected.data(), count * sizeof(T)) == 0) << count << " elements";
}

TEST(Communicator, CutsAPartOutOfItsRanks) {
  for (const int ranks_per_node : {1, 2, 3}) {
    const Communicator whole(ranks_per_node);
    const int part = whole.rank() % 2;
    const Communicator half(whole, part);

    EXPECT_EQ(half.size(), (whole.size() + 1 - part) / 2);
    EXPECT_EQ(half.rank(), whole.rank() / 2);
    for (int rank = 0; rank < half.size(); ++rank) EXPECT_EQ(half.job_rank(rank), 2 * rank + part);
    // Ranks of a node are still together.
    for (int rank = 0; rank < half.size(); ++rank) {
      const bool was_here = whole.node_of(half.job_rank(rank)) == whole.node_index();
      EXPECT_EQ(half.node_of(rank) == half.node_index(), was_here);
    }
    EXPECT_EQ(half.max(static_cast<double>(whole.rank())), half.job_rank(half.size() - 1));
    const std::string difference = whole.rank() >= 2 ? "b" : "a";
    if (half.size() == 1) continue;
    try {
      half.require_equal({{"value", difference}});
      ADD_FAILURE() << "the part's ranks were given different values";
    } catch (const CommError& error) {
      EXPECT_NE(std::string(error.what()).find("on rank " + std::to_string(2 + part)), std::string::npos) << error.what();
    }
  }
}

TEST(Communicator, SumsInRankOrderToTheBit) {
  for (const std::size_t count : {0, 1, 2, 3, 7, 8, 9, 10007}) {
    expect_sums_in_rank_order<float>(count);
    expect_sums_in_rank_order<double>(count);
  }
}

// Long enough that every rank sums a block instead of everything, at any rank count above one.
TEST(Communicator, SumsLongArraysInRankOrderToTheBit) {
  expect_sums_in_rank_order<float>(140001);
  expect_sums_in_rank_order<double>(70001);
}

TEST(Communicator, FindsExtremesAndAgreement) {
  const Communicator communicator;
  const bool is_last = communicator.rank() == communicator.size() - 1;

  EXPECT_EQ(communicator.max(communicator.rank()), communicator.size() - 1);
  EXPECT_EQ(communicator.min(communicator.rank() + 1.5), 1.5);
  EXPECT_TRUE(communicator.all(true));
  EXPECT_FALSE(communicator.all(!is_last));
  EXPECT_TRUE(communicator.any(is_last));
  EXPECT_FALSE(communicator.any(false));
}

TEST(Communicator, BroadcastsFromAnyRoot) {
  const Communicator communicator;
  for (int root = 0; root < communicator.size(); ++root) {
    const std::string own = "rank " + std::to_string(communicator.rank()) + std::string(static_cast<std::size_t>(root), '.');
    std::vector<int> numbers(1000, communicator.rank());

    const std::string text = communicator.broadcast_text(own, root);
    communicator.broadcast(std::as_writable_bytes(std::span(numbers)), root);

    EXPECT_EQ(text, "rank " + std::to_string(root) + std::string(static_cast<std::size_t>(root), '.'));
    EXPECT_EQ(numbers, std::vector<int>(1000, root));
  }
  EXPECT_EQ(communicator.broadcast_text(""), "");
}

TEST(Communicator, GathersTextsOfAnyLengthFromAllRanksAndFromTheNode) {
  const Communicator communicator(2);
  const auto text_of = [](int rank) {
    return std::string(static_cast<std::size_t>(rank) * 1000, static_cast<char>('a' + rank));
  };

  const std::vector<std::string> all = communicator.gather_texts(text_of(communicator.rank()));
  const std::vector<std::string> node = communicator.gather_node_texts(text_of(communicator.rank()));

  ASSERT_EQ(static_cast<int>(all.size()), communicator.size());
  for (int rank = 0; rank < communicator.size(); ++rank) EXPECT_EQ(all[static_cast<std::size_t>(rank)], text_of(rank));
  ASSERT_EQ(static_cast<int>(node.size()), communicator.node_size());
  for (int rank = 0; rank < communicator.node_size(); ++rank) {
    EXPECT_EQ(node[static_cast<std::size_t>(rank)], text_of(communicator.node_index() * 2 + rank));
  }
}

TEST(Communicator, AcceptsEqualValues) {
  const Communicator communicator;

  EXPECT_NO_THROW(communicator.require_equal({{"version", "0.1.0"}, {"configuration", std::string(5000, 'x')}}));
  EXPECT_NO_THROW(communicator.require_equal({}));
}

TEST(Communicator, RefusesValuesThatDifferWithTheSameMessageOnAllRanks) {
  const Communicator communicator;
  if (communicator.size() == 1) GTEST_SKIP() << "one rank differs from nobody";
  const bool is_last = communicator.rank() == communicator.size() - 1;
  std::string text;

  try {
    communicator.require_equal({{"version", "0.1.0"}, {"layout", is_last ? "17" : "16"}});
    ADD_FAILURE() << "the last rank's layout differs";
  } catch (const CommError& error) {
    text = error.what();
  }

  EXPECT_NE(text.find("layout: \"16\" on rank 0"), std::string::npos) << text;
  EXPECT_NE(text.find("\"17\" on rank " + std::to_string(communicator.size() - 1)), std::string::npos) << text;
  EXPECT_NE(text.find(host_name()), std::string::npos) << text;
  EXPECT_EQ(text.find("version"), std::string::npos) << text;
  for (const std::string& other : communicator.gather_texts(text)) EXPECT_EQ(other, text);
}

TEST(Communicator, RefusesToBeAloneWhereALauncherStartedSeveral) {
  int ranks = 0;
  {
    const Communicator communicator;
    ranks = communicator.size();
  }
  const ScopedVariable launched("OMPI_COMM_WORLD_SIZE", "12");
  if (ranks > 1) {
    EXPECT_NO_THROW(Communicator{}) << "ranks that see each other are no singletons, whatever the environment says";
    return;
  }

  try {
    const Communicator communicator;
    ADD_FAILURE() << "12 processes were started, each alone";
  } catch (const CommError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("12 ranks, which mpirun"), std::string::npos) << text;
    EXPECT_NE(text.find("found 1"), std::string::npos) << text;
    EXPECT_NE(text.find("try: "), std::string::npos) << text;
  }
}

TEST(MpiSession, IsOnePerProcess) { EXPECT_THROW(MpiSession(nullptr, nullptr), std::logic_error); }

}  // namespace
}  // namespace dtrain
