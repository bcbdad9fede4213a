// MPI itself, for the files of collectives/ (and their tests and measurements) alone: handles, checked calls, and the one way
// in which they wait for a request.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "collectives/call_watch.hpp"
#include "collectives/communicator.hpp"
#include "collectives/waiting.hpp"

namespace dtrain {

/// Duplicates of MPI_COMM_WORLD and of its node part, with errors returned. The training loop's messages have a communicator
/// of their own, so that they never match those of set-up and evaluation.
struct Communicator::Handles {
  MPI_Comm world = MPI_COMM_NULL;
  MPI_Comm node = MPI_COMM_NULL;
  MPI_Comm exchange = MPI_COMM_NULL;  ///< all ranks
  MPI_Comm notices = MPI_COMM_NULL;   ///< all ranks: those of the watch
  int exceptions_at_start = 0;        ///< more of them when destroyed: an error unwinds, the peers are not here
};

/// Throws CommError naming the call when an MPI status is not MPI_SUCCESS.
void check_mpi(int status, const char* call);
/// The same of a call that waits for other ranks inside MPI: watch (may be null) ends the process where that never ends.
template <typename Call>
void check_watched(CallWatch* watch, const char* doing, Call call) {
  const CallWatch::Scope scope(watch, doing);
  check_mpi(call(), doing);
}
/// Narrows a count for MPI. Errors: CommError when it does not fit.
int mpi_count(std::int64_t count);

/// Waits until `is_done()` says so: polls wait.spins times, then sleeps briefly between polls. Errors: what is_done throws;
/// CommError after the time-out, with `describe()` as what was being done (called only then, and for what the watch says);
/// LostRanksError, from the watch.
void wait_until(const std::function<bool()>& is_done, const WaitPolicy& wait, const std::function<std::string()>& describe,
                PollPace& pace);
/// The same until all requests are done, which then are MPI_REQUEST_NULL. Errors: also CommError: MPI; after a time-out the
/// buffers stay MPI's until the job has ended.
void wait_for_requests(std::span<MPI_Request> requests, const WaitPolicy& wait, const std::function<std::string()>& describe);
/// The same for the request of a collective. watch: may be null.
void wait_for_collective(MPI_Request request, const char* call, StallWatch* watch);

}  // namespace dtrain
