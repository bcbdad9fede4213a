// A signal handler can reach nothing but variables of static storage: the only globals of the program.
#include "launch/stop_signal.hpp"

#include <array>
#include <csignal>
#include <cstdint>
#include <ctime>

namespace dtrain {
namespace {

std::atomic<bool> stop_requested{false};
std::atomic<std::int64_t> first_interrupt_ns{0};  ///< on the monotonic clock; 0: none
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may not wait for a lock");
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "a signal handler may not wait for a lock");

constexpr std::array kSignals{SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGHUP, SIGXCPU};

std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void request_stop(int signal) {
  stop_requested.store(true, std::memory_order_relaxed);
  if (signal != SIGINT && signal != SIGTERM) return;
  std::int64_t first = 0;
  if (first_interrupt_ns.compare_exchange_strong(first, now_ns())) return;
  if (static_cast<double>(now_ns() - first) < kSameRequest_s * 1e9) return;
  std::signal(signal, SIG_DFL);
  std::raise(signal);  // takes effect when this handler returns
}

/// Whoever started this process had it ignore the signal.
bool is_ignored(int signal) {
  struct sigaction present {};
  return sigaction(signal, nullptr, &present) == 0 && present.sa_handler == SIG_IGN;
}

}  // namespace

const std::atomic<bool>& watch_stop_signals() {
  for (const int signal : kSignals) {
    if (is_ignored(signal)) continue;
    struct sigaction action {};
    action.sa_handler = request_stop;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    sigaction(signal, &action, nullptr);
  }
  return stop_requested;
}

void forget_stop_signals() {
  for (const int signal : kSignals) {
    if (!is_ignored(signal)) std::signal(signal, SIG_DFL);
  }
}

}  // namespace dtrain
