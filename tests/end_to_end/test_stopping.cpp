// Runs that are stopped, by request or by force: what is on the disk afterwards, what the launcher is told, and that nobody
// hangs.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <limits>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// Long enough to be stopped in the middle, short enough to be run to its end for comparison.
constexpr std::int64_t kSteps = 80;
constexpr std::int64_t kStepsPerCheckpoint = 10;
/// For runs that only a signal ends.
constexpr std::int64_t kEndless = 10'000'000;

std::vector<std::string> long_run(const fs::path& out, std::int64_t steps, const std::vector<std::string>& more = {}) {
  std::vector<std::string> options{"--global-batch",
                                   "8",
                                   "--steps",
                                   std::to_string(steps),
                                   "--checkpoint-every",
                                   std::to_string(kStepsPerCheckpoint),
                                   "--eval-every",
                                   "off",
                                   "--log-every",
                                   "1"};
  options.insert(options.end(), more.begin(), more.end());
  return training_into(out, options);
}

/// Waits until the first periodic checkpoint has been saved, with most of the run still to come.
void wait_until_saved(Job& job, const fs::path& out) {
  job.wait_until([&] { return fs::exists(checkpoint(out, kStepsPerCheckpoint)); });
}

std::int64_t newest_step(const fs::path& out) {
  std::vector<std::string> skipped;
  const fs::path newest = find_newest_checkpoint(CheckpointPaths{.out = out}, skipped);
  EXPECT_TRUE(skipped.empty()) << skipped.front();
  if (newest.empty()) return 0;
  return std::stoll(read_tensor_file(newest).metadata.at("dtrain.step"));
}

void expect_resumes_to(const fs::path& out, int ranks, const fs::path& whole) {
  const std::int64_t stopped_after = newest_step(out);
  ASSERT_GT(stopped_after, 0);
  ASSERT_LT(stopped_after, kSteps);

  const Outcome resumed = run({.ranks = ranks, .arguments = long_run(out, kSteps, {"--resume", "auto"})});

  ASSERT_EQ(resumed.exit_code, 0) << resumed;
  EXPECT_TRUE(resumed.says("after step " + std::to_string(stopped_after))) << resumed;
  EXPECT_EQ(fingerprint(out / "report.json"), fingerprint(whole / "report.json"));
  for (const fs::path& file : {fs::path("last.safetensors"), CheckpointPaths{.out = {}}.checkpoint(kSteps)}) {
    EXPECT_TRUE(read_text(out / file) == read_text(whole / file)) << file << " differs";
  }
  std::vector<std::int64_t> every_step;
  for (std::int64_t step = 1; step <= kSteps; ++step) every_step.push_back(step);
  EXPECT_EQ(whole_numbers(metrics_lines(out / "metrics.jsonl", "loss"), "step"), every_step);
}

const fs::path& unstopped(int ranks) {
  static std::map<int, fs::path> runs;
  if (!runs.contains(ranks)) {
    const fs::path out = new_path("unstopped");
    const Outcome outcome = run({.ranks = ranks, .arguments = long_run(out, kSteps)});
    if (outcome.exit_code != 0) throw std::runtime_error("the run to compare with failed: " + outcome.errors);
    runs[ranks] = out;
  }
  return runs[ranks];
}

class StopSignal : public testing::TestWithParam<int> {};

TEST_P(StopSignal, SavesAndAsksToBeQueuedAgain) {
  const fs::path out = new_path("stopped");
  Job job({.arguments = long_run(out, kSteps)});
  wait_until_saved(job, out);

  job.signal(GetParam());
  const Outcome outcome = job.wait();

  EXPECT_EQ(outcome.exit_code, 75) << outcome;
  EXPECT_TRUE(outcome.says("stopped on request; saved after step " + std::to_string(newest_step(out)))) << outcome;
  EXPECT_TRUE(outcome.says("total images/sec: ")) << outcome;
  if (GetParam() == SIGTERM) expect_resumes_to(out, 0, unstopped(0));  // once: what is saved does not depend on the signal
}

INSTANTIATE_TEST_SUITE_P(Stopping, StopSignal, testing::Values(SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGHUP, SIGXCPU),
                         [](const auto& signal) { return std::string("SIG") + sigabbrev_np(signal.param); });

// As nohup has it.
TEST(Stopping, ASignalThatWasIgnoredAtTheStartStaysSo) {
  const fs::path out = new_path("ignoring");
  std::string command = "trap '' HUP; exec " DTRAIN_BINARY;
  for (const std::string& word : long_run(out, kEndless)) command += " '" + word + "'";
  Job job({.arguments = {}, .line = {"bash", "-c", command}});
  wait_until_saved(job, out);

  job.signal(SIGHUP);
  job.wait_until([&, next = newest_step(out) + 3 * kStepsPerCheckpoint] { return newest_step(out) >= next; });
  job.signal(SIGUSR2);
  const Outcome outcome = job.wait(kPromptlyS);

  EXPECT_EQ(outcome.exit_code, 75) << outcome;
}

// It would say nothing for as long as it takes, and end with a result that nobody waits for.
TEST(Stopping, AnEvaluationHasNothingToSaveAndEndsAtOnce) {
  const fs::path weights = new_path("weights.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--out", weights.string()}}).exit_code, 0);
  for (const int signal : {SIGINT, SIGTERM}) {
    Job job({.arguments = {"eval", "--weights", weights.string(), "--data", "synthetic", "--synthetic-size", "1000000",
                           "--threads", "1"}});
    const auto begun = std::chrono::steady_clock::now();
    job.wait_until([&] { return std::chrono::steady_clock::now() - begun > std::chrono::seconds(3); });

    job.signal(signal);

    EXPECT_EQ(job.wait(kPromptlyS).exit_code, 128 + signal);
  }
}

// A batch system signals every process of a step.
TEST(Stopping, AllRanksStopAfterTheSameStepAndTheLauncherReturnsTheirCode) {
  const fs::path out = new_path("stopped");
  Job job({.ranks = 2, .arguments = long_run(out, kSteps)});
  wait_until_saved(job, out);

  job.signal_ranks(SIGTERM);
  const Outcome outcome = job.wait();

  EXPECT_EQ(outcome.exit_code, 75) << outcome;
  EXPECT_TRUE(outcome.says("stopped on request; saved after step")) << outcome;
  expect_resumes_to(out, 2, unstopped(2));
}

class StoppingOneRank : public testing::TestWithParam<const char*> {};

TEST_P(StoppingOneRank, StopsAllOfThem) {
  const fs::path out = new_path("stopped");
  Job job({.ranks = 2, .arguments = long_run(out, kEndless, {"--allreduce", GetParam()})});
  wait_until_saved(job, out);

  job.signal_rank(1, SIGUSR1);
  const Outcome outcome = job.wait(kPromptlyS);

  EXPECT_EQ(outcome.exit_code, 75) << outcome;
  EXPECT_TRUE(outcome.says("stopped on request; saved after step " + std::to_string(newest_step(out)))) << outcome;
}

INSTANTIATE_TEST_SUITE_P(Exchange, StoppingOneRank, testing::Values("shm", "ring", "mpi", "none"),
                         [](const auto& algorithm) { return std::string(algorithm.param); });

// mpirun hands SIGUSR1 on to all ranks and waits for them.
TEST(Stopping, SignalToMpirunSavesAndReturnsTheRanksCode) {
  const fs::path out = new_path("stopped");
  Job job({.ranks = 2, .arguments = long_run(out, kEndless)});
  wait_until_saved(job, out);

  job.signal(SIGUSR1);
  const Outcome outcome = job.wait(kPromptlyS);

  EXPECT_EQ(outcome.exit_code, 75) << outcome;
  EXPECT_TRUE(outcome.says("stopped on request; saved after step " + std::to_string(newest_step(out)))) << outcome;
}

// On Ctrl-C mpirun sends SIGTERM and kills a second later, saved or not.
TEST(Stopping, CtrlCOnMpirunEndsAllRanksAndKeepsWhatWasSaved) {
  const fs::path out = new_path("stopped");
  Job job({.ranks = 2, .arguments = long_run(out, kEndless)});
  wait_until_saved(job, out);
  const std::vector<pid_t> ranks = job.rank_processes();

  job.signal(SIGINT);
  const Outcome outcome = job.wait(kPromptlyS);

  EXPECT_NE(outcome.exit_code, 0) << outcome;
  for (const pid_t rank : ranks) EXPECT_TRUE(has_gone(rank)) << rank;
  EXPECT_GE(newest_step(out), kStepsPerCheckpoint);
}

TEST(Stopping, WithoutOutSaysThatNothingWasSaved) {
  const fs::path metrics = new_path("metrics.jsonl");
  Job job({.arguments = training({"--global-batch", "8", "--steps", std::to_string(kEndless), "--eval-every", "off",
                                  "--log-every", "1", "--metrics", metrics.string()})});
  job.wait_until([&] { return !read_text(metrics).empty(); });

  job.signal(SIGTERM);
  const Outcome outcome = job.wait(kPromptlyS);

  EXPECT_EQ(outcome.exit_code, 75) << outcome;
  EXPECT_TRUE(outcome.says("stopped on request; nothing saved, for --out is not given")) << outcome;
}

TEST(Killing, AllRanksLosesNoMoreThanTheStepsSinceTheLastCheckpoint) {
  const fs::path out = new_path("killed");
  Job job({.ranks = 2, .arguments = long_run(out, kSteps)});
  wait_until_saved(job, out);

  job.signal_ranks(SIGKILL);
  const Outcome outcome = job.wait();

  EXPECT_EQ(outcome.exit_code, 128 + SIGKILL) << outcome;
  EXPECT_EQ(newest_step(out) % kStepsPerCheckpoint, 0);
  // What a rank that is killed while it writes leaves behind.
  write_text(out / "checkpoints" / "step-000000099.safetensors.partial-12345", "half a checkpoint");
  expect_resumes_to(out, 2, unstopped(2));
  for (const std::string& name : file_names(out / "checkpoints")) {
    EXPECT_EQ(name.find(".partial-"), std::string::npos) << name;
  }
}

class KillingOneRank : public testing::TestWithParam<const char*> {};

TEST_P(KillingOneRank, EndsTheJobPromptly) {
  const fs::path out = new_path("killed");
  Job job({.ranks = 2, .arguments = long_run(out, kEndless, {"--allreduce", GetParam()})});
  wait_until_saved(job, out);
  const std::vector<pid_t> ranks = job.rank_processes();

  job.signal_rank(1, SIGKILL);
  const Outcome outcome = job.wait(kPromptlyS);

  EXPECT_EQ(outcome.exit_code, 128 + SIGKILL) << outcome;
  for (const pid_t rank : ranks) EXPECT_TRUE(has_gone(rank)) << rank;
  EXPECT_GE(newest_step(out), kStepsPerCheckpoint);
}

INSTANTIATE_TEST_SUITE_P(Exchange, KillingOneRank, testing::Values("shm", "ring", "mpi"),
                         [](const auto& algorithm) { return algorithm.param; });

// Samples in order: the second rank alone meets the damaged pictures, in the second half of the only batch.
TEST(AThrowingRank, EndsAllRanksWithItsExitCodeAndItsName) {
  const fs::path data = copy_of_demo_data();
  for (std::int64_t k = 0; k < 8; ++k) write_text(demo_picture(data, "train", 9, k), "not a picture");
  const fs::path out = new_path("thrown");

  const Outcome outcome =
      run({.ranks = 2,
           .arguments = training_on(data, {"--global-batch", "80", "--steps", "3", "--shuffle", "off", "--max-damaged", "2",
                                           "--eval-every", "off", "--out", out.string()})});

  EXPECT_EQ(outcome.exit_code, 3) << outcome;
  EXPECT_TRUE(outcome.says("[rank 1 on ")) << outcome;
  EXPECT_TRUE(outcome.says("at most 2 damaged images")) << outcome;
}

// A step with an absurd rate; fp32 has no weights to go on with.
TEST(Divergence, HasItsOwnExitCodeAndLeavesCheckpointsAlone) {
  for (const int ranks : {0, 2}) {
    SCOPED_TRACE(ranks);
    const fs::path out = new_path("diverged");

    const Outcome outcome =
        run({.ranks = ranks,
             .arguments = training_into(out, {"--global-batch", "16", "--steps", "200", "--lr", "1e18", "--checkpoint-every",
                                              "1", "--eval-every", "off", "--schedule", "constant"})});

    EXPECT_EQ(outcome.exit_code, 5) << outcome;
    EXPECT_TRUE(outcome.says("expected a finite loss")) << outcome;
    EXPECT_TRUE(outcome.says(", first in ")) << outcome;
    EXPECT_GE(newest_step(out), 1);
  }
}

TEST(Divergence, NamesTheFirstLayerWhoseResultIsNotFinite) {
  const fs::path weights = new_path("weights.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--num-classes", "10", "--out", weights.string()}}).exit_code, 0);
  TensorFile file = read_tensor_file(weights);
  for (FileTensor& tensor : file.tensors) {
    if (tensor.name == "layer2.1.conv1.weight") std::ranges::fill(tensor.f32, 3e38f);
  }
  write_tensor_file(weights, file);
  for (const Words& exchange : {Words{}, Words{"--allreduce", "none"}, Words{"--allreduce", "ps"}}) {
    const Outcome outcome = run({.ranks = 2,
                                 .arguments = training(Words{"--global-batch", "16", "--steps", "2", "--eval-every", "off",
                                                             "--init-from", weights.string()} +
                                                       exchange)});

    EXPECT_EQ(outcome.exit_code, 5) << outcome;
    EXPECT_TRUE(outcome.says("training step 1: expected a finite loss")) << outcome;
    EXPECT_TRUE(outcome.says(", first in the result of layer2.1.conv1; try: ")) << outcome;
  }
}

}  // namespace
}  // namespace dtrain
