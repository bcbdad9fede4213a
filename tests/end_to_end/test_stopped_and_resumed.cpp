// A run that was stopped on request, which saves once more than its plan says, and resumed: the bits of one that never was.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kUnevenSteps = 60;
constexpr std::int64_t kFirstSavedStep = 10;

/// Batches of 14 leave a short sixth step of 10 images, which three ranks share unevenly; evaluations are in mid-epoch too.
Words uneven_run(const Words& more = {}) {
  return Words{"--global-batch",
               "14",
               "--local-batch",
               "3",
               "--steps",
               std::to_string(kUnevenSteps),
               "--eval-every",
               "7",
               "--log-every",
               "1",
               "--crop",
               "24",
               "--checkpoint-every",
               std::to_string(kFirstSavedStep)} +
         more;
}

/// As a batch system does: the ranks are signalled once a checkpoint of the plan is there.
void stop_once_saved(const Command& command, const fs::path& out) {
  Job job(command);
  job.wait_until([&] { return fs::exists(checkpoint(out, kFirstSavedStep)); });
  if (command.ranks == 0) {
    job.signal(SIGUSR1);
  } else {
    job.signal_ranks(SIGUSR1);
  }
  const Outcome outcome = job.wait();
  ASSERT_EQ(outcome.exit_code, 75) << outcome;
}

void expect_same_weights(const fs::path& out, const fs::path& expected, const Words& more = {}) {
  for (const std::string& file :
       Words{"last.safetensors", "best.safetensors", "checkpoints/step-000000060.safetensors"} + more) {
    EXPECT_FALSE(read_text(expected / file).empty()) << file;
    EXPECT_TRUE(read_text(out / file) == read_text(expected / file)) << file << " differs";
  }
  const auto evaluations = metrics_lines(expected / "metrics.jsonl", "val_loss");
  const auto found = metrics_lines(out / "metrics.jsonl", "val_loss");
  ASSERT_EQ(found.size(), evaluations.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (const char* key : {"step", "val_loss", "val_top1"}) EXPECT_EQ(found[i].at(key), evaluations[i].at(key));
  }
}

struct RunKind {
  const char* name;
  int ranks;
  Words more{};
  Words files{};
};

class StoppedAndResumed : public testing::TestWithParam<RunKind> {};

TEST_P(StoppedAndResumed, HasTheBitsOfARunThatNeverWas) {
  const fs::path whole = new_path("never-stopped"), out = new_path("stopped");
  const auto command = [&](const fs::path& directory, const Words& more) {
    return Command{.ranks = GetParam().ranks, .arguments = training_into(directory, uneven_run(GetParam().more + more))};
  };
  const Outcome never_stopped = run(command(whole, {}));
  ASSERT_EQ(never_stopped.exit_code, 0) << never_stopped;

  stop_once_saved(command(out, {}), out);
  const Outcome resumed = run(command(out, {"--resume", "auto"}));

  ASSERT_EQ(resumed.exit_code, 0) << resumed;
  expect_same_weights(out, whole, GetParam().files);
}

INSTANTIATE_TEST_SUITE_P(Runs, StoppedAndResumed,
                         testing::Values(RunKind{"OneRank", 1}, RunKind{"TwoRanks", 2}, RunKind{"ThreeRanks", 3},
                                         RunKind{"AveragedWeights", 2, {"--ema", "0.5"}, {"average.safetensors"}},
                                         RunKind{"StatisticsOfAllRanks", 2, {"--bn", "sync"}},
                                         RunKind{"CopyARank", 2, {"--shared-update", "off"}},
                                         RunKind{"ParameterServers", 2, {"--allreduce", "ps"}}),
                         [](const auto& kind) { return std::string(kind.param.name); });

/// How often a run is saved, or evaluated, is nobody's business but the reader's.
TEST(RunningStatistics, DoNotDependOnHowOftenARunIsSavedOrEvaluated) {
  const fs::path seldom = new_path("seldom"), often = new_path("often");
  const auto command = [&](const fs::path& directory, const Words& more) {
    return Command{.ranks = 3, .arguments = training_into(directory, Words{"--global-batch", "14", "--steps", "9"} + more)};
  };

  ASSERT_EQ(run(command(seldom, {"--checkpoint-every", "off", "--eval-every", "off"})).exit_code, 0);
  ASSERT_EQ(run(command(often, {"--checkpoint-every", "1", "--eval-every", "1"})).exit_code, 0);

  EXPECT_TRUE(read_text(seldom / "last.safetensors") == read_text(often / "last.safetensors"));
}

/// As an earlier version had saved it: what ranks have of their own is not there.
void forget_rank_statistics(const fs::path& checkpoint) {
  TensorFile file = read_tensor_file(checkpoint);
  std::erase_if(file.tensors, [](const FileTensor& tensor) { return tensor.name.starts_with("rank_statistics."); });
  write_tensor_file(checkpoint, file);
}

TEST(RunningStatistics, OfOneSetAreThoseOfAllRanksThatGoOn) {
  const fs::path whole = new_path("whole"), out = new_path("old");
  const auto command = [&](const fs::path& directory, const Words& more) {
    return Command{.ranks = 2, .arguments = training_into(directory, uneven_run({"--eval-every", "off"}) + more)};
  };
  ASSERT_EQ(run(command(whole, {"--keep-checkpoints", "9"})).exit_code, 0);
  fs::create_directories(out / "checkpoints");
  fs::copy_file(checkpoint(whole, kFirstSavedStep), checkpoint(out, kFirstSavedStep));
  forget_rank_statistics(checkpoint(out, kFirstSavedStep));

  const Outcome outcome = run(command(out, {"--resume", "auto"}));

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(fingerprint(out / "report.json"), fingerprint(whole / "report.json"));
  // 50 steps later, 0.9⁵⁰ = 0.5 % of the averages are left, and the averages differ by roundings alone.
  EXPECT_LE(statistics_difference(read_tensor_file(out / "last.safetensors"), read_tensor_file(whole / "last.safetensors")),
            1e-5);
}

TEST(RunningStatistics, OfAnotherNumberOfRanksAreAveragedWhichIsSaid) {
  const fs::path out = new_path("two-then-three");
  const auto command = [&](int ranks, const Words& more) {
    return Command{.ranks = ranks, .arguments = training_into(out, uneven_run({"--eval-every", "off"}) + more)};
  };
  stop_once_saved(command(2, {}), out);

  const Outcome outcome = run(command(3, {"--resume", "auto"}));

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("running statistics of 2 ranks: each rank goes on from their average")) << outcome;
}

TEST(RunningStatistics, OfRanksAreNoTensorsOfTheNetwork) {
  const fs::path out = new_path("two"), report = new_path("report.json");
  ASSERT_EQ(run({.ranks = 2, .arguments = training_into(out, {"--global-batch", "16", "--steps", "2"})}).exit_code, 0);

  const Outcome outcome =
      run({.arguments = training({"--init-from", checkpoint(out, 2).string(), "--global-batch", "16", "--steps", "1"})});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_FALSE(outcome.says("rank_statistics")) << outcome;
}

}  // namespace
}  // namespace dtrain
