// Parameter servers and workers in time: who waits for whom, who is dropped, who is held back, and who is named when nobody
// comes.
#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <string>

#include "collectives/comm_thread.hpp"
#include "dtrain/error.hpp"
#include "dtrain/random.hpp"
#include "tests/collectives/parameter_ranks.hpp"

namespace dtrain {
namespace {

using Clock = std::chrono::steady_clock;

TEST(ParameterServer, SendsWeightsBackWhileLaterGradientsAreStillToCome) {
  const Communicator communicator;
  ParameterRank rank(communicator, {.elements = 1000, .servers = communicator.size() > 1 ? 1 : 0});

  rank.run(0, 2, [&](std::int64_t step) {
    std::ranges::fill(rank.gradients, 1.0f);
    rank.worker->begin_step({.step = step});
    rank.worker->push(500);
    rank.worker->pull({0, 448});  // whole partitions; times out unless they come before the rest is pushed
    EXPECT_EQ(rank.weights[447], ParameterRank::start(447) - static_cast<float>(rank.workers() * (step + 1)));
    rank.worker->push(1003);
    rank.worker->finish_step();
    return rank.worker->next_step();
  });
}

// Between the phases other threads may use MPI, and weights and state can be had from the servers.
TEST(ParameterServer, PausesForCollectivesAndGoesOn) {
  const Communicator communicator;
  for (const ServerMode mode : {ServerMode::sync, ServerMode::backup, ServerMode::async}) {
    for (const int servers : {0, 1}) {
      if (servers >= communicator.size()) continue;
      ParameterRank rank(communicator, {.servers = servers, .mode = mode, .max_staleness = 1, .first_step = 100});
      for (std::int64_t phase = 0; phase < 5; ++phase) {
        rank.run(100 + phase * 3, 103 + phase * 3, [&](std::int64_t step) {
          return rank.step({.step = step, .samples = 1, .batch_samples = rank.workers()}, [](std::int64_t) { return 1.0f; });
        });
        if (communicator.rank() == 0) sleep_ms(2);  // the others are ahead
        std::vector<float> weights = rank.server_weights;
        broadcast_partitions(communicator, rank.plan, weights);

        EXPECT_EQ(weights.back(), ParameterRank::start(999) - static_cast<float>(rank.workers() * 3 * (phase + 1)));
        if (rank.trains() && mode != ServerMode::async) {
          EXPECT_TRUE(rank.weights == weights);
        }
        EXPECT_EQ(communicator.max(static_cast<double>(phase)), static_cast<double>(phase));
      }
      if (rank.serves() && mode != ServerMode::async) {
        EXPECT_EQ(rank.updated_steps.front(), 100);
      }
    }
  }
}

TEST(ParameterServer, DropsALateWorkerAndGoesOn) {
  const Communicator communicator;
  if (communicator.size() < 3) GTEST_SKIP() << "two workers and a server";
  constexpr std::int64_t kSteps = 8;
  constexpr std::int64_t kLateStep = 0;  // later ones it might miss anyway
  for (const int servers : {1, 2}) {
    if (communicator.size() < servers + 2) continue;
    Board board(communicator);
    board.write(0.0f);
    communicator.barrier();
    ParameterRank rank(communicator, {.servers = servers, .mode = ServerMode::backup, .backup_workers = 1});
    const int late = rank.workers() - 1;
    const auto punctual = static_cast<float>(rank.workers() - 1);
    std::vector<std::int64_t> steps;
    bool was_ever_early = false;

    rank.run(0, kSteps, [&](std::int64_t step) {
      steps.push_back(step);
      const bool is_late = communicator.rank() == late && step == kLateStep;
      if (is_late) {
        // Until the others are two steps on: they do not wait for this one.
        const auto give_up = Clock::now() + std::chrono::seconds(30);
        while (board.read(0) < static_cast<float>(kLateStep + 2) && Clock::now() < give_up) sleep_ms(1);
        was_ever_early = board.read(0) < static_cast<float>(kLateStep + 2);
      } else if (step > kLateStep + 1) {
        sleep_ms(5);  // so that the late one can catch up
      }
      float* sums = rank.gradients.data() + 1000;
      sums[0] = 1.0f;
      const std::int64_t next =
          rank.step({.step = step, .samples = 2, .batch_samples = 2 * rank.workers()}, [](std::int64_t) { return 2.0f; });
      EXPECT_EQ(sums[0], punctual * static_cast<float>(next - step)) << "sums are of those that counted, in all that was done";
      board.write(static_cast<float>(next));
      return next;
    });

    EXPECT_TRUE(are_equal_on_workers(communicator, rank));
    if (!rank.trains()) continue;
    EXPECT_FALSE(was_ever_early) << "the others waited for the late worker";
    // Two a worker, scaled up where one is missing: exact, for the scale's rounding is far below half a unit.
    EXPECT_NEAR(rank.weights[0], ParameterRank::start(0) - static_cast<float>(2 * rank.workers() * kSteps), 1e-3f);
    if (communicator.rank() == late) {
      EXPECT_LT(steps.size(), static_cast<std::size_t>(kSteps)) << "it skips what the others have done meanwhile";
      EXPECT_EQ(std::count(steps.begin(), steps.end(), kLateStep + 1), 0);
    }
  }
}

TEST(ParameterServer, WaitsForASampleBeforeItClosesAStep) {
  const Communicator communicator;
  if (communicator.size() < 3) GTEST_SKIP() << "two workers and a server";
  ParameterRank rank(communicator, {.servers = 1, .mode = ServerMode::backup, .backup_workers = communicator.size() - 2});
  const bool has_samples = communicator.rank() == 0;

  rank.run(0, 2, [&](std::int64_t step) {
    if (has_samples) sleep_ms(30);  // the others, who have none, are first
    float* sums = rank.gradients.data() + 1000;
    sums[0] = has_samples ? 4.0f : 0.0f;
    const std::int64_t next = rank.step({.step = step, .samples = has_samples ? 4 : 0, .batch_samples = 4},
                                        [&](std::int64_t) { return has_samples ? 1.0f : 0.0f; });
    EXPECT_EQ(sums[0], 4.0f * static_cast<float>(next - step));
    return next;
  });

  if (rank.trains()) {
    EXPECT_EQ(rank.weights[0], ParameterRank::start(0) - 2.0f);
  }
}

TEST(ParameterServer, HoldsBackAWorkerThatIsTooFarAhead) {
  const Communicator communicator;
  for (const std::int64_t staleness : {0, 1, 3}) {
    for (const int servers : {0, 1}) {
      if (communicator.size() < servers + 2) continue;
      constexpr std::int64_t kSteps = 9;
      Board board(communicator);
      board.write(0.0f);
      communicator.barrier();
      ParameterRank rank(communicator, {.servers = servers, .mode = ServerMode::async, .max_staleness = staleness});
      float furthest = 0.0f;

      rank.run(0, kSteps, [&](std::int64_t step) {
        // What a worker has begun to push it may have applied.
        float slowest = static_cast<float>(step);
        for (const int worker : rank.plan.roles.workers) slowest = std::min(slowest, board.read(worker));
        furthest = std::max(furthest, static_cast<float>(step) - slowest);
        if (communicator.rank() == 0) {
          // Serves meanwhile, if it is a server, as the comm thread does.
          const auto until = Clock::now() + std::chrono::milliseconds(20);
          while (Clock::now() < until) {
            if (!rank.worker->progress_while_idle()) sleep_ms(1);
          }
        }
        board.write(static_cast<float>(step + 1));
        return rank.step({.step = step}, [](std::int64_t) { return 1.0f; });
      });

      EXPECT_LE(furthest, static_cast<float>(staleness)) << servers << " servers";
      if (communicator.rank() == 1 && rank.trains()) {
        EXPECT_EQ(furthest, static_cast<float>(staleness)) << "it would do nothing but wait otherwise";
      }
    }
  }
}

// f(w) = Σ (w − t)² / 2, descended by every worker's 1/n of the gradient at the weights that it has.
TEST(ParameterServer, ConvergesWithStaleGradients) {
  const Communicator communicator;
  for (const int servers : {0, 1}) {
    if (communicator.size() < servers + 1) continue;
    constexpr std::int64_t kSteps = 120;
    constexpr float kRate = 0.1f;
    const auto target = [](std::int64_t i) { return 3.0f + static_cast<float>(i % 5); };
    ParameterRank rank(communicator, {.servers = servers, .mode = ServerMode::async, .max_staleness = 2}, kRate);
    Random random(3, RandomPurpose::perturbation, {static_cast<std::uint64_t>(communicator.rank())});

    rank.run(0, kSteps, [&](std::int64_t step) {
      if (random.below(10) == 0) sleep_ms(2);
      return rank.step({.step = step}, [&](std::int64_t i) {
        return (rank.weights[static_cast<std::size_t>(i)] - target(i)) / static_cast<float>(rank.workers());
      });
    });
    std::vector<float> weights = rank.server_weights;
    broadcast_partitions(communicator, rank.plan, weights);

    // Without delay the distance shrinks by 0.9 a step: 7 · 0.9^120 = 2e-5. Delays of up to 3 steps at a rate of 0.1 slow the
    // decay a little (rate · delay < 1/e): far below one hundredth all the same.
    double worst = 0.0;
    for (std::int64_t i = 0; i < 1000; ++i) {
      worst = std::max(worst, std::abs(static_cast<double>(weights[static_cast<std::size_t>(i)] - target(i))));
    }
    EXPECT_LT(worst, 0.01);
  }
}

// As in training: pushes and pulls are jobs, and the rank serves others while it computes.
TEST(ParameterServer, ServesOnTheCommThreadWhileItsRankComputes) {
  const Communicator communicator;
  if (communicator.size() == 1) GTEST_SKIP() << "nobody to serve";
  constexpr std::int64_t kSteps = 5;
  Board board(communicator);
  board.write(0.0f);
  communicator.barrier();
  ParameterRank rank(communicator,
                     {.elements = 100000, .partition_elements = 10000, .mode = ServerMode::async, .max_staleness = 3});
  enum Job { push_half, push_all, finish, pause };
  CommThread thread(
      [&](int job) {
        if (job == push_half) rank.worker->push(50000);
        if (job == push_all) rank.worker->push(100003);
        if (job == finish) rank.worker->finish_step();
        if (job == pause) rank.worker->pause();
      },
      3, {}, {}, [&] { return rank.worker->progress_while_idle(); });
  bool have_others_gone_on = true;

  for (std::int64_t step = 0; step < kSteps; ++step) {
    if (communicator.rank() == 0 && step == 1) {
      // The others get up to step 4 on what this rank serves; then it holds them up.
      const auto give_up = Clock::now() + std::chrono::seconds(30);
      while (board.read(1) < 4.0f && Clock::now() < give_up) sleep_ms(1);
      have_others_gone_on = board.read(1) >= 4.0f;
    }
    board.write(static_cast<float>(step));
    std::ranges::fill(rank.gradients, 1.0f);
    rank.worker->begin_step({.step = step});
    for (const Job job : {push_half, push_all, finish}) thread.submit(job);
    thread.wait(finish);
    thread.reset();
  }
  thread.submit(pause);
  thread.wait(0);
  std::vector<float> weights = rank.server_weights;
  broadcast_partitions(communicator, rank.plan, weights);

  EXPECT_TRUE(have_others_gone_on);
  EXPECT_EQ(weights[77777], ParameterRank::start(77777) - static_cast<float>(kSteps * rank.workers()));
}

TEST(ParameterServer, SleepsWhileNothingComes) {
  const Communicator communicator;
  if (communicator.size() == 1) GTEST_SKIP() << "no rank to dedicate";
  ParameterRank rank(communicator, {.servers = 1});
  const auto cpu_s = [] {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  communicator.barrier();
  const double cpu_before_s = cpu_s();
  const auto begin = Clock::now();

  rank.run(0, 2, [&](std::int64_t step) {
    sleep_ms(250);
    return rank.step({.step = step}, [](std::int64_t) { return 1.0f; });
  });
  const double share = (cpu_s() - cpu_before_s) / std::chrono::duration<double>(Clock::now() - begin).count();

  if (!rank.trains()) {
    EXPECT_LT(share, 0.25) << "of a core";
  }
}

// Both sides of a step that is begun and not gone on with. What waits for ever lives as long as the process.
TEST(ParameterServer, NamesTheWorkerAndTheServerThatItWaitsFor) {
  static std::vector<std::unique_ptr<ParameterRank>> kept;
  for (const ServerMode mode : {ServerMode::sync, ServerMode::backup, ServerMode::async}) {
    const Communicator communicator;  // one each: what was kept waits on the earlier ones
    if (communicator.size() < 3) GTEST_SKIP() << "two workers and a server";
    const bool serves = communicator.rank() == communicator.size() - 1;
    kept.push_back(
        std::make_unique<ParameterRank>(communicator, RankOptions{.elements = 100,
                                                                  .servers = 1,
                                                                  .mode = mode,
                                                                  .buckets = 1,
                                                                  .wait = {.spins = 10, .timeout_s = serves ? 0.3 : 1.0}}));
    ParameterRank& rank = *kept.back();
    std::string text;
    const bool waits = communicator.rank() == 0 || serves;  // the other workers never begin
    if (waits) {
      try {
        rank.run(0, 1, [&](std::int64_t step) {
          return rank.step({.step = step, .samples = 1, .batch_samples = 1}, [](std::int64_t) { return 1.0f; });
        });
        ADD_FAILURE() << "the other workers never begin";
      } catch (const CommError& error) {
        text = error.what();
      }
    }
    communicator.barrier();

    if (communicator.rank() == 0) {
      EXPECT_NE(text.find("step 0 on rank 0"), std::string::npos) << text;
      EXPECT_NE(text.find("partition 0"), std::string::npos) << text;
      EXPECT_NE(text.find("the parameter server on rank " + std::to_string(communicator.size() - 1)), std::string::npos)
          << text;
    }
    if (serves) {
      EXPECT_NE(text.find("waiting for the gradients of rank 1"), std::string::npos) << text;
      EXPECT_EQ(text.find("rank 0"), std::string::npos) << text;
    }
  }
}

TEST(ParameterServer, RefusesWorkersThatAreOutOfStep) {
  static std::vector<std::unique_ptr<ParameterRank>> kept;
  for (const ServerMode mode : {ServerMode::sync, ServerMode::backup}) {
    const Communicator communicator;
    if (communicator.size() < 2) GTEST_SKIP() << "a worker and a server";
    kept.push_back(std::make_unique<ParameterRank>(
        communicator, RankOptions{.elements = 100, .servers = 1, .mode = mode, .wait = {.spins = 10, .timeout_s = 0.5}}));
    ParameterRank& rank = *kept.back();
    std::string text;
    try {
      rank.run(0, 1, [&](std::int64_t) { return rank.step({.step = 7}, [](std::int64_t) { return 1.0f; }); });
    } catch (const CommError& error) {
      text = error.what();
    }
    communicator.barrier();

    if (rank.serves()) {
      EXPECT_NE(text.find("expected gradients of step 0, found step 7 from rank"), std::string::npos) << text;
    } else {
      EXPECT_NE(text.find("waiting for the parameter server"), std::string::npos) << text;
    }
  }
}

}  // namespace
}  // namespace dtrain
