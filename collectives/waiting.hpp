// How a rank waits for a peer: spinning costs nothing where a core is reserved for it and everything where it is not.
#pragma once

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

}  // namespace dtrain
