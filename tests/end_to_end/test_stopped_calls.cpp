// A rank is stopped as it is about to call MPI: wherever in a command that is, the others say which one, and the job ends.
#include <gtest/gtest.h>

#include <chrono>
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

/// Expects that the job ends in time and names the rank that is stopped in its at-th call of the function.
void expect_named(const Words& arguments, const std::string& function, int at = 1, int rank = 1) {
  SCOPED_TRACE(function + " " + std::to_string(at) + " on rank " + std::to_string(rank));
  const fs::path mark = new_path("stopped");
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

TEST(StoppedInACall, OfSettingUpIsNamed) {
  expect_named(train(), "MPI_Init_thread");
  for (const int at : {1, 2, 3}) expect_named(train(), "MPI_Comm_dup", at);
  for (const char* function : {"MPI_Comm_split_type", "MPI_Bcast", "MPI_Comm_split", "MPI_Comm_free", "MPI_Iallgatherv"}) {
    expect_named(train(), function);
  }
  for (const int at : {1, 2, 3, 4}) expect_named(train(), "MPI_Iallgather", at);
  expect_named(train(), "MPI_Comm_dup", 2, 0);
}

TEST(StoppedInACall, OfSharedMemoryIsNamed) {
  for (const int at : {1, 2, 3, 4}) expect_named(train(), "MPI_Win_allocate_shared", at);
  for (const int at : {1, 2, 3, 4}) expect_named(train(), "MPI_Win_free", at);
  expect_named(train(), "MPI_Win_allocate_shared", 1, 0);
}

TEST(StoppedInACall, OfStepsSavesAndEvaluationsIsNamed) {
  expect_named(train({"--allreduce", "ring"}), "MPI_Isend", 3);
  expect_named(train({"--allreduce", "ring"}), "MPI_Irecv", 1);
  expect_named(train({"--allreduce", "ring"}), "MPI_Test", 5);
  expect_named(train({"--allreduce", "mpi"}), "MPI_Allreduce", 2);
  for (const int at : {1, 4}) expect_named(train(), "MPI_Ibarrier", at);
  for (const int at : {1, 10, 20}) expect_named(train(), "MPI_Ibcast", at);
  for (const int at : {1, 4}) expect_named(train(), "MPI_Iallreduce", at);
}

TEST(StoppedInACall, OfTheEndIsNamed) {
  for (const int at : {2, 5}) expect_named(train(), "MPI_Comm_free", at);
  expect_named(train(), "MPI_Finalize");
  expect_named(train(), "MPI_Finalize", 1, 0);
}

TEST(StoppedInACall, OfParameterServersIsNamed) {
  const Words servers = train({"--allreduce", "ps", "--parameter-servers", "1"});
  for (const int at : {1, 2}) expect_named(servers, "MPI_Comm_split", at);
  expect_named(train({"--allreduce", "ps", "--parameter-servers", "1"}), "MPI_Isend", 2);
}

TEST(StoppedInACall, OfEvalIsNamed) {
  expect_named(evaluate(), "MPI_Init_thread");
  expect_named(evaluate(), "MPI_Comm_split");
  for (const int at : {4, 8}) expect_named(evaluate(), "MPI_Iallgather", at);
  expect_named(evaluate(), "MPI_Ibcast", 2);
  expect_named(evaluate(), "MPI_Finalize");
}

TEST(StoppedInACall, OfBenchIsNamed) {
  expect_named(bench(), "MPI_Comm_dup", 3);
  expect_named(bench(), "MPI_Win_allocate_shared");
  expect_named(bench(), "MPI_Win_free", 2);
  expect_named(bench(), "MPI_Ibarrier");
  expect_named(bench(), "MPI_Finalize");
}

}  // namespace
}  // namespace dtrain
