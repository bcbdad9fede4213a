// The clock of long waits; see waiting.hpp.
#include "collectives/waiting.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <cstdio>
#include <limits>

#include "collectives/comm_thread.hpp"
#include "collectives/stall_watch.hpp"

namespace dtrain {

namespace {

/// Of the time between two questions. A machine that is short of cores may take longer over a sleep of kLongestSleep_s.
constexpr double kLongestCounted_s = 0.25;

/// Who has been stopped for longer than this was perhaps continued only to be ended together with ranks that have ended
/// already: it lets that happen before it looks for them.
constexpr double kStopped_s = 2.0;
constexpr double kEndOfJob_s = 2.0;

}  // namespace

std::string seconds_text(double seconds) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g s", seconds);
  return text.data();
}

double monotonic_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

static_assert(std::atomic<std::uint32_t>::is_always_lock_free && sizeof(std::atomic<std::uint32_t>) == 4,
              "a futex word, usable from several processes");

void sleep_while(std::atomic<std::uint32_t>& word, std::uint32_t seen, double limit_s) {
  const double bounded_s = std::clamp(limit_s, 1e-6, 1e6);
  timespec limit{};
  limit.tv_sec = static_cast<time_t>(bounded_s);
  limit.tv_nsec = static_cast<long>((bounded_s - static_cast<double>(limit.tv_sec)) * 1e9);
  syscall(SYS_futex, &word, FUTEX_WAIT, seen, &limit, nullptr, 0);  // not private: sleepers may be other processes
}

void wake_sleepers(std::atomic<std::uint32_t>& word) { syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

LongWait::LongWait(const WaitPolicy& wait) : wait_(wait), begin_s_(monotonic_s()), last_s_(begin_s_), looked_s_(begin_s_) {}

LongWait::~LongWait() {
  if (has_begun_) wait_.watch->end_wait(waited_s_);
}

bool LongWait::may_call_mpi() const { return wait_.beside == nullptr || wait_.beside->is_idle(); }

bool LongWait::lasts(const std::function<std::string()>& describe) {
  const double now = monotonic_s();
  if (now - last_s_ > kStopped_s) looked_s_ = now + kEndOfJob_s;
  waited_s_ += std::min(now - last_s_, kLongestCounted_s);
  last_s_ = now;
  if (wait_.watch == nullptr) return waited_s_ < wait_.timeout_s;
  if (now - looked_s_ < kLongestSleep_s) return true;
  looked_s_ = now;
  if (may_call_mpi()) {
    if (!has_begun_) wait_.watch->begin_wait(begin_s_);
    has_begun_ = true;
    wait_.watch->look(wait_, waited_s_, now, describe);
  } else {
    const bool is_for_ranks = wait_.activity == Activity::waits;
    const double timeout_s = is_for_ranks ? wait_.timeout_s : std::numeric_limits<double>::infinity();
    wait_.watch->look_beside_mpi({.waited_s = waited_s_, .timeout_s = timeout_s}, describe);
  }
  return true;
}

}  // namespace dtrain
