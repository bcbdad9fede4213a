// Hosts made of namespaces: a cable that is pulled, ranks that are killed or stopped on another host. Skipped where namespaces
// may not be made.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

constexpr double kTimeoutS = 4.0;
constexpr double kEndS = 5.0;  ///< after the time-out
constexpr int kNoNamespaces = 77;
/// Of mpirun, when it gives up on a host.
constexpr int kHostLost = 205;

double clock_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr std::int64_t kStepsToSave = 40;
/// Of a run to the signal: its first checkpoint is whole, no rank is busy with it, and the next is far.
constexpr std::int64_t kStepsToLoss = kStepsToSave + 5;

/// A run over hosts that only a failure ends.
Command over_hosts(const std::vector<std::string>& hosts, const fs::path& out) {
  std::vector<std::string> words{"bash", DTRAIN_HOSTS};
  words.insert(words.end(), hosts.begin(), hosts.end());
  words.insert(words.end(), {"--", DTRAIN_BINARY});
  const std::vector<std::string> run =
      training_into(out, {"--global-batch", "16", "--steps", "10000000", "--eval-every", "off", "--checkpoint-every",
                          std::to_string(kStepsToSave), "--log-every", "1", "--allreduce", "ring", "--stall-timeout",
                          std::to_string(kTimeoutS)});
  words.insert(words.end(), run.begin(), run.end());
  return {.line = words};
}

std::string file_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// The process of a rank of the run in `out`, whatever namespace it is in.
std::optional<pid_t> process_of(int rank, const fs::path& out) {
  const std::string own_rank = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank) + std::string(1, '\0');
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string command = file_text(entry.path() / "cmdline");
    if (!command.starts_with(DTRAIN_BINARY) || command.find(out.string()) == std::string::npos) continue;
    if (file_text(entry.path() / "environ").find(own_rank) != std::string::npos) return static_cast<pid_t>(std::stol(name));
  }
  return std::nullopt;
}

bool is_any_left(const fs::path& out, int ranks) {
  for (int rank = 0; rank < ranks; ++rank) {
    const auto process = process_of(rank, out);
    if (process && !has_gone(*process)) return true;
  }
  return false;
}

void expect_whole_checkpoint(const fs::path& out) {
  std::vector<std::string> skipped;
  EXPECT_FALSE(find_newest_checkpoint(CheckpointPaths{.out = out}, skipped).empty());
  EXPECT_TRUE(skipped.empty()) << skipped.front();
}

/// Lines in which a rank names somebody who does not answer. Rank 0 says who it is in errors alone.
int lines_of(const Outcome& outcome, int rank, const std::string& missing) {
  const std::string who = "[rank " + std::to_string(rank) + " on host";
  std::istringstream lines(outcome.errors);
  int count = 0;
  for (std::string line; std::getline(lines, line);) {
    const bool is_own = line.find(who) != std::string::npos || (rank == 0 && line.find("[rank ") == std::string::npos);
    const auto answer = line.find(" answer from ");
    if (is_own && answer != std::string::npos && line.find(missing, answer) != std::string::npos) ++count;
  }
  return count;
}

class LostHost : public testing::Test {
 protected:
  /// Starts the run; signals a rank of it once it has saved. signal 0: none, hosts.sh does something itself.
  Outcome outcome_of(const std::vector<std::string>& hosts, int victim, int signal) {
    Job job(over_hosts(hosts, out_));
    try {
      job.wait_until([&] { return std::ssize(metrics_lines(out_ / "metrics.jsonl", "loss")) >= kStepsToLoss; });
    } catch (const std::runtime_error&) {
      const Outcome outcome = job.wait(kPromptlyS);
      if (outcome.exit_code != kNoNamespaces) throw;
      return outcome;
    }
    begin_s_ = clock_s();
    if (signal != 0) {
      const auto process = process_of(victim, out_);
      EXPECT_TRUE(process);
      if (process) kill(*process, signal);
    }
    Outcome outcome = job.wait(kLimitS);
    after_s_ = clock_s() - begin_s_;
    return outcome;
  }

  const fs::path out_ = new_path("over_hosts");
  double begin_s_ = 0.0;
  double after_s_ = 0.0;  ///< from the signal to the end
};

TEST_F(LostHost, TheOthersNameItsRanksWhenItsLinkIsDown) {
  const Outcome outcome = outcome_of(
      {"--hosts", "2", "--ranks-per-host", "2", "--link-down", "2", "--after", "12", "--mca", "oob_tcp_keepalive_time", "1",
       "--mca", "oob_tcp_keepalive_intvl", "1", "--mca", "oob_tcp_keepalive_probes", "2"},
      0, 0);
  if (outcome.exit_code == kNoNamespaces) GTEST_SKIP() << outcome.errors;

  EXPECT_EQ(outcome.exit_code, kHostLost) << outcome;
  EXPECT_LT(after_s_, 12.0 + kTimeoutS + kEndS);
  for (const int rank : {0, 1}) EXPECT_GE(lines_of(outcome, rank, "ranks 2, 3 on host2"), 1) << rank << ": " << outcome;
  EXPECT_TRUE(outcome.says("bucket 1 of 1 (conv1 … linear and the step's sums, 1080512 bytes) by ring")) << outcome;
  EXPECT_FALSE(is_any_left(out_, 4));
  expect_whole_checkpoint(out_);
}

TEST_F(LostHost, AKilledRankIsNamedByAllHosts) {
  const Outcome outcome = outcome_of({"--hosts", "2", "--ranks-per-host", "2"}, 3, SIGKILL);
  if (outcome.exit_code == kNoNamespaces) GTEST_SKIP() << outcome.errors;

  EXPECT_EQ(outcome.exit_code, 128 + SIGKILL) << outcome;
  EXPECT_LT(after_s_, kTimeoutS + kEndS);
  EXPECT_EQ(lines_of(outcome, 2, "rank 3 on host2 (process "), 1) << outcome;
  for (const int rank : {0, 1}) EXPECT_GE(lines_of(outcome, rank, "rank 3 on host2"), 1) << rank << ": " << outcome;
  EXPECT_FALSE(is_any_left(out_, 4));
}

// Nobody can see the process end. mpirun asks the others to end, host by host, before it kills them; Open MPI itself ends those
// that were sending to it.
TEST_F(LostHost, AKilledRankThatWasAloneOnItsHostIsNamedByAllHosts) {
  const Outcome outcome = outcome_of({"--hosts", "4", "--ranks-per-host", "1"}, 2, SIGKILL);
  if (outcome.exit_code == kNoNamespaces) GTEST_SKIP() << outcome.errors;

  EXPECT_EQ(outcome.exit_code, 128 + SIGKILL) << outcome;
  EXPECT_LT(after_s_, kTimeoutS + kEndS);
  for (const int rank : {0, 1, 3}) EXPECT_GE(lines_of(outcome, rank, "rank 2 on host3"), 1) << rank << ": " << outcome;
  EXPECT_FALSE(is_any_left(out_, 4));
}

TEST_F(LostHost, AStoppedRankIsNamedByAllHosts) {
  const Outcome outcome = outcome_of({"--hosts", "4", "--ranks-per-host", "1"}, 2, SIGSTOP);
  if (outcome.exit_code == kNoNamespaces) GTEST_SKIP() << outcome.errors;

  EXPECT_EQ(outcome.exit_code, 4) << outcome;
  EXPECT_LT(after_s_, kTimeoutS + kEndS);
  for (const int rank : {0, 1, 3}) EXPECT_GE(lines_of(outcome, rank, "rank 2 on host3"), 1) << rank << ": " << outcome;
  EXPECT_FALSE(is_any_left(out_, 4));
  expect_whole_checkpoint(out_);
}

}  // namespace
}  // namespace dtrain
