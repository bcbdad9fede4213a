// Standard streams that are closed, full, or read by nobody any more: a run trains on to its end, and a result that could not
// be printed is not called a success.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kManySteps = 20;

Words many_lines(const fs::path& out) {
  return training_into(out, {"--crop", "32", "--global-batch", "8", "--steps", std::to_string(kManySteps), "--eval-every",
                             "off", "--log-every", "1"});
}

/// A command of the shell: dtrain, or two ranks of it, with these arguments; then `redirections`. The exit code of dtrain, or
/// of mpirun, is the first line of the outcome's errors.
Outcome in_shell(int ranks, const Words& arguments, const std::string& redirections) {
  std::string command =
      ranks > 0 ? std::string(DTRAIN_MPIEXEC) + " -np " + std::to_string(ranks) + " --oversubscribe --bind-to none " : "";
  command += DTRAIN_BINARY;
  for (const std::string& word : arguments) command += " '" + word + "'";
  const std::string code = new_path("code").string();
  Outcome outcome =
      run({.arguments = {}, .line = {"bash", "-c", "{ " + command + "; echo $? > " + code + "; } " + redirections}});
  outcome.exit_code = std::stoi(read_text(code));
  return outcome;
}

void expect_whole_run(const fs::path& out) {
  std::vector<std::int64_t> every_step;
  for (std::int64_t step = 1; step <= kManySteps; ++step) every_step.push_back(step);
  EXPECT_EQ(whole_numbers(metrics_lines(out / "metrics.jsonl", "loss"), "step"), every_step);
  EXPECT_EQ(read_json(out / "report.json").at("steps"), kManySteps);
  EXPECT_EQ(read_json(out / "status.json").at("state"), "done");
  EXPECT_NE(read_text(out / "log.txt").find("weights: "), std::string::npos) << read_text(out / "log.txt");
}

class AReaderThatGoes : public testing::TestWithParam<int> {};

// mpirun bears ten writes into such a pipe.
TEST_P(AReaderThatGoes, DoesNotEndTraining) {
  for (const std::string what : {"2>/dev/null | head -1", "2>&1 >/dev/null | head -1"}) {
    SCOPED_TRACE(what);
    const fs::path out = new_path("read");

    const Outcome outcome = in_shell(GetParam(), many_lines(out), what);

    EXPECT_EQ(outcome.exit_code, 0) << outcome;
    expect_whole_run(out);
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, AReaderThatGoes, testing::Values(0, 2));

TEST(Streams, APipeWithANameWhoseReaderHasGoneHoldsUpNoRank) {
  const fs::path pipe = new_path("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const fs::path out = new_path("gone");

  // The shell opens the pipe as soon as there is a reader, which ends at once.
  const Outcome outcome = in_shell(2, many_lines(out), "> " + pipe.string() + " & : < " + pipe.string() + "; wait");

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  expect_whole_run(out);
}

TEST(Streams, ClosedOnesArePlacesOfNoFile) {
  for (const std::string closed : {">&-", ">&- 2>&-", "<&- >&- 2>&-"}) {
    SCOPED_TRACE(closed);
    const fs::path out = new_path("closed");

    const Outcome outcome = in_shell(0, many_lines(out), closed);

    EXPECT_EQ(outcome.exit_code, 0) << outcome;
    expect_whole_run(out);
    EXPECT_NO_THROW(read_tensor_file(out / "last.safetensors"));
  }
}

TEST(Streams, AFullOneLosesLinesOfTrainingButNoResult) {
  const fs::path out = new_path("full");

  const Outcome outcome = in_shell(0, many_lines(out), ">/dev/full");
  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("warning: printing to the standard output")) << outcome;
  expect_whole_run(out);

  const Words eval{"eval",
                   "--model",
                   "resnet20",
                   "--crop",
                   "32",
                   "--threads",
                   "1",
                   "--data",
                   demo_data().string(),
                   "--weights",
                   (out / "last.safetensors").string()};
  for (const Words& command : {eval, Words{"models"}, Words{"topo"}, Words{"inspect", (out / "last.safetensors").string()}}) {
    const Outcome lost = in_shell(0, command, ">/dev/full");
    EXPECT_EQ(lost.exit_code, 3) << lost;
    EXPECT_TRUE(lost.says("No space left on device")) << lost;
  }
  EXPECT_EQ(in_shell(0, eval, "| true").exit_code, 0);
}

// Bash's limit is in units of 1024 bytes; MPI's own files need 4 MB, a checkpoint here has 6.
TEST(Streams, ALimitOfFileSizeIsAnErrorThatNamesIt) {
  const fs::path out = new_path("limited");

  const Outcome outcome =
      run({.arguments = {},
           .line = {"bash", "-c",
                    "ulimit -f 4500; exec " DTRAIN_BINARY
                    " --model squeezenet1_1 --threads 1 --crop 64 --global-batch 4 --steps 1 --eval-every off"
                    " --data " +
                        demo_data().string() + " --out " + out.string()}});

  EXPECT_EQ(outcome.exit_code, 3) << outcome;
  EXPECT_TRUE(outcome.says("ulimit -f")) << outcome;
}

}  // namespace
}  // namespace dtrain
