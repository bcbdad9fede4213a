// Weights that an earlier run has left in --out: never replaced unasked, and never beside new ones as if they belonged
// together.
#include <gtest/gtest.h>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

Words short_run_into(const fs::path& out, const std::string& steps, const Words& more = {}) {
  return training_into(
      out, Words{"--global-batch", "16", "--crop", "24", "--steps", steps, "--eval-every", "1", "--resume", "auto"} + more);
}

/// Everything but the account of attempts.
std::map<std::string, std::string> weights_in(const fs::path& out) {
  std::map<std::string, std::string> files = contents(out);
  std::erase_if(files, [](const auto& file) { return !file.first.ends_with(".safetensors"); });
  return files;
}

TEST(EarlierWeights, OfARunWhoseCheckpointsAreGoneAreNotReplaced) {
  const fs::path finished = new_path("finished");
  ASSERT_EQ(run({.arguments = short_run_into(finished, "2", {"--ema", "0.5"})}).exit_code, 0);
  for (const Words& left : {Words{"last.safetensors", "status.json"}, Words{"last.safetensors"}, Words{"best.safetensors"},
                            Words{"best.safetensors", "status.json"}, Words{"average.safetensors", "status.json"}}) {
    const fs::path out = new_path("emptied");
    fs::create_directories(out);
    for (const std::string& file : left) fs::copy_file(finished / file, out / file);
    const auto before = weights_in(out);

    for (int attempt = 0; attempt < 2; ++attempt) {
      const Outcome outcome = run({.arguments = short_run_into(out, "2", {"--ema", "0.5"})});

      EXPECT_EQ(outcome.exit_code, 2) << left.front() << outcome;
      EXPECT_TRUE(outcome.says("which a run from the beginning would replace")) << outcome;
    }
    EXPECT_TRUE(weights_in(out) == before) << left.front();
  }
}

// Which is not what the run that comes next is refused for: nothing of it was saved to go on from.
TEST(EarlierWeights, OfARunThatWasKilledBeforeItsFirstCheckpointAreMadeAgain) {
  const fs::path out = new_path("killed-early"), whole = new_path("whole");
  const Words arguments{"--checkpoint-every", "3"};
  ASSERT_EQ(run({.arguments = short_run_into(whole, "4", arguments)}).exit_code, 0);
  const Command killed{.arguments = short_run_into(out, "4", arguments),
                       .environment = {std::string("LD_PRELOAD=") + KILL_AT_RENAME, "RENAMES_BELOW=" + out.string(),
                                       "KILL_FILE=best.safetensors"}};
  ASSERT_EQ(run(killed).exit_code, 128 + 9);
  ASSERT_TRUE(fs::exists(out / "best.safetensors"));

  const Outcome outcome = run({.arguments = short_run_into(out, "4", arguments)});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("ended before its first checkpoint, and will be replaced")) << outcome;
  EXPECT_TRUE(weights_in(out) == weights_in(whole));
}

TEST(EarlierWeights, OfAnAverageThatIsNoLongerMadeGetAnotherName) {
  const fs::path out = new_path("no-average");
  ASSERT_EQ(run({.arguments = short_run_into(out, "2", {"--ema", "0.5"})}).exit_code, 0);
  const std::string average = read_text(out / "average.safetensors");

  const Outcome done = run({.arguments = short_run_into(out, "2")});
  EXPECT_TRUE(done.says("nothing left to do")) << done;
  EXPECT_EQ(read_text(out / "average.safetensors"), average) << "still that of the last weights";
  const Outcome gone_on = run({.arguments = short_run_into(out, "3")});

  ASSERT_EQ(gone_on.exit_code, 0) << gone_on;
  EXPECT_TRUE(gone_on.says("average-earlier.safetensors")) << gone_on;
  EXPECT_FALSE(fs::exists(out / "average.safetensors"));
  EXPECT_EQ(read_text(out / "average-earlier.safetensors"), average);
}

}  // namespace
}  // namespace dtrain
