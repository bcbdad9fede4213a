// How a rank waits for a peer: spinning costs nothing where a core is reserved for it and everything where it is not.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace dtrain {

class CommThread;
class StallWatch;
enum class Activity : std::uint32_t;

struct WaitPolicy {
  std::int64_t spins = 0;       ///< polls before sleeping: a few where the core also computes, many where it is reserved
  double timeout_s = 300.0;     ///< then CommError that says what was waited for
  StallWatch* watch = nullptr;  ///< finds out who does not answer; none: the error names only what was waited for
  /// Of the owner of a comm thread: where that one has jobs, this one must not call MPI, and its watch looks at processes
  /// alone.
  const CommThread* beside = nullptr;
  /// What this rank waits for, if not for other ranks (roll_call.hpp): it tells them so, and ends the wait itself.
  Activity activity{};
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

/// "300 s".
std::string seconds_text(double seconds);

/// Seconds of a clock that only goes forward.
double monotonic_s();

/// Sleeps in the kernel while `word` holds `seen`, at most `limit_s`; may return early. Words may lie in memory that processes
/// share. std::atomic's own wait knows no limit, and does not wake these sleepers.
void sleep_while(std::atomic<std::uint32_t>& word, std::uint32_t seen, double limit_s);
void wake_sleepers(std::atomic<std::uint32_t>& word);

/// The clock of a wait that has begun to sleep. Time in which this process could not run (it was stopped, or the machine slept)
/// does not count: its peers must not be blamed for it.
class LongWait {
 public:
  explicit LongWait(const WaitPolicy& wait);
  ~LongWait();
  LongWait(const LongWait&) = delete;
  LongWait& operator=(const LongWait&) = delete;

  /// To be asked between sleeps of at most kLongestSleep_s. describe(): what is waited for; called for warnings and errors
  /// only. Result: whether the time is not up yet. Errors: LostRanksError, from the watch, which also ends waits whose time is
  /// up.
  bool lasts(const std::function<std::string()>& describe);
  double waited_s() const { return waited_s_; }

  static constexpr double kLongestSleep_s = 0.1;

 private:
  bool may_call_mpi() const;

  const WaitPolicy& wait_;
  double begin_s_;
  double last_s_;
  double looked_s_;
  bool has_begun_ = false;  ///< in the watch
  double waited_s_ = 0.0;
};

}  // namespace dtrain
