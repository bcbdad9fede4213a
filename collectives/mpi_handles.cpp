// Checked MPI calls and the wait for requests, which leaves the core to whoever computes on it.
#include "collectives/mpi_handles.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
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

std::string seconds_text(double seconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g s", seconds);
  return text.data();
}

void wait_until(const std::function<bool()>& is_done, const WaitPolicy& wait, const std::function<std::string()>& describe) {
  using Clock = std::chrono::steady_clock;
  for (std::int64_t poll = 0; poll <= wait.spins; ++poll) {
    if (is_done()) return;
  }
  // Sleeping, not yielding: where a thread computes on this core, a yield may cost a whole time slice, while who wakes from
  // a sleep gets the core soon.
  // MPI moves data only when it is polled, so pauses are short while messages may be on their way.
  constexpr auto kShortPause = std::chrono::microseconds(20);
  constexpr auto kLongPause = std::chrono::microseconds(200);
  const auto start = Clock::now();
  for (int poll = 0;; ++poll) {
    const auto pause = poll < 100 ? kShortPause : kLongPause;
    if (is_done()) return;
    if (std::chrono::duration<double>(Clock::now() - start).count() > wait.timeout_s) break;
    std::this_thread::sleep_for(pause);
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
  wait_until(are_done, wait, describe);
}

void wait_for_collective(MPI_Request request, const char* call) {
  wait_for_requests({&request, 1}, {.spins = 1000, .timeout_s = kCollectiveTimeout_s},
                    [call] { return std::string("waiting for all ranks in ") + call; });
}

}  // namespace dtrain
