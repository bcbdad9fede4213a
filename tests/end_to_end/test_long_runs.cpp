// A run of many steps takes no more memory than one of few.
#include <gtest/gtest.h>
#include <signal.h>

#include <sstream>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kEarlyStep = 10'000, kLateStep = 30'000;
/// Bytes a step. What was kept of a step once took 136, on every rank.
constexpr double kNoGrowth = 16.0;

/// Resident memory that is no file's.
double own_memory_bytes(pid_t process) {
  std::istringstream lines(read_text("/proc/" + std::to_string(process) + "/status"));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("RssAnon:")) return std::stod(line.substr(8)) * 1024.0;
  }
  throw std::runtime_error("no such process: " + std::to_string(process));
}

TEST(LongRuns, KeepNothingOfASingleStep) {
  const fs::path out = new_path("long");
  const auto memory_at = [&](Job& job, std::int64_t step) {
    job.wait_until([&] { return fs::exists(checkpoint(out, step)); });
    return own_memory_bytes(job.rank_processes().front());
  };
  Job job({.arguments = {"--model",
                         "lenet5",
                         "--data",
                         "synthetic",
                         "--synthetic-size",
                         "4000",
                         "--num-classes",
                         "10",
                         "--threads",
                         "1",
                         "--global-batch",
                         "4",
                         "--steps",
                         "10000000",
                         "--checkpoint-every",
                         std::to_string(kEarlyStep),
                         "--keep-checkpoints",
                         "9",
                         "--eval-every",
                         "off",
                         "--log-every",
                         "5000",
                         "--out",
                         out.string()}});

  const double early = memory_at(job, kEarlyStep);
  const double late = memory_at(job, kLateStep);

  EXPECT_LT(late - early, kNoGrowth * static_cast<double>(kLateStep - kEarlyStep));
  job.signal(SIGTERM);
  EXPECT_EQ(job.wait().exit_code, 75);
}

}  // namespace
}  // namespace dtrain
