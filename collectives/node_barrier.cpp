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

#include <algorithm>

#include "collectives/agreement.hpp"

namespace dtrain {

// Flags run at most one barrier ahead, and wrap around after 2³² of them.
bool NodeBarrier::have_all_arrived() const {
  for (int rank = 0; rank < size_; ++rank) {
    const std::uint32_t arrived = arrived_[rank].value.load(std::memory_order_seq_cst);
    if (static_cast<std::int32_t>(arrived - generation_) < 0) return false;
  }
  return true;
}

std::vector<int> NodeBarrier::missing_ranks() const {
  std::vector<int> missing;
  for (int rank = 0; rank < size_; ++rank) {
    const std::uint32_t arrived = arrived_[rank].value.load(std::memory_order_seq_cst);
    if (static_cast<std::int32_t>(arrived - generation_) < 0) missing.push_back(rank);
  }
  return missing;
}

std::vector<int> NodeBarrier::enter(const WaitPolicy& wait) {
  if (size_ == 1) return {};
  ++generation_;
  arrived_[rank_].value.store(generation_, std::memory_order_seq_cst);
  if (have_all_arrived()) {
    if (sleepers_->value.load(std::memory_order_seq_cst) > 0) {
      released_->value.store(generation_, std::memory_order_seq_cst);
      wake_sleepers(released_->value);
    }
    return {};
  }
  for (std::int64_t poll = 0; poll < wait.spins; ++poll) {
    _mm_pause();
    if (have_all_arrived()) return {};
  }

  LongWait long_wait(wait);
  sleepers_->value.fetch_add(1, std::memory_order_seq_cst);
  std::vector<int> missing;
  for (;;) {
    const std::uint32_t released = released_->value.load(std::memory_order_seq_cst);
    if (have_all_arrived()) break;
    if (!long_wait.lasts([this] { return "waiting for node rank " + to_rank_list(missing_ranks()); })) {
      missing = missing_ranks();
      break;
    }
    sleep_while(released_->value, released, std::clamp(wait.timeout_s - long_wait.waited_s(), 1e-3, LongWait::kLongestSleep_s));
  }
  sleepers_->value.fetch_sub(1, std::memory_order_seq_cst);
  return missing;
}

}  // namespace dtrain
