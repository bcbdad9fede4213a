// MPI calls that wait for other ranks inside MPI, where no time-out of ours reaches them: its start and its end, set-up,
// windows. A thread next to them looks at the clock, says which rank is stopped, and ends the process. The watch over all other
// waits is in stall_watch.hpp.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "collectives/stopped_ranks.hpp"

namespace dtrain {

class CallWatch {
 public:
  /// timeout_s: a call may take that long. give_up(): says the text and ends the process; called on a thread of the watch while
  /// another one is inside MPI, so it may not call MPI but to abort. Whoever names no stopped rank gives up kOthersSpeak_s
  /// later than those who do.
  CallWatch(
      double timeout_s, std::function<void(const std::string& text)> give_up,
      std::function<std::vector<StoppedRank>()> find_stopped = [] { return find_stopped_ranks(own_environment()); });
  ~CallWatch();
  CallWatch(const CallWatch&) = delete;
  CallWatch& operator=(const CallWatch&) = delete;

  /// Watches while it lives. Not in each other.
  class Scope {
   public:
    /// watch: may be null. call: "calling MPI_Comm_dup"; outlives this. patience: so many time-outs pass before it is given up
    /// without a stopped rank that explains it.
    Scope(CallWatch* watch, const char* call, double patience = 1.0) : watch_(watch) {
      if (watch_ != nullptr) watch_->begin(call, patience);
    }
    ~Scope() {
      if (watch_ != nullptr) watch_->end();
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    CallWatch* watch_;
  };

  double timeout_s() const { return timeout_s_; }
  /// For destructors, which cannot throw what has been found out elsewhere.
  void give_up(const std::string& text) { give_up_(text); }

  static constexpr double kOthersSpeak_s = 2.0;

 private:
  void begin(const char* call, double patience);
  void end();
  void run();
  /// What to say when the present call has taken so long; empty: nothing yet.
  std::string verdict(const char* call, double patience, double waited_s) const;

  const double timeout_s_;
  const std::function<void(const std::string& text)> give_up_;
  const std::function<std::vector<StoppedRank>()> find_stopped_;

  std::mutex mutex_;
  std::condition_variable changed_;
  const char* call_ = nullptr;  ///< null: none is watched
  double patience_ = 1.0;
  std::uint64_t calls_ = 0;  ///< counts them, so that the next one is not taken for this one
  bool ends_ = false;
  std::thread thread_;  ///< from the first call on
};

}  // namespace dtrain
