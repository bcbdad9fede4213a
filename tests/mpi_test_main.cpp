// main of the test programs that run under mpirun: every rank runs all tests; rank 0 reports, other ranks speak only of what
// failed. After each test the ranks meet, so that a test that some rank left early fails by name instead of hanging.
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "collectives/mpi_handles.hpp"
#include "dtrain/error.hpp"

// Read by AddressSanitizer where it is built in. What Open MPI's plug-ins keep until the process ends would count as leaked,
// and cannot be told by name once they are unloaded.
extern "C" const char* __asan_default_options();                              // NOLINT(bugprone-reserved-identifier)
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }  // NOLINT(bugprone-reserved-identifier)

namespace {

/// Seconds a rank waits for the others at the end of a test; they differ by little unless one hangs.
constexpr double kTestSkew_s = 60.0;

/// Prints failures, with the rank; for ranks other than 0.
class FailurePrinter : public testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    std::printf("[rank %d] %s:%d: %s\n", rank_, result.file_name() != nullptr ? result.file_name() : "?", result.line_number(),
                result.message());
    std::fflush(stdout);
  }

 private:
  int rank_;
};

/// Lets all ranks meet after each test.
class Meeting : public testing::EmptyTestEventListener {
 public:
  Meeting(int rank, int size) : rank_(rank), size_(size) { MPI_Comm_dup(MPI_COMM_WORLD, &comm_); }

  void OnTestEnd(const testing::TestInfo& test) override {
    const int failed = test.result()->Failed() ? 1 : 0;
    std::vector<int> all(static_cast<std::size_t>(size_), 0);
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Iallgather(&failed, 1, MPI_INT, all.data(), 1, MPI_INT, comm_, &request);
    try {
      dtrain::wait_for_requests({&request, 1}, {.spins = 1000, .timeout_s = kTestSkew_s},
                                [] { return std::string("meeting"); });
    } catch (const dtrain::CommError& error) {
      std::printf("[rank %d] %s.%s: the other ranks have not ended this test after %.0f s (%s)\n", rank_,
                  test.test_suite_name(), test.name(), kTestSkew_s, error.what());
      dtrain::MpiSession::abort(EXIT_FAILURE);
    }
    std::string ranks;
    for (int rank = 0; rank < size_; ++rank) {
      if (all[static_cast<std::size_t>(rank)] != 0) ranks.append(" ").append(std::to_string(rank));
    }
    has_failed_ = has_failed_ || !ranks.empty();
    if (rank_ != 0 || ranks.empty()) return;
    std::printf("[rank 0] %s.%s failed on ranks%s of %d\n", test.test_suite_name(), test.name(), ranks.c_str(), size_);
    std::fflush(stdout);
  }

  bool has_failed() const { return has_failed_; }

 private:
  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_;
  int size_;
  bool has_failed_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const dtrain::MpiSession session(&argc, &argv);
  int rank = 0;
  int size = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);

  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (rank != 0) {
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(rank));  // owned by GoogleTest
  }
  auto* meeting = new Meeting(rank, size);  // owned by GoogleTest
  listeners.Append(meeting);

  int failed = RUN_ALL_TESTS() != 0 || meeting->has_failed() ? 1 : 0;
  int any_failed = failed;
  MPI_Allreduce(&failed, &any_failed, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  return any_failed;
}
