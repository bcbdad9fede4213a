// A signal handler can reach nothing but a variable of static storage: the one global of the program.
#include "launch/stop_signal.hpp"

#include <array>
#include <csignal>

namespace dtrain {
namespace {

std::atomic<bool> stop_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may not wait for a lock");

constexpr std::array kSignals{SIGTERM, SIGINT, SIGUSR1};

void request_stop(int) { stop_requested.store(true, std::memory_order_relaxed); }

}  // namespace

const std::atomic<bool>& watch_stop_signals() {
  for (const int signal : kSignals) {
    struct sigaction action {};
    action.sa_handler = request_stop;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART | (signal == SIGINT ? static_cast<int>(SA_RESETHAND) : 0);
    sigaction(signal, &action, nullptr);
  }
  return stop_requested;
}

void forget_stop_signals() {
  for (const int signal : kSignals) std::signal(signal, SIG_DFL);
}

}  // namespace dtrain
