// A barrier of processes on flags in shared memory: polls for a while, then sleeps in the kernel until the last one wakes it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "collectives/waiting.hpp"

namespace dtrain {

/// A flag on a cache line of its own: a rank polls the others' flags without disturbing their owners.
struct alignas(64) BarrierFlag {
  std::atomic<std::uint32_t> value;
};

class NodeBarrier {
 public:
  /// Flags that a barrier of `size` ranks needs, zeros at first, in memory that all of them have mapped.
  static std::size_t flag_count(int size) { return static_cast<std::size_t>(size) + 2; }

  NodeBarrier(BarrierFlag* flags, int rank, int size)
      : released_(flags), sleepers_(flags + 1), arrived_(flags + 2), rank_(rank), size_(size) {}

  /// Returns the ranks that had not entered when the time was up; empty when all have entered. After a time-out the barrier is
  /// out of step and must not be used any more. Allocates only after a time-out. Errors: LostRanksError, from the watch; the
  /// barrier must not be used after that either.
  std::vector<int> enter(const WaitPolicy& wait);

 private:
  bool have_all_arrived() const;
  std::vector<int> missing_ranks() const;

  BarrierFlag* released_;  ///< the last barrier for which sleepers were woken; what they sleep on
  BarrierFlag* sleepers_;  ///< how many sleep or are about to
  BarrierFlag* arrived_;   ///< one per rank: the last barrier that the rank entered
  int rank_;
  int size_;
  std::uint32_t generation_ = 0;
};

}  // namespace dtrain
