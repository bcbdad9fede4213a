// A rank is stopped as it is about to call MPI: wherever in a command that is, the others say which one, and the job ends.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <vector>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

constexpr double kCallTimeoutS = 2.0;
/// After the time-out a job is over within this.
constexpr double kEndsWithinS = 5.0;

Words small_network(const Words& more) {
  return Words{"--model", "lenet5", "--threads", "1", "--stall-timeout", std::to_string(kCallTimeoutS)} + more;
}

/// An epoch that saves twice and evaluates.
Words train(const Words& more = {}) {
  return small_network({"--data", demo_data().string(), "--global-batch", "16", "--epochs", "1", "--checkpoint-every", "2",
                        "--out", new_path("out").string()}) +
         more;
}

Words evaluate() {
  static const fs::path weights = [] {
    const fs::path made = new_path("fresh.safetensors");
    run({.arguments = {"init", "--model", "lenet5", "--num-classes", "10", "--out", made.string()}});
    return made;
  }();
  return Words{"eval"} + small_network({"--data", demo_data().string(), "--weights", weights.string()});
}

Words bench() {
  return {"bench",
          "--models",
          "lenet5",
          "--batches",
          "4",
          "--steps",
          "3",
          "--warmup",
          "1",
          "--threads",
          "1",
          "--stall-timeout",
          std::to_string(kCallTimeoutS)};
}

/// Where a rank is stopped: in its at-th call of the function.
struct Stop {
  Words arguments;
  std::string function;
  int at = 1;
  int rank = 1;
  fs::path mark = new_path("stopped");  ///< the process's number is written there
};

/// Expects that the job ends in time and names the rank that is stopped.
void expect_named(const Stop& stop) {
  const auto& [arguments, function, at, rank, mark] = stop;
  SCOPED_TRACE(function + " " + std::to_string(at) + " on rank " + std::to_string(rank));
  Job job({.ranks = 2,
           .arguments = arguments,
           .environment = {"LD_PRELOAD=" + std::string(STOPPED_CALLS), "STOP_IN=" + function, "STOP_AT=" + std::to_string(at),
                           "STOP_RANK=" + std::to_string(rank), "STOP_MARK=" + mark.string()}});
  job.wait_until([&] { return !read_text(mark).empty(); });
  const auto begin = std::chrono::steady_clock::now();

  const Outcome outcome = job.wait(kPromptlyS);
  const double after_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();

  EXPECT_EQ(outcome.exit_code, 4) << outcome;
  EXPECT_LT(after_s, kCallTimeoutS + kEndsWithinS) << outcome;
  EXPECT_NE(outcome.errors.find("error: [rank " + std::to_string(1 - rank) + " on "), std::string::npos) << outcome;
  EXPECT_NE(outcome.errors.find("no answer from rank " + std::to_string(rank) + " on "), std::string::npos) << outcome;
  EXPECT_NE(outcome.errors.find("(process " + read_text(mark) + " is stopped)"), std::string::npos) << outcome;
}

/// Several jobs at a time: nearly all that they do is to wait.
void expect_named(const std::vector<Stop>& stops) {
  constexpr int kAtATime = 4;
  std::atomic<std::size_t> next = 0;
  std::vector<std::future<void>> workers;
  for (int i = 0; i < kAtATime; ++i) {
    workers.push_back(std::async(std::launch::async, [&] {
      for (std::size_t at = next++; at < stops.size(); at = next++) expect_named(stops[at]);
    }));
  }
  for (std::future<void>& worker : workers) worker.get();
}

TEST(StoppedInACall, OfSettingUpIsNamed) {
  std::vector<Stop> stops;
  stops.push_back({train(), "MPI_Init_thread"});
  for (const int at : {1, 2, 3}) stops.push_back({train(), "MPI_Comm_dup", at});
  for (const char* function : {"MPI_Comm_split_type", "MPI_Bcast", "MPI_Comm_split", "MPI_Comm_free", "MPI_Iallgatherv"}) {
    stops.push_back({train(), function});
  }
  for (const int at : {1, 2, 3, 4}) stops.push_back({train(), "MPI_Iallgather", at});
  stops.push_back({train(), "MPI_Comm_dup", 2, 0});
  expect_named(stops);
}

TEST(StoppedInACall, OfSharedMemoryIsNamed) {
  std::vector<Stop> stops;
  for (const int at : {1, 2, 3, 4}) stops.push_back({train(), "MPI_Win_allocate_shared", at});
  for (const int at : {1, 2, 3, 4}) stops.push_back({train(), "MPI_Win_free", at});
  stops.push_back({train(), "MPI_Win_allocate_shared", 1, 0});
  expect_named(stops);
}

TEST(StoppedInACall, OfStepsSavesAndEvaluationsIsNamed) {
  std::vector<Stop> stops;
  stops.push_back({train({"--allreduce", "ring"}), "MPI_Isend", 3});
  stops.push_back({train({"--allreduce", "ring"}), "MPI_Irecv", 1});
  stops.push_back({train({"--allreduce", "ring"}), "MPI_Test", 5});
  stops.push_back({train({"--allreduce", "mpi"}), "MPI_Allreduce", 2});
  for (const int at : {1, 4}) stops.push_back({train(), "MPI_Ibarrier", at});
  for (const int at : {1, 10, 20}) stops.push_back({train(), "MPI_Ibcast", at});
  for (const int at : {1, 4}) stops.push_back({train(), "MPI_Iallreduce", at});
  expect_named(stops);
}

TEST(StoppedInACall, OfTheEndIsNamed) {
  std::vector<Stop> stops;
  for (const int at : {2, 5}) stops.push_back({train(), "MPI_Comm_free", at});
  stops.push_back({train(), "MPI_Finalize"});
  stops.push_back({train(), "MPI_Finalize", 1, 0});
  expect_named(stops);
}

TEST(StoppedInACall, OfParameterServersIsNamed) {
  std::vector<Stop> stops;
  const auto served = [] { return train({"--allreduce", "ps", "--parameter-servers", "1"}); };
  for (const int at : {1, 2}) stops.push_back({served(), "MPI_Comm_split", at});
  stops.push_back({served(), "MPI_Isend", 2});
  expect_named(stops);
}

TEST(StoppedInACall, OfEvalIsNamed) {
  std::vector<Stop> stops;
  stops.push_back({evaluate(), "MPI_Init_thread"});
  stops.push_back({evaluate(), "MPI_Comm_split"});
  for (const int at : {4, 8}) stops.push_back({evaluate(), "MPI_Iallgather", at});
  stops.push_back({evaluate(), "MPI_Ibcast", 2});
  stops.push_back({evaluate(), "MPI_Finalize"});
  expect_named(stops);
}

TEST(StoppedInACall, OfBenchIsNamed) {
  std::vector<Stop> stops;
  stops.push_back({bench(), "MPI_Comm_dup", 3});
  stops.push_back({bench(), "MPI_Win_allocate_shared"});
  stops.push_back({bench(), "MPI_Win_free", 2});
  stops.push_back({bench(), "MPI_Ibarrier"});
  stops.push_back({bench(), "MPI_Finalize"});
  expect_named(stops);
}

}  // namespace
}  // namespace dtrain
