// Note [The last to arrive wakes the sleepers]
// A rank enters barrier g by storing g in its flag and then looks at all flags. A rank that finds one missing polls, then
// counts itself a sleeper, looks once more, and sleeps on `released` as long as that has the value it saw before looking.
// All of these accesses are sequentially consistent, so of "my flag is set; are there sleepers?" (the last rank) and "I am a
// sleeper; are all flags set?" (an early rank) at least one says yes: either the early rank sees the flag, or the last
// rank sees the sleeper, changes `released`, and the kernel refuses the sleep or ends it. Whoever entered last in that order
// sees all flags at its first look, so somebody always does the waking. `released` of an old barrier is never stored late: the
// rank that stores it has not entered the next one yet, which therefore cannot have been released.
#include "collectives/node_barrier.hpp"

#include <immintrin.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>

namespace dtrain {

namespace {

static_assert(std::atomic<std::uint32_t>::is_always_lock_free && sizeof(std::atomic<std::uint32_t>) == 4,
              "a futex word, usable from several processes");

/// Sleeps while `word` holds `seen`, at most `limit_s`; may return early. Shared between processes, so not FUTEX_PRIVATE_FLAG.
void sleep_while(std::atomic<std::uint32_t>& word, std::uint32_t seen, double limit_s) {
  const double bounded_s = std::clamp(limit_s, 1e-6, 1e6);
  timespec limit{};
  limit.tv_sec = static_cast<time_t>(bounded_s);
  limit.tv_nsec = static_cast<long>((bounded_s - static_cast<double>(limit.tv_sec)) * 1e9);
  syscall(SYS_futex, &word, FUTEX_WAIT, seen, &limit, nullptr, 0);
}

void wake_all(std::atomic<std::uint32_t>& word) { syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

}  // namespace

// Flags run at most one barrier ahead, and wrap around after 2³² of them.
bool NodeBarrier::have_all_arrived() const {
  for (int rank = 0; rank < size_; ++rank) {
    const std::uint32_t arrived = arrived_[rank].value.load(std::memory_order_seq_cst);
    if (static_cast<std::int32_t>(arrived - generation_) < 0) return false;
  }
  return true;
}

std::vector<int> NodeBarrier::enter(const WaitPolicy& wait) {
  if (size_ == 1) return {};
  ++generation_;
  arrived_[rank_].value.store(generation_, std::memory_order_seq_cst);
  if (have_all_arrived()) {
    if (sleepers_->value.load(std::memory_order_seq_cst) > 0) {
      released_->value.store(generation_, std::memory_order_seq_cst);
      wake_all(released_->value);
    }
    return {};
  }
  for (std::int64_t poll = 0; poll < wait.spins; ++poll) {
    _mm_pause();
    if (have_all_arrived()) return {};
  }

  const auto start = std::chrono::steady_clock::now();
  sleepers_->value.fetch_add(1, std::memory_order_seq_cst);
  std::vector<int> missing;
  for (;;) {
    const std::uint32_t released = released_->value.load(std::memory_order_seq_cst);
    if (have_all_arrived()) break;
    const double waited_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (waited_s >= wait.timeout_s) {
      for (int rank = 0; rank < size_; ++rank) {
        const std::uint32_t arrived = arrived_[rank].value.load(std::memory_order_seq_cst);
        if (static_cast<std::int32_t>(arrived - generation_) < 0) missing.push_back(rank);
      }
      break;
    }
    sleep_while(released_->value, released, wait.timeout_s - waited_s);
  }
  sleepers_->value.fetch_sub(1, std::memory_order_seq_cst);
  return missing;
}

}  // namespace dtrain
