// A run that was interrupted and resumed is the run that was not.
#include <gtest/gtest.h>
#include <signal.h>

#include <utility>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> joined(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// Thirteen steps in epochs of five, evaluated every two steps, saved every three.
const std::vector<std::string> kThirteenSteps{"--global-batch",     "16", "--steps", "13", "--eval-every", "2",
                                              "--checkpoint-every", "3"};

/// The same with optimizers of every kind: two ranks take one that measures norms, three one that has two arenas and counts
/// its updates, and average the weights.
std::vector<std::string> thirteen_steps_of(int ranks) {
  if (ranks == 2) return joined(kThirteenSteps, {"--optimizer", "lars", "--clip-norm", "1"});
  return ranks == 3 ? joined(kThirteenSteps, {"--optimizer", "adamw", "--ema", "0.9"}) : kThirteenSteps;
}

/// The uninterrupted run on this number of ranks, with all its checkpoints; made once.
const fs::path& uninterrupted(int ranks, const std::string& precision = "fp32") {
  static std::map<std::pair<int, std::string>, fs::path> runs;
  fs::path& made = runs[{ranks, precision}];
  if (made.empty()) {
    const fs::path out = new_path("uninterrupted");
    const std::vector<std::string> more{"--precision", precision, "--keep-checkpoints", "100"};
    const Outcome outcome = run({.ranks = ranks, .arguments = training_into(out, joined(thirteen_steps_of(ranks), more))});
    if (outcome.exit_code != 0) throw std::runtime_error("the run to compare with failed: " + outcome.errors);
    made = out;
  }
  return made;
}

/// A directory as the uninterrupted run had left it right after the checkpoint of this step.
fs::path interrupted_after(std::int64_t step, int ranks, const std::string& precision = "fp32") {
  const fs::path whole = uninterrupted(ranks, precision);
  const fs::path out = new_path("interrupted");
  fs::create_directories(checkpoint(out, step).parent_path());
  for (const std::string& name : file_names(whole / "checkpoints")) {
    const fs::path saved = whole / "checkpoints" / name;
    if (saved.filename() <= checkpoint(out, step).filename()) fs::copy_file(saved, out / "checkpoints" / name);
  }
  fs::copy_file(whole / "metrics.jsonl", out / "metrics.jsonl");
  return out;
}

/// The log tells of every attempt, as do the status and the lock.
std::map<std::string, std::string> but_log(std::map<std::string, std::string> files) {
  for (const char* name : {"log.txt", "status.json", ".lock"}) files.erase(name);
  return files;
}

/// Weights, statistics, velocity and position, byte by byte; and the lines of all thirteen steps, each once.
void expect_same_run(const fs::path& resumed, const fs::path& whole) {
  for (const auto& file : {CheckpointPaths{.out = {}}.checkpoint(13), fs::path("last.safetensors")}) {
    EXPECT_TRUE(read_text(resumed / file) == read_text(whole / file)) << file << " differs";
  }
  EXPECT_EQ(fingerprint(resumed / "report.json"), fingerprint(whole / "report.json"));

  for (const char* key : {"loss", "val_loss"}) {
    const auto expected = metrics_lines(whole / "metrics.jsonl", key);
    const auto found = metrics_lines(resumed / "metrics.jsonl", key);
    ASSERT_EQ(whole_numbers(found, "step"), whole_numbers(expected, "step"));
    for (std::size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].at(key), expected[i].at(key)) << key << " " << i;
  }
}

/// Ranks and precision.
class Resume : public testing::TestWithParam<std::pair<int, std::string>> {};

TEST_P(Resume, InTheMiddleOfAnEpochGivesTheBitsOfTheUninterruptedRun) {
  const auto& [ranks, precision] = GetParam();
  if (!computes_natively(precision)) GTEST_SKIP() << "this CPU does not compute bf16";
  const fs::path out = interrupted_after(6, ranks, precision);

  const Outcome outcome =
      run({.ranks = ranks,
           .arguments = training_into(out, joined(thirteen_steps_of(ranks), {"--precision", precision, "--resume", "auto"}))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("resumed from " + checkpoint(out, 6).string() + " after step 6")) << outcome;
  EXPECT_FALSE(outcome.says("resumed with different")) << outcome;
  expect_same_run(out, uninterrupted(ranks, precision));
}

INSTANTIATE_TEST_SUITE_P(Ranks, Resume,
                         testing::Values(std::pair{0, "fp32"}, std::pair{2, "fp32"}, std::pair{3, "fp32"},
                                         std::pair{2, "bf16"}));

TEST(ResumeFrom, APathContinuesInAnotherDirectory) {
  const fs::path out = new_path("elsewhere");

  const Outcome outcome =
      run({.arguments = training_into(out, joined(kThirteenSteps, {"--resume", checkpoint(uninterrupted(0), 9).string()}))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(read_text(checkpoint(out, 13)) == read_text(checkpoint(uninterrupted(0), 13)));
}

TEST(ResumeFrom, AnEmptyDirectoryStartsFromTheBeginningAndSaysSo) {
  const fs::path out = new_path("fresh");

  const Outcome outcome = run({.arguments = training_into(out, joined(kThirteenSteps, {"--resume", "auto"}))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("nothing to resume in " + (out / "checkpoints").string())) << outcome;
  expect_same_run(out, uninterrupted(0));
}

TEST(ResumeFrom, AFinishedRunHasNothingToDoAndChangesNothing) {
  const fs::path out = interrupted_after(13, 0);
  for (const char* name : {"report.json", "last.safetensors"}) fs::copy_file(uninterrupted(0) / name, out / name);
  const auto before = but_log(contents(out));

  const Outcome outcome = run({.arguments = training_into(out, joined(kThirteenSteps, {"--resume", "auto"}))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("after step 13")) << outcome;
  EXPECT_TRUE(outcome.says("nothing left to do")) << outcome;
  EXPECT_TRUE(but_log(contents(out)) == before);
}

TEST(ResumeFrom, ACheckpointBeyondTheLastStepIsRefused) {
  const fs::path out = new_path("beyond");
  const fs::path saved = checkpoint(uninterrupted(0), 13);

  const Outcome outcome =
      run({.arguments = training_into(out, {"--global-batch", "16", "--steps", "3", "--resume", saved.string()})});

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_TRUE(outcome.says("before the last step, 3, found one after step 13")) << outcome;
}

// A job script that is queued again runs the same line: the second time --init-from must not throw the training away.
TEST(ResumeFrom, ItsOwnCheckpointWinsOverInitFrom) {
  const fs::path out = interrupted_after(6, 0);
  const fs::path weights = new_path("weights.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--seed", "9", "--out", weights.string()}}).exit_code, 0);

  const Outcome outcome =
      run({.arguments = training_into(out, joined(kThirteenSteps, {"--resume", "auto", "--init-from", weights.string()}))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  expect_same_run(out, uninterrupted(0));
}

TEST(ResumeFrom, ATruncatedCheckpointFallsBackOnTheOneBefore) {
  const fs::path out = interrupted_after(9, 0);
  truncate_file(checkpoint(out, 9), 0.6);

  const Outcome outcome = run({.arguments = training_into(out, joined(kThirteenSteps, {"--resume", "auto"}))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("skipped a damaged checkpoint: " + checkpoint(out, 9).string())) << outcome;
  EXPECT_TRUE(outcome.says("resumed from " + checkpoint(out, 6).string())) << outcome;
  expect_same_run(out, uninterrupted(0));
}

TEST(ResumeFrom, ABitFlippedCheckpointFallsBackOnTheOneBeforeOnAllRanks) {
  const fs::path out = interrupted_after(9, 2);
  flip_bit(checkpoint(out, 9));

  const Outcome outcome =
      run({.ranks = 2, .arguments = training_into(out, joined(thirteen_steps_of(2), {"--resume", "auto"}))});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("skipped a damaged checkpoint: " + checkpoint(out, 9).string())) << outcome;
  EXPECT_TRUE(outcome.says("resumed from " + checkpoint(out, 6).string())) << outcome;
  expect_same_run(out, uninterrupted(2));
}

TEST(ResumeFrom, ADirectoryWhoseCheckpointsAreAllDamagedIsRefused) {
  const fs::path out = interrupted_after(6, 0);
  for (const std::string& name : file_names(out / "checkpoints")) truncate_file(out / "checkpoints" / name, 0.5);
  const auto before = contents(out / "checkpoints");

  const Outcome outcome = run({.arguments = training_into(out, joined(kThirteenSteps, {"--resume", "auto"}))});

  // Starting over would overwrite metrics and, in time, the damaged files that somebody might still want to mend.
  EXPECT_EQ(outcome.exit_code, 3) << outcome;
  EXPECT_TRUE(contents(out / "checkpoints") == before);
}

struct Difference {
  const char* name;
  std::vector<std::string> options;  ///< appended to a run that differs from the saved one in nothing else
  int exit_code;
  const char* says;
};

class ResumingWith : public testing::TestWithParam<Difference> {};

TEST_P(ResumingWith, IsRefusedAndChangesNothing) {
  const fs::path out = interrupted_after(6, 0);
  const auto before = but_log(contents(out));
  std::vector<std::string> arguments{"--threads", "1",       "--data", demo_data().string(), "--out", out.string(), "--resume",
                                     "auto",      "--steps", "13"};

  const Outcome outcome = run({.arguments = joined(arguments, GetParam().options)});

  EXPECT_EQ(outcome.exit_code, GetParam().exit_code) << outcome;
  EXPECT_TRUE(outcome.says(GetParam().says)) << outcome;
  EXPECT_TRUE(but_log(contents(out)) == before);
}

INSTANTIATE_TEST_SUITE_P(
    Resume, ResumingWith,
    testing::Values(
        Difference{"AnotherModel", {"--model", "resnet32", "--global-batch", "16"}, 3, "one of model resnet20"},
        Difference{
            "AnotherGlobalBatch", {"--model", "resnet20", "--global-batch", "8"}, 2, "try: --global-batch 16, or --init-from"},
        Difference{"AnAverageThatWasNotSaved",
                   {"--model", "resnet20", "--global-batch", "16", "--ema", "0.9"},
                   2,
                   "different ema (0.9, before: the default)"},
        Difference{"AnotherSeed", {"--model", "resnet20", "--global-batch", "16", "--seed", "5"}, 2, "different seed"}),
    [](const auto& difference) { return difference.param.name; });

TEST(StartingFromAPath, InADirectoryThatHoldsAnotherRunIsRefusedAndChangesNothing) {
  const fs::path out = interrupted_after(9, 0);
  const auto before = but_log(contents(out));

  const Outcome outcome =
      run({.arguments = training_into(out, joined(kThirteenSteps, {"--resume", checkpoint(uninterrupted(0), 3).string()}))});

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_TRUE(but_log(contents(out)) == before);
}

TEST(StartingAnew, InADirectoryThatHoldsARunIsRefusedAndChangesNothing) {
  const fs::path out = interrupted_after(6, 2);
  const auto before = but_log(contents(out));

  const Outcome outcome = run({.ranks = 2, .arguments = training_into(out, kThirteenSteps)});

  EXPECT_EQ(outcome.exit_code, 2) << outcome;
  EXPECT_TRUE(outcome.says("starting a run in " + out.string())) << outcome;
  EXPECT_TRUE(outcome.says("--resume auto")) << outcome;
  EXPECT_TRUE(but_log(contents(out)) == before);
}

}  // namespace
}  // namespace dtrain
