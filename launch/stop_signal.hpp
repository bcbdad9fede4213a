// Requests to stop: SIGTERM (batch systems), SIGUSR1 (a batch system's notice ahead of the time limit) and SIGINT (Ctrl-C).
#pragma once

#include <atomic>

namespace dtrain {

/// Installs the handlers and gives the flag that they set. A second SIGINT ends the process at once.
const std::atomic<bool>& watch_stop_signals();

/// Gives the signals their default effect again: a process that is about to end must not survive them.
void forget_stop_signals();

}  // namespace dtrain
