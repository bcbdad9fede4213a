// Parameter servers at any rank count, dedicated and on the ranks that train: exact updates and the same bits on all workers,
// in every mode.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "dtrain/error.hpp"
#include "dtrain/random.hpp"
#include "tests/collectives/parameter_ranks.hpp"

namespace dtrain {
namespace {

/// Shapes of the exchange that every mode must manage.
struct Shape {
  const char* name;
  std::int64_t elements;
  std::int64_t partition_elements;
  int servers;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.name; }
constexpr Shape kFewElements[] = {{"ManySmallPartitionsCoLocated", 10007, 64, 0},
                                  {"ManySmallPartitionsOnOneServer", 10007, 64, 1},
                                  {"ManySmallPartitionsOnTwoServers", 10007, 64, 2},
                                  {"OnePartitionAServerCoLocated", 10007, 1 << 20, 0},
                                  {"OnePartitionOnOneServer", 10007, 1 << 20, 1},
                                  {"FewerElementsThanServers", 5, 64, 0},
                                  {"NothingButSums", 0, 64, 0}};
constexpr Shape kManyElements[] = {{"LargeMessagesCoLocated", 700001, 100000, 0},
                                   {"LargeMessagesOnTwoServers", 700001, 100000, 2}};

class ParameterServerOf : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    if (communicator_.size() <= GetParam().servers) GTEST_SKIP() << "too few ranks for a worker beside the servers";
  }
  RankOptions options(ServerMode mode) const {
    return {.elements = GetParam().elements,
            .partition_elements = GetParam().partition_elements,
            .servers = GetParam().servers,
            .mode = mode};
  }
  Communicator communicator_;
};
/// What many elements would say no better.
class ParameterServerOfFew : public ParameterServerOf {};

TEST_P(ParameterServerOf, SyncAppliesTheExactSumOfAllWorkersOnceAStep) {
  constexpr std::int64_t kSteps = 4;
  ParameterRank rank(communicator_, options(ServerMode::sync));
  std::vector<float> expected = rank.weights;
  std::int64_t wrong = 0;

  rank.run(0, kSteps, [&](std::int64_t step) {
    const std::int64_t next =
        rank.step({.step = step}, [&](std::int64_t i) { return integer_gradient(communicator_.rank(), step, i); });
    for (std::size_t i = 0; i < expected.size(); ++i) {
      for (const int worker : rank.plan.roles.workers) {
        expected[i] -= integer_gradient(worker, step, static_cast<std::int64_t>(i));
      }
      wrong += rank.weights[i] == expected[i] ? 0 : 1;
    }
    EXPECT_EQ(next, step + 1);
    return next;
  });

  EXPECT_EQ(wrong, 0);
  if (rank.serves() && rank.updated_partition.size() > 0) {
    EXPECT_EQ(rank.updated_steps, (std::vector<std::int64_t>{0, 1, 2, 3}));
  }
}

TEST_P(ParameterServerOfFew, SyncAddsInWorkerOrderToTheBit) {
  ParameterRank rank(communicator_, options(ServerMode::sync));
  std::vector<float> expected = rank.weights;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    float sum = real_gradient(rank.plan.roles.workers.front(), 0, static_cast<std::int64_t>(i));
    for (int worker = 1; worker < rank.workers(); ++worker) {
      sum += real_gradient(rank.plan.roles.workers[static_cast<std::size_t>(worker)], 0, static_cast<std::int64_t>(i));
    }
    expected[i] -= sum;
  }

  rank.run(0, 1, [&](std::int64_t step) {
    if (communicator_.rank() == 0) sleep_ms(20);  // the others' gradients come first
    return rank.step({.step = step}, [&](std::int64_t i) { return real_gradient(communicator_.rank(), step, i); });
  });

  if (rank.trains()) {
    EXPECT_TRUE(bits_of(rank.weights) == bits_of(expected));
  }
}

TEST_P(ParameterServerOf, SyncGivesAllWorkersTheSumsOfTheStep) {
  ParameterRank rank(communicator_, options(ServerMode::sync));

  rank.run(0, 3, [&](std::int64_t step) {
    float* sums = rank.gradients.data() + GetParam().elements;
    sums[0] = static_cast<float>(communicator_.rank() + 1);
    sums[1] = static_cast<float>(step);
    sums[2] = 0.5f;
    const std::int64_t next = rank.step({.step = step}, [](std::int64_t) { return 0.0f; });
    float ranks = 0.0f;
    for (const int worker : rank.plan.roles.workers) ranks += static_cast<float>(worker + 1);
    EXPECT_EQ(sums[0], ranks);
    EXPECT_EQ(sums[1], static_cast<float>(step * rank.workers()));
    EXPECT_EQ(sums[2], 0.5f * static_cast<float>(rank.workers()));
    return next;
  });
}

// Gradients in proportion to the samples: the mean is the same whichever workers count, so the weights are known.
TEST_P(ParameterServerOf, BackupAppliesTheMeanOverTheSamplesThatCountedAndLeavesAllWorkersEqual) {
  constexpr std::int64_t kSteps = 12;
  RankOptions backup = options(ServerMode::backup);
  const int workers = static_cast<int>(plan_of(communicator_, backup).roles.workers.size());
  backup.backup_workers = std::min(2, workers - 1);
  ParameterRank rank(communicator_, backup);
  const std::int64_t batch = workers * (workers + 1) / 2;
  const std::int64_t samples = communicator_.rank() + 1;  // workers are the first ranks
  Random random(2, RandomPurpose::perturbation, {static_cast<std::uint64_t>(communicator_.rank())});

  rank.run(0, kSteps, [&](std::int64_t step) {
    sleep_ms(random.below(5));
    const auto gradient = [&](std::int64_t i) {
      return static_cast<float>(samples * ((step + i) % 3)) / static_cast<float>(batch);
    };
    const std::int64_t next = rank.step({.step = step, .samples = samples, .batch_samples = batch}, gradient);
    EXPECT_GT(next, step);
    EXPECT_LE(next, kSteps);
    return next;
  });

  EXPECT_TRUE(are_equal_on_workers(communicator_, rank));
  if (!rank.trains()) return;
  // Twelve updates of at most 2: every one errs by a rounding of each gradient, of each of up to seven additions, of the scale
  // and of the product, relative to 2, and by one of the weight, which stays below 32.
  const double tolerance = kSteps * std::ldexp(1.0, -24) * (2.0 * (1 + 7 + 1 + 1) + 32.0);
  double worst = 0.0;
  for (std::int64_t i = 0; i < backup.elements; ++i) {
    double expected = ParameterRank::start(i);
    for (std::int64_t step = 0; step < kSteps; ++step) expected -= static_cast<double>((step + i) % 3);
    worst = std::max(worst, std::abs(expected - static_cast<double>(rank.weights[static_cast<std::size_t>(i)])));
  }
  EXPECT_LE(worst, tolerance);
}

TEST_P(ParameterServerOf, AsyncAppliesEveryGradientOnce) {
  constexpr std::int64_t kSteps = 6;
  RankOptions async = options(ServerMode::async);
  async.max_staleness = 2;
  ParameterRank rank(communicator_, async);
  std::vector<float> expected = rank.weights;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    for (std::int64_t step = 0; step < kSteps; ++step) {
      for (const int worker : rank.plan.roles.workers) {
        expected[i] -= integer_gradient(worker, step, static_cast<std::int64_t>(i));
      }
    }
  }

  rank.run(0, kSteps, [&](std::int64_t step) {
    float* sums = rank.gradients.data() + GetParam().elements;
    sums[0] = static_cast<float>(communicator_.rank());
    const std::int64_t next =
        rank.step({.step = step}, [&](std::int64_t i) { return integer_gradient(communicator_.rank(), step, i); });
    EXPECT_EQ(sums[0], static_cast<float>(communicator_.rank())) << "a worker keeps its own";
    EXPECT_EQ(next, step + 1);
    return next;
  });
  std::vector<float> weights = rank.server_weights;
  broadcast_partitions(communicator_, rank.plan, weights);

  EXPECT_EQ(weights, expected);
}

TEST_P(ParameterServerOfFew, RunsManyStepsBackToBackInEveryMode) {
  for (const ServerMode mode : {ServerMode::sync, ServerMode::backup, ServerMode::async}) {
    constexpr std::int64_t kSteps = 60;
    ParameterRank rank(communicator_, options(mode));
    std::int64_t steps = 0;

    rank.run(0, kSteps, [&](std::int64_t step) {
      ++steps;
      return rank.step({.step = step, .samples = 1, .batch_samples = rank.workers()}, [](std::int64_t) { return 1.0f; });
    });
    std::vector<float> weights = rank.server_weights;
    broadcast_partitions(communicator_, rank.plan, weights);

    if (rank.trains()) {
      EXPECT_EQ(steps, kSteps) << "nobody is dropped without backup workers";
    }
    for (std::int64_t i = 0; i < GetParam().elements; ++i) {
      ASSERT_EQ(weights[static_cast<std::size_t>(i)], ParameterRank::start(i) - static_cast<float>(kSteps * rank.workers()))
          << to_text(mode);
    }
  }
}

std::string name_of(const testing::TestParamInfo<Shape>& shape) { return shape.param.name; }

INSTANTIATE_TEST_SUITE_P(Few, ParameterServerOf, testing::ValuesIn(kFewElements), name_of);
INSTANTIATE_TEST_SUITE_P(Many, ParameterServerOf, testing::ValuesIn(kManyElements), name_of);
INSTANTIATE_TEST_SUITE_P(Few, ParameterServerOfFew, testing::ValuesIn(kFewElements), name_of);

// The same workers, served by themselves or by a rank of its own.
TEST(ParameterServer, GivesTheSameBitsDedicatedAndCoLocated) {
  const Communicator communicator;
  if (communicator.size() == 1) GTEST_SKIP() << "no rank to dedicate";
  ServerRoles dedicated;
  for (int rank = 0; rank + 1 < communicator.size(); ++rank) dedicated.workers.push_back(rank);
  dedicated.servers = {communicator.size() - 1};
  const ServerRoles co_located{.workers = dedicated.workers, .servers = dedicated.workers};
  std::vector<std::string> results;

  for (const ServerRoles& roles : {dedicated, co_located}) {
    ParameterRank rank(communicator, {.elements = 5003, .roles = roles}, 0.125f);
    rank.run(0, 3, [&](std::int64_t step) {
      return rank.step({.step = step}, [&](std::int64_t i) { return real_gradient(communicator.rank(), step, i); });
    });
    EXPECT_TRUE(are_equal_on_workers(communicator, rank));
    results.push_back(bits_of(rank.weights));
  }

  EXPECT_TRUE(results[0] == results[1]);
}

TEST(ParameterServer, KnowsTheMemoryOfItsBuffers) {
  ParameterServerPlan plan;
  plan.roles = plan_server_roles({.node_of_rank = {0, 0, 0, 0, 0, 0}, .servers = 2});
  plan.partitions = plan_parameter_shards({.elements = 6 * 1024, .servers = 2, .partition_elements = 1024 + 16});

  EXPECT_EQ(plan.partitions.size(), 6U);
  EXPECT_EQ(ParameterServer::buffer_bytes(plan, 0), 0U);
  EXPECT_EQ(ParameterServer::buffer_bytes(plan, 5), (4U * 2 * 1024 + 3 * 1024) * sizeof(float));
  plan.mode = ServerMode::async;
  EXPECT_EQ(ParameterServer::buffer_bytes(plan, 5), 4U * 3 * 1024 * sizeof(float));
}

TEST(ParameterServer, RefusesPlansThatCannotBeCarriedOut) {
  const Communicator communicator;
  const auto refuses = [&](const RankOptions& options) {
    EXPECT_THROW(ParameterRank(communicator, options), std::logic_error);
  };

  refuses({.mode = ServerMode::backup, .backup_workers = communicator.size()});
  refuses({.mode = ServerMode::sync, .backup_workers = 1});
  refuses({.mode = ServerMode::async, .max_staleness = -1});
  refuses({.sum_elements = kMostSums + 1});
}

TEST(ServerMode, HasANameEach) {
  for (const ServerMode mode : {ServerMode::sync, ServerMode::backup, ServerMode::async}) {
    EXPECT_EQ(parse_server_mode(to_text(mode)), mode);
  }
  EXPECT_THROW(parse_server_mode("asynchronous"), ConfigError);
}

}  // namespace
}  // namespace dtrain
