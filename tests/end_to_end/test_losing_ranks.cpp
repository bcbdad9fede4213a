// Ranks that are killed or stopped in the middle of a run: what the others say, how soon the job is over, what is left.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

constexpr int kRanks = 4;
constexpr std::int64_t kStepsPerSave = 100;
/// Of a run to the signal: its first checkpoint is whole, no rank is busy with it, and the next is far.
constexpr std::int64_t kStepsBefore = kStepsPerSave + 5;
constexpr double kStallTimeoutS = 3.0;
/// After the time-out a job is over within this.
constexpr double kAfterwardsS = 5.0;

std::vector<std::string> endless_run(const fs::path& out, const std::vector<std::string>& more) {
  std::vector<std::string> options{"--global-batch",
                                   "16",
                                   "--steps",
                                   "10000000",
                                   "--eval-every",
                                   "off",
                                   "--log-every",
                                   "1",
                                   "--checkpoint-every",
                                   std::to_string(kStepsPerSave),
                                   "--stall-timeout",
                                   std::to_string(kStallTimeoutS)};
  options.insert(options.end(), more.begin(), more.end());
  return training_into(out, options);
}

/// Seconds on a clock that only goes forward.
double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Ending {
  Outcome outcome;
  double after_s = 0.0;  ///< the signal
  pid_t victim = -1;
  std::vector<pid_t> ranks;
};

bool has_saved_and_goes_on(const fs::path& out) {
  return std::ssize(metrics_lines(out / "metrics.jsonl", "loss")) >= kStepsBefore;
}

/// Signals one rank of a job that has saved a checkpoint, and waits for the end.
Ending end_of(Job& job, const fs::path& out, int victim, int signal) {
  job.wait_until([&] { return has_saved_and_goes_on(out); });
  Ending ending;
  ending.ranks = job.rank_processes();
  ending.victim = ending.ranks.at(static_cast<std::size_t>(victim));
  const double signalled_s = now_s();
  job.signal_rank(victim, signal);
  ending.outcome = job.wait(kPromptlyS);
  ending.after_s = now_s() - signalled_s;
  return ending;
}

/// The report of a rank; empty when there is none or more than one.
std::string report_of(const Outcome& outcome, int rank) {
  const std::string begin = "error: [rank " + std::to_string(rank) + " on ";
  const auto at = outcome.errors.find(begin);
  if (at == std::string::npos || outcome.errors.find(begin, at + 1) != std::string::npos) return {};
  return outcome.errors.substr(at, outcome.errors.find('\n', at) - at);
}

void expect_reports(const Ending& ending, int victim, const std::string& algorithm, const std::string& state) {
  for (int rank = 0; rank < kRanks; ++rank) {
    if (rank == victim) continue;
    SCOPED_TRACE(rank);
    const std::string report = report_of(ending.outcome, rank);
    EXPECT_NE(report.find("bucket 1 of 1 (conv1 … linear and the step's sums, 1080512 bytes) by " + algorithm),
              std::string::npos)
        << ending.outcome;
    EXPECT_NE(report.find("no answer from rank " + std::to_string(victim) + " on "), std::string::npos) << report;
    EXPECT_NE(report.find("(process " + std::to_string(ending.victim) + state + ")"), std::string::npos) << report;
  }
}

void expect_nothing_left(const Ending& ending) {
  for (const pid_t rank : ending.ranks) EXPECT_TRUE(has_gone(rank)) << rank;
}

/// The newest checkpoint is whole, and the run goes on from it.
void expect_goes_on(const fs::path& out) {
  std::vector<std::string> skipped;
  const fs::path newest = find_newest_checkpoint(CheckpointPaths{.out = out}, skipped);
  ASSERT_FALSE(newest.empty());
  EXPECT_TRUE(skipped.empty()) << skipped.front();
  EXPECT_EQ(run({.arguments = {"inspect", newest.string()}}).exit_code, 0);
  const std::int64_t step = std::stoll(read_tensor_file(newest).metadata.at("dtrain.step"));

  std::vector<std::string> arguments = endless_run(out, {"--resume", "auto"});
  *(std::ranges::find(arguments, "10000000")) = std::to_string(step + 5);
  const Outcome resumed = run({.ranks = kRanks, .arguments = arguments});

  EXPECT_EQ(resumed.exit_code, 0) << resumed;
  EXPECT_TRUE(resumed.says("after step " + std::to_string(step))) << resumed;
}

struct Exchange {
  std::string name;
  std::vector<std::string> options;
  std::string algorithm;
};

class LosingARank : public testing::TestWithParam<Exchange> {};

// mpirun ends the job with a code of its own, within a second or two; the reports come before.
TEST_P(LosingARank, KilledIsReportedByAllOthersAtOnce) {
  const fs::path out = new_path("killed");
  Job job({.ranks = kRanks, .arguments = endless_run(out, GetParam().options)});

  const Ending ending = end_of(job, out, 3, SIGKILL);

  EXPECT_EQ(ending.outcome.exit_code, 128 + SIGKILL) << ending.outcome;
  EXPECT_LT(ending.after_s, kStallTimeoutS) << ending.outcome;
  expect_reports(ending, 3, GetParam().algorithm, " has ended");
  expect_nothing_left(ending);
}

TEST_P(LosingARank, StoppedIsReportedByAllOthersAfterTheTimeOut) {
  const fs::path out = new_path("stopped");
  Job job({.ranks = kRanks, .arguments = endless_run(out, GetParam().options)});

  const Ending ending = end_of(job, out, 2, SIGSTOP);

  EXPECT_EQ(ending.outcome.exit_code, 4) << ending.outcome;
  EXPECT_GE(ending.after_s, kStallTimeoutS - 0.5);  // some ranks may have been waiting for a moment
  EXPECT_LT(ending.after_s, kStallTimeoutS + kAfterwardsS);
  EXPECT_EQ(ending.outcome.count("warning: exchanging bucket 1 of 1") + ending.outcome.count("warning: updating weights with"),
            1)
      << ending.outcome;
  expect_reports(ending, 2, GetParam().algorithm, " is stopped");
  expect_nothing_left(ending);
  if (GetParam().name == "ring") expect_goes_on(out);  // once: what is saved does not depend on the exchange
}

INSTANTIATE_TEST_SUITE_P(
    Exchange, LosingARank,
    testing::Values(Exchange{"shm", {"--allreduce", "shm"}, "shm"}, Exchange{"ring", {"--allreduce", "ring"}, "ring"},
                    Exchange{"ring_of_nodes", {"--allreduce", "ring", "--ranks-per-node", "1"}, "ring"},
                    Exchange{"hierarchical", {"--allreduce", "hierarchical", "--ranks-per-node", "2"}, "hierarchical"},
                    Exchange{"mpi", {"--allreduce", "mpi"}, "mpi"}),
    [](const auto& exchange) { return exchange.param.name; });

TEST(LosingRanks, TheRootIsOneLikeTheOthers) {
  const fs::path out = new_path("stopped");
  Job job({.ranks = kRanks, .arguments = endless_run(out, {"--allreduce", "ring"})});

  const Ending ending = end_of(job, out, 0, SIGSTOP);

  EXPECT_EQ(ending.outcome.exit_code, 4) << ending.outcome;
  EXPECT_LT(ending.after_s, kStallTimeoutS + kAfterwardsS);
  expect_reports(ending, 0, "ring", " is stopped");
  expect_nothing_left(ending);
}

TEST(LosingRanks, WorkersAndParameterServersAreMissedLikeOthers) {
  struct Loss {
    std::string mode;
    int victim;  ///< the last rank serves alone
    int signal;
  };
  for (const auto& [mode, victim, signal] :
       {Loss{"sync", 1, SIGKILL}, Loss{"sync", 3, SIGSTOP}, Loss{"backup", 1, SIGSTOP}, Loss{"async", 3, SIGKILL}}) {
    SCOPED_TRACE(mode + ", rank " + std::to_string(victim) + ", signal " + std::to_string(signal));
    const fs::path out = new_path("lost");
    Job job(
        {.ranks = kRanks, .arguments = endless_run(out, {"--allreduce", "ps", "--parameter-servers", "1", "--ps-mode", mode})});

    const Ending ending = end_of(job, out, victim, signal);

    EXPECT_EQ(ending.outcome.exit_code, signal == SIGKILL ? 128 + SIGKILL : 4) << ending.outcome;
    EXPECT_LT(ending.after_s, kStallTimeoutS + kAfterwardsS);
    for (int rank = 0; rank < kRanks; ++rank) {
      if (rank == victim) continue;
      EXPECT_NE(report_of(ending.outcome, rank).find("no answer from rank " + std::to_string(victim) + " on "),
                std::string::npos)
          << "rank " << rank << ": " << ending.outcome;
    }
    expect_nothing_left(ending);
  }
}

TEST(LosingRanks, OneIsMissedInTheStatisticsOfBatchNormToo) {
  const fs::path out = new_path("stopped");
  Job job({.ranks = kRanks, .arguments = endless_run(out, {"--bn", "sync"})});

  const Ending ending = end_of(job, out, 2, SIGSTOP);

  EXPECT_EQ(ending.outcome.exit_code, 4) << ending.outcome;
  EXPECT_LT(ending.after_s, kStallTimeoutS + kAfterwardsS);
  for (const int rank : {0, 1, 3}) {
    const std::string report = report_of(ending.outcome, rank);
    EXPECT_NE(report.find("no answer from rank 2 on "), std::string::npos) << "rank " << rank << ": " << ending.outcome;
  }
  EXPECT_TRUE(ending.outcome.says("batch-norm's statistics")) << ending.outcome;
  expect_nothing_left(ending);
}

// A rank that is only slow to continue: the others wait, and say so.
TEST(LosingRanks, OneThatIsContinuedInTimeIsForgiven) {
  const fs::path out = new_path("continued");
  Job job({.ranks = kRanks, .arguments = endless_run(out, {"--allreduce", "ring"})});
  job.wait_until([&] { return has_saved_and_goes_on(out); });

  job.signal_rank(2, SIGSTOP);
  const double stopped_s = now_s();
  job.wait_until([&] { return now_s() - stopped_s > kStallTimeoutS * 0.6; });
  job.signal_rank(2, SIGCONT);
  const std::size_t lines = metrics_lines(out / "metrics.jsonl", "loss").size();
  job.wait_until([&] { return metrics_lines(out / "metrics.jsonl", "loss").size() > lines + 5; });
  job.signal_ranks(SIGTERM);
  const Outcome outcome = job.wait(kPromptlyS);

  EXPECT_EQ(outcome.exit_code, 75) << outcome;
  EXPECT_EQ(outcome.count("without an answer from rank 2 on "), 1) << outcome;
  EXPECT_EQ(outcome.count("the wait is over after "), 1) << outcome;
  EXPECT_EQ(outcome.count("error: "), 0) << outcome;
}

// A collective would wait an hour for a rank that is merely slow. Ranks that train apart meet in nothing else.
TEST(LosingRanks, AKilledOneEndsACollectiveToo) {
  const fs::path out = new_path("killed");
  Job job({.ranks = kRanks, .arguments = endless_run(out, {"--allreduce", "none"})});

  const Ending ending = end_of(job, out, 1, SIGKILL);

  EXPECT_EQ(ending.outcome.exit_code, 128 + SIGKILL) << ending.outcome;
  EXPECT_LT(ending.after_s, kStallTimeoutS);
  for (const int rank : {0, 2, 3}) {
    const std::string report = report_of(ending.outcome, rank);
    EXPECT_NE(report.find("waiting for all ranks in MPI_I"), std::string::npos) << ending.outcome;
    EXPECT_NE(report.find("no answer from rank 1 on "), std::string::npos) << report;
  }
  expect_nothing_left(ending);
}

TEST(LosingRanks, AStoppedOneEndsACollectiveAfterTheTimeOut) {
  const fs::path out = new_path("stopped");
  Job job({.ranks = kRanks, .arguments = endless_run(out, {"--allreduce", "none"})});

  const Ending ending = end_of(job, out, 1, SIGSTOP);

  EXPECT_EQ(ending.outcome.exit_code, 4) << ending.outcome;
  EXPECT_LT(ending.after_s, kStallTimeoutS + kAfterwardsS);
  for (const int rank : {0, 2, 3}) {
    const std::string report = report_of(ending.outcome, rank);
    EXPECT_NE(report.find("waiting for all ranks in MPI_I"), std::string::npos) << ending.outcome;
    EXPECT_NE(report.find("no answer from rank 1 on "), std::string::npos) << report;
    EXPECT_NE(report.find("(process " + std::to_string(ending.victim) + " is stopped)"), std::string::npos) << report;
  }
  expect_nothing_left(ending);
}

}  // namespace
}  // namespace dtrain
