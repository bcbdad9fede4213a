// Slow is not lost: a rank that waits for an image or for a file that it saves is named and waited for, up to a limit of its own.
#include <gtest/gtest.h>

#include <chrono>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// One file's opening, or its way to the disk, takes `seconds` on one rank.
struct SlowFile {
  std::string part;  ///< of its path
  int rank = 1;
  double seconds = 3.5;
};

Command slowly(const SlowFile& slow, int ranks, const Words& arguments) {
  return {.ranks = ranks,
          .arguments = arguments,
          .environment = {"LD_PRELOAD=" SLOW_FILES, "SLOW_FILE=" + slow.part, "SLOW_RANK=" + std::to_string(slow.rank),
                          "SLOW_S=" + std::to_string(slow.seconds)}};
}

/// Over the images of the demo, most of them rank 1's in some step.
Words epochs(const std::string& data_timeout, const Words& more = {}) {
  return training({"--global-batch", "16", "--epochs", "2", "--eval-every", "off", "--stall-timeout", "2", "--data-timeout",
                   data_timeout}) + more;
}

const SlowFile kSlowImage{.part = "train/disc/0003.jpg", .rank = 1};

void expect_waited_for(const Words& exchange) {
  const Outcome outcome = run(slowly(kSlowImage, 2, epochs("30", exchange)));

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("rank 1 waits for images, ")) << outcome;
  EXPECT_TRUE(outcome.says("train/disc/0003.jpg")) << outcome;
  EXPECT_TRUE(outcome.says("waits for images no longer, after ")) << outcome;
  EXPECT_FALSE(outcome.says("no answer from")) << outcome;
  EXPECT_FALSE(outcome.says("without an answer from")) << outcome;
}

TEST(SlowData, ARankThatWaitsForAnImageIsNamedAndWaitedFor) { expect_waited_for({"--allreduce", "shm"}); }

TEST(SlowData, ItIsWaitedForInTheNextForwardToo) { expect_waited_for({"--allreduce", "ring", "--overlap", "forward"}); }

TEST(SlowData, TheOthersSayForWhomTheyWait) {
  const Outcome outcome = run(slowly(kSlowImage, 3, epochs("30", {"--allreduce", "ring"})));

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("now, while rank 1 on ")) << outcome;
}

TEST(SlowData, WorkersOfParameterServersAreWaitedForToo) {
  const Outcome outcome = run(slowly(kSlowImage, 2, epochs("30", {"--allreduce", "ps"})));

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("rank 1 waits for images, ")) << outcome;
}

TEST(SlowData, AnImageThatNeverComesEndsTheJobWithItsName) {
  for (const int ranks : {0, 2}) {
    const auto begin = std::chrono::steady_clock::now();

    const Outcome outcome = run(slowly({.part = kSlowImage.part, .rank = ranks == 0 ? 0 : 1, .seconds = 40.0}, ranks, epochs("3")));

    expect_refused(outcome, {"reading the image ", "train/disc/0003.jpg", "within 3 s (--data-timeout)"});
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20)) << "it does not wait for the file";
  }
}

TEST(SlowData, ValidationHasTheSameLimitAndWords) {
  const SlowFile slow{.part = "val/triangle/0001.jpg", .rank = 1, .seconds = 40.0};
  Words arguments = training({"--global-batch", "16", "--epochs", "1", "--stall-timeout", "2", "--data-timeout", "3"});

  const Outcome outcome = run(slowly(slow, 2, arguments));

  expect_refused(outcome, {"rank 1 waits for images, ", "reading the image ", slow.part, "within 3 s (--data-timeout)"});
}

TEST(SlowData, EvaluationIsWaitedFor) {
  const SlowFile slow{.part = "val/triangle/0001.jpg", .rank = 1, .seconds = 3.0};
  const fs::path weights = new_path("weights.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--out", weights.string()}}).exit_code, 0);
  const Words evaluation{"eval", "--model", "resnet20", "--data", demo_data().string(), "--weights", weights.string(), "--threads",
                         "1", "--data-timeout"};

  EXPECT_EQ(run(slowly(slow, 2, evaluation + Words{"30"})).exit_code, 0);
  expect_refused(run(slowly(slow, 2, evaluation + Words{"1"})), {slow.part, "within 1 s (--data-timeout)"});
}

TEST(SlowData, ASaveThatTakesLongIsNamedAndWaitedFor) {
  const fs::path out = new_path("run");
  const SlowFile slow{.part = "step-000000002", .rank = 0, .seconds = 3.0};

  const Outcome outcome =
      run(slowly(slow, 2, epochs("30", {"--out", out.string(), "--checkpoint-every", "2", "--allreduce", "ring"})));

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("rank 0 saves, ")) << outcome;
  EXPECT_TRUE(outcome.says(checkpoint(out, 2).string())) << outcome;
}

TEST(SlowData, ASaveThatNeverEndsEndsTheJobWithItsName) {
  for (const int ranks : {0, 2}) {
    const fs::path out = new_path("run");
    const SlowFile slow{.part = "step-000000002", .rank = 0, .seconds = 40.0};

    const Outcome outcome = run(slowly(slow, ranks, epochs("2", {"--out", out.string(), "--checkpoint-every", "2"})));

    expect_refused(outcome, {"saving " + checkpoint(out, 2).string(), "within 2 s (--data-timeout)"});
  }
}

}  // namespace
}  // namespace dtrain
