// Requests to stop: SIGTERM and SIGHUP (batch systems, a terminal that closes), SIGINT (Ctrl-C), SIGUSR1 and SIGUSR2 (a batch
// system's notice ahead of the time limit) and SIGXCPU (a limit of CPU time that is about to be reached).
#pragma once

#include <atomic>

namespace dtrain {

/// Installs the handlers and gives the flag that they set. A signal that was ignored when the process was started (nohup:
/// SIGHUP) stays ignored. A second SIGINT or SIGTERM, kSameRequest_s after the first or later, ends the process at once; within
/// that time it is the same request: `timeout` and srun deliver theirs twice.
const std::atomic<bool>& watch_stop_signals();

/// Gives the signals their default effect again: a process that is about to end must not survive them.
void forget_stop_signals();

/// Until this long after a request another one says nothing new.
inline constexpr double kSameRequest_s = 0.5;

}  // namespace dtrain
