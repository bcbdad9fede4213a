// How a rank waits for a peer: spinning costs nothing where a core is reserved for it and everything where it is not.
#pragma once

#include <chrono>
#include <cstdint>

namespace dtrain {

struct WaitPolicy {
  std::int64_t spins = 0;    ///< polls before sleeping: a few where the core also computes, many where it is reserved
  double timeout_s = 300.0;  ///< then CommError that says what was waited for
};

/// Waiting on a core that also computes: polls briefly, then sleeps in the kernel.
inline constexpr WaitPolicy kPoliteWait{.spins = 200, .timeout_s = 300.0};
/// Waiting on a core of one's own: polls for about a millisecond before sleeping.
inline constexpr WaitPolicy kEagerWait{.spins = 20000, .timeout_s = 300.0};

/// How long to sleep between polls: an eighth of what recent waits took, so that polling costs little of the core and adds
/// little to a wait, be the link slow or fast. A wait that takes longer than usual is polled ever more rarely.
class PollPace {
 public:
  std::chrono::nanoseconds pause(std::chrono::nanoseconds waited_already) const;
  void record_wait(std::chrono::nanoseconds waited);

 private:
  std::chrono::nanoseconds usual_ = std::chrono::microseconds(20);
};

}  // namespace dtrain
