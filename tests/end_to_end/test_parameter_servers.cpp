// Training with parameter servers: the same training as by all-reduce where all gradients count, and one that learns where they
// do not; what is saved, resumed and stopped.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <thread>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

const Words kColocated{"--allreduce", "ps"};
Words dedicated(int servers) { return {"--allreduce", "ps", "--parameter-servers", std::to_string(servers)}; }

/// Steps of an uneven batch in micro-batches, small partitions, averaged weights, a checkpoint and an evaluation in the middle.
Words short_run(const Words& more, const std::string& optimizer = "nesterov") {
  return Words{"--steps",     "7",   "--global-batch",     "26", "--local-batch", "5",        "--optimizer", optimizer,
               "--fusion-mb", "0.1", "--checkpoint-every", "3",  "--schedule",    "constant", "--ema",       "0.9"} +
         more;
}

/// The directory of a run that succeeded.
fs::path served_run(int ranks, const Words& more, const std::string& optimizer = "nesterov") {
  const fs::path out = new_path("run");
  const Outcome outcome = run({.ranks = ranks, .arguments = training_into(out, short_run(more, optimizer))});
  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  return out;
}

/// And their average.
std::string weights_of(const fs::path& out) {
  return read_text(out / "last.safetensors") + read_text(out / "average.safetensors");
}

std::vector<double> losses_of(const fs::path& out) {
  std::vector<double> losses;
  for (const Json& line : metrics_lines(out / "metrics.jsonl", "loss")) losses.push_back(line.at("loss"));
  for (const Json& line : metrics_lines(out / "metrics.jsonl", "val_loss")) losses.push_back(line.at("val_loss"));
  return losses;
}

void expect_equal_runs(const fs::path& a, const fs::path& b) {
  EXPECT_EQ(fingerprint(a / "report.json"), fingerprint(b / "report.json"));
  EXPECT_EQ(losses_of(a), losses_of(b));
  EXPECT_TRUE(weights_of(a) == weights_of(b)) << "last.safetensors or average.safetensors differs";
  for (const std::int64_t step : {3, 6}) {
    EXPECT_TRUE(read_text(checkpoint(a, step)) == read_text(checkpoint(b, step))) << "the checkpoint after step " << step;
  }
}

// The sum of two floats does not depend on their order. Checkpoints name the exchange in their recipe, so that they are not
// compared here, but their velocity goes into what comes after.
TEST(ParameterServers, GiveTwoWorkersTheBitsOfTheAllReduce) {
  const fs::path reduced = served_run(2, {"--allreduce", "ring"});
  const auto expect_same_bits = [&](int ranks, const Words& options) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks, " + options.back());
    const fs::path served = served_run(ranks, options);
    EXPECT_EQ(fingerprint(served / "report.json"), fingerprint(reduced / "report.json"));
    EXPECT_EQ(losses_of(served), losses_of(reduced));
    EXPECT_TRUE(weights_of(served) == weights_of(reduced));
  };

  for (const std::string overlap : {"on", "off", "backward", "forward"}) {
    expect_same_bits(2, kColocated + Words{"--overlap", overlap});
  }
  for (const int servers : {1, 2, 3}) expect_same_bits(2 + servers, dedicated(servers));
  expect_same_bits(3, dedicated(1) + Words{"--overlap", "off"});
}

// After one step: with more, batch-norm enlarges what differs. A sum of three floats in another order has an error of 2⁻²⁴ of
// its terms, which where they cancel is a larger share of the sum.
TEST(ParameterServers, GiveThreeWorkersTheSumsOfTheAllReduceButForTheirOrder) {
  const fs::path start = new_path("start.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--num-classes", "10", "--out", start.string()}}).exit_code, 0);
  const auto one_step = [&](const Words& exchange) {
    const fs::path out = new_path("run");
    const Outcome outcome =
        run({.ranks = 3,
             .arguments =
                 training_into(out, Words{"--steps", "1", "--global-batch", "26", "--init-from", start.string()} + exchange)});
    EXPECT_EQ(outcome.exit_code, 0) << outcome;
    return read_tensor_file(out / "last.safetensors");
  };

  const double apart = distance_per_way(one_step(kColocated), one_step({"--allreduce", "ring"}), read_tensor_file(start));

  EXPECT_LE(apart, 1e-6);
  EXPECT_GT(apart, 0.0) << "the order should be another";
}

TEST(ParameterServers, GiveTheSameBitsTwiceAndWhereverTheyAre) {
  const fs::path once = served_run(3, kColocated);

  expect_equal_runs(served_run(3, kColocated), once);
  const fs::path apart = served_run(5, dedicated(2) + Words{"--ranks-per-node", "2"});
  EXPECT_EQ(fingerprint(apart / "report.json"), fingerprint(once / "report.json"));
  EXPECT_TRUE(weights_of(apart) == weights_of(once));
}

TEST(ParameterServers, ResumeAsIfTheRunHadNotBeenStopped) {
  for (const auto& [ranks, servers, optimizer] : {std::tuple{2, kColocated, "adamw"}, {4, dedicated(2), "rmsprop"}}) {
    SCOPED_TRACE(ranks);
    const fs::path whole = served_run(ranks, servers, optimizer);
    const fs::path out = new_path("run");
    const auto first_steps = [&](const std::string& steps, const Words& more) {
      Words options = short_run(servers + more, optimizer);
      options[1] = steps;
      return run({.ranks = ranks, .arguments = training_into(out, options)});
    };
    ASSERT_EQ(first_steps("4", {}).exit_code, 0);

    const Outcome resumed = first_steps("7", {"--resume", "auto"});

    ASSERT_EQ(resumed.exit_code, 0) << resumed;
    EXPECT_TRUE(resumed.says("after step 4")) << resumed;
    EXPECT_EQ(fingerprint(out / "report.json"), fingerprint(whole / "report.json"));
    EXPECT_TRUE(weights_of(out) == weights_of(whole));
    const Outcome again = first_steps("7", {"--resume", "auto"});
    EXPECT_EQ(again.exit_code, 0) << again;
    EXPECT_TRUE(again.says("nothing left to do")) << again;
  }
}

// The flag of the rank that is told does not travel with gradients that may not count.
TEST(ParameterServers, StopAllRanksSoonAndSaveWhereOneIsTold) {
  for (const Words& mode : {Words{"sync"}, Words{"backup"}, Words{"async"}}) {
    SCOPED_TRACE(mode.front());
    const fs::path out = new_path("stopped");
    Job job({.ranks = 3,
             .arguments = training_into(out, Words{"--global-batch", "8", "--steps", "10000000", "--checkpoint-every", "10",
                                                   "--eval-every", "off", "--log-every", "1", "--ps-mode"} +
                                                 mode + dedicated(1))});
    job.wait_until([&] { return fs::exists(checkpoint(out, 10)); });

    job.signal_rank(1, SIGUSR1);
    const Outcome outcome = job.wait(kPromptlyS);

    EXPECT_EQ(outcome.exit_code, 75) << outcome;
    EXPECT_TRUE(outcome.says("stopped on request; saved after step")) << outcome;
    std::vector<std::string> skipped;
    EXPECT_FALSE(find_newest_checkpoint(CheckpointPaths{.out = out}, skipped).empty());
    EXPECT_TRUE(skipped.empty());
  }
}

TEST(ParameterServers, SayThatTheTrainingDiverged) {
  for (const auto& [ranks, servers] : {std::pair{2, kColocated}, std::pair{3, dedicated(1)}}) {
    SCOPED_TRACE(ranks);
    const Outcome outcome =
        run({.ranks = ranks, .arguments = training(Words{"--steps", "50", "--lr", "1e20"} + servers)}, kPromptlyS);

    EXPECT_EQ(outcome.exit_code, 5) << outcome;
    EXPECT_TRUE(outcome.says("a finite loss and finite weights")) << outcome;
    EXPECT_TRUE(outcome.says(", first in ")) << outcome;
  }
}

// A rank without a picture has no loss of its own, which is no reason to end.
TEST(ParameterServers, TrainOnBatchesOfFewerPicturesThanWorkers) {
  for (const char* mode : {"sync", "backup", "async"}) {
    SCOPED_TRACE(mode);
    const fs::path out = new_path("run");
    // Of 80 pictures, the last of an epoch is a batch by itself.
    const Outcome outcome =
        run({.ranks = 3,
             .arguments = training_into(
                 out, Words{"--steps", "4", "--global-batch", "79", "--lr", "0.001", "--ps-mode", mode} + kColocated)});

    EXPECT_EQ(outcome.exit_code, 0) << outcome;
    EXPECT_EQ(losses_of(out).size(), 4U + 2U);
  }
}

TEST(ParameterServers, RefuseMorePartitionsThanMessagesHaveTags) {
  for (const auto& [ranks, servers] : {std::pair{2, kColocated}, std::pair{3, dedicated(1)}}) {
    const Outcome outcome =
        run({.ranks = ranks, .arguments = training(Words{"--steps", "2", "--fusion-mb", "0.00001"} + servers)}, kPromptlyS);

    EXPECT_EQ(outcome.exit_code, 2) << outcome;
    EXPECT_TRUE(outcome.says("expected at most 16000 partitions, found ")) << outcome;
    EXPECT_TRUE(outcome.says("a larger --fusion-mb")) << outcome;
  }
}

TEST(ParameterServers, AreTheSameOnAllRanks) {
  const Words bench{"bench", "--models", "lenet5", "--batches", "2", "--threads", "1"};
  for (const Words& command : {training({"--steps", "2"}), bench}) {
    for (const auto& [here, there] : {std::pair{dedicated(1), kColocated}, std::pair{kColocated, Words{"--allreduce", "ring"}},
                                      std::pair{kColocated + Words{"--ps-mode", "async"}, kColocated}}) {
      const Words line = Words{DTRAIN_BINARY} + command;
      const Outcome outcome = run({.line = mpirun_line({line + here, line + there, line + there})}, kPromptlyS);

      EXPECT_EQ(outcome.exit_code, 2) << outcome;
      EXPECT_TRUE(outcome.says("ranks that differ: 1, 2")) << outcome;
    }
  }
}

TEST(ParameterServers, CountTheTimeOfTheSlowestWhoeverReports) {
  constexpr double kHeldS = 5.0;  // far more than the steps take
  const fs::path out = new_path("run");
  Job job({.ranks = 3,
           .arguments =
               training_into(out, Words{"--global-batch", "8", "--steps", "600", "--checkpoint-every", "off", "--log-every",
                                        "1", "--eval-every", "off", "--ps-mode", "async", "--max-staleness", "20"} +
                                      dedicated(1))});
  job.wait_until([&] { return !read_text(out / "metrics.jsonl").empty(); });

  job.signal_rank(1, SIGSTOP);
  std::this_thread::sleep_for(std::chrono::duration<double>(kHeldS));
  job.signal_rank(1, SIGCONT);
  const Outcome outcome = job.wait();

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  double steps_s = 0.0;
  for (const Json& line : metrics_lines(out / "metrics.jsonl", "loss")) steps_s += line.at("step_s").get<double>();
  EXPECT_GE(steps_s, 0.9 * kHeldS) << "rank 0 ran ahead, and waited after its steps";
}

TEST(ParameterServers, ProfileARankThatPassedOverTheFirstStepToProfile) {
  const fs::path out = new_path("run");
  const fs::path profile = new_path("profile.json");
  Job job({.ranks = 4,
           .arguments =
               training_into(out, Words{"--global-batch", "48", "--steps", "300", "--checkpoint-every", "off", "--log-every",
                                        "1", "--eval-every", "off", "--ps-mode", "backup", "--profile", profile.string()} +
                                      dedicated(1))});
  job.wait_until([&] { return !read_text(out / "metrics.jsonl").empty(); });

  job.signal_rank(0, SIGSTOP);
  std::this_thread::sleep_for(std::chrono::seconds(3));  // the others go on to step 20, where they ask who was told to stop
  job.signal_rank(0, SIGCONT);
  const Outcome outcome = job.wait();

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  const auto steps = whole_numbers(metrics_lines(out / "metrics.jsonl", "loss"), "step");
  EXPECT_LT(steps.size(), 300U) << "rank 0 was not late";
  EXPECT_FALSE(read_json(profile).at("layers").empty());
}

// A rank that is late passes over steps, and comes to the run's last one with the others.
TEST(ParameterServers, AreMeasuredByBenchWhereTheyDoNotWaitForAll) {
  const Outcome outcome = run({.ranks = 3,
                               .arguments = Words{"bench", "--models", "lenet5", "--batches", "2,4,8", "--steps", "300",
                                                  "--warmup", "1", "--threads", "1", "--ps-mode", "backup"} +
                                            kColocated});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(outcome.count("total images/sec"), 3) << outcome;
}

TEST(ParameterServers, AreMeasuredByBench) {
  const Outcome outcome = run({.ranks = 3,
                               .arguments = Words{"bench", "--models", "lenet5", "--batches", "2,4", "--steps", "3", "--warmup",
                                                  "1", "--threads", "1"} +
                                            dedicated(1)});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(outcome.count("total images/sec"), 2) << outcome;
}

}  // namespace
}  // namespace dtrain
