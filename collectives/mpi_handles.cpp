// Checked MPI calls and the wait for requests, which leaves the core to whoever computes on it.
#include "collectives/mpi_handles.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <thread>

#include "dtrain/error.hpp"

namespace dtrain {

void check_mpi(int status, const char* call) {
  if (status == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(status, text.data(), &length) != MPI_SUCCESS) length = 0;
  throw CommError(Fault{
      .doing = std::string("calling ") + call + " on " + host_name(),
      .expected = "success",
      .found = length > 0 ? std::string(text.data(), static_cast<std::size_t>(length)) : "MPI status " + std::to_string(status),
      .remedy = "read what other ranks and mpirun said; one of them may have ended first"});
}

int mpi_count(std::int64_t count) {
  if (count < 0 || count > std::numeric_limits<int>::max()) {
    throw CommError(Fault{.doing = "passing a count to MPI",
                          .expected = "0 to " + std::to_string(std::numeric_limits<int>::max()),
                          .found = std::to_string(count),
                          .remedy = "exchange less at a time"});
  }
  return static_cast<int>(count);
}

namespace {

constexpr int kPollsPerWait = 8;
constexpr std::chrono::nanoseconds kShortestPause = std::chrono::microseconds(10);
constexpr std::chrono::nanoseconds kLongestPause = std::chrono::microseconds(300);

}  // namespace

std::chrono::nanoseconds PollPace::pause(std::chrono::nanoseconds waited_already) const {
  return std::clamp(std::max(usual_, waited_already / kPollsPerWait), kShortestPause, kLongestPause);
}

void PollPace::record_wait(std::chrono::nanoseconds waited) {
  constexpr int kMemory = 4;  // waits over which the usual pause is averaged
  usual_ = std::clamp(usual_ + (waited / kPollsPerWait - usual_) / kMemory, kShortestPause, kLongestPause);
}

void wait_until(const std::function<bool()>& is_done, const WaitPolicy& wait, const std::function<std::string()>& describe,
                PollPace& pace) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  for (std::int64_t poll = 0; poll <= wait.spins; ++poll) {
    if (!is_done()) continue;
    pace.record_wait(Clock::now() - start);
    return;
  }
  // Sleeping, not yielding: where a thread computes on this core, a yield may cost a whole time slice, while who wakes from
  // a sleep gets the core soon.
  LongWait long_wait(wait);
  while (long_wait.lasts(describe)) {
    std::this_thread::sleep_for(pace.pause(Clock::now() - start));
    if (!is_done()) continue;
    pace.record_wait(Clock::now() - start);
    return;
  }
  throw CommError(Fault{.doing = describe(),
                        .expected = "an answer within " + seconds_text(wait.timeout_s),
                        .found = "none on " + host_name(),
                        .remedy = "look for a rank that stopped or hangs, and for a broken link between the hosts"});
}

void wait_for_requests(std::span<MPI_Request> requests, const WaitPolicy& wait, const std::function<std::string()>& describe) {
  const int count = mpi_count(static_cast<std::int64_t>(requests.size()));
  const auto are_done = [&] {
    int done = 0;
    check_mpi(MPI_Testall(count, requests.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
    return done != 0;
  };
  PollPace pace;
  wait_until(are_done, wait, describe, pace);
}

void wait_for_collective(MPI_Request request, const char* call, StallWatch* watch) {
  wait_for_requests({&request, 1}, {.spins = 1000, .timeout_s = kCollectiveTimeout_s, .watch = watch},
                    [call] { return std::string("waiting for all ranks in ") + call; });
}

}  // namespace dtrain
