// What a rank does while it waits for others unusually long: finds out who does not answer, warns, and ends the wait with an
// error that names them, on every rank that is left. Sends and receives through functions it is given; costs nothing while
// waits are short.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "collectives/rank_processes.hpp"
#include "collectives/roll_call.hpp"
#include "collectives/waiting.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

/// Ranks have ended, stopped or are out of reach. Every rank that waits throws it within moments of the others.
class LostRanksError : public CommError {
 public:
  using CommError::CommError;
};

class StallWatch {
 public:
  struct WatchedRank {
    std::string host;
    std::optional<ProcessIdentity> process;  ///< of a rank on this machine whose process can be seen from here
  };
  /// How tables travel between ranks.
  struct Links {
    /// Sends a table to a rank, without waiting. False: the one before is still under way, and this one was not sent.
    std::function<bool(int rank, std::span<const std::uint32_t> table)> send;
    /// Fetches a table that has arrived, of any rank. False: none there.
    std::function<bool(std::span<std::uint32_t> table)> receive;
    /// Keeps the transport from explaining that ranks do not answer, or lets it again. May be empty. Hushed while the roll is
    /// called, and from the end of the first subject on: until then it may have to explain why ranks cannot be reached at all.
    std::function<void(bool is_hushed)> hush;
  };

  StallWatch(int rank, std::vector<WatchedRank> ranks, Links links);
  ~StallWatch();
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

  /// Who is told of a stall before it is an error. Called by the thread that waits.
  void on_warning(std::function<void(const std::string& text)> warn) { warn_ = std::move(warn); }
  /// A process of this machine that has been stopped for so long ends waits that would last longer: those of collectives, whose
  /// ranks may be late for good reasons.
  void end_waits_for_stopped_after(double seconds) { patience_with_stopped_s_ = seconds; }
  /// Set from a signal handler when the process is asked to end: a launcher that has lost a rank does so, a second before it
  /// kills. A rank that has been waiting for long then says for whom. Outlives this; may be null.
  void watch_stop_request(const std::atomic<bool>* stop_requested) { stop_requested_ = stop_requested; }

  /// Which of two threads waits: the one that calls MPI, or one beside it.
  enum class Waiter { in_mpi, beside_mpi };

  /// Names what a thread is about, for reports, while it lives: "bucket 3 of 13 (…)". text outlives it.
  class Subject {
   public:
    Subject(StallWatch& watch, const std::string& text, Waiter waiter = Waiter::in_mpi) : watch_(watch), waiter_(waiter) {
      own() = &text;
    }
    ~Subject() {
      own() = nullptr;
      if (waiter_ == Waiter::in_mpi) watch_.hush(true);
    }
    Subject(const Subject&) = delete;
    Subject& operator=(const Subject&) = delete;

   private:
    const std::string*& own() { return waiter_ == Waiter::in_mpi ? watch_.subject_ : watch_.subject_beside_mpi_; }

    StallWatch& watch_;
    Waiter waiter_;
  };

  /// Tells which ranks the thread in MPI has messages under way to, while it lives: if the transport breaks, to one of them.
  /// The function outlives it. watch: may be null.
  class Recipients {
   public:
    Recipients(StallWatch* watch, const std::function<std::vector<int>()>& recipients) : watch_(watch) {
      if (watch_ != nullptr) watch_->recipients_ = &recipients;
    }
    ~Recipients() {
      if (watch_ != nullptr) watch_->recipients_ = nullptr;
    }
    Recipients(const Recipients&) = delete;
    Recipients& operator=(const Recipients&) = delete;

   private:
    StallWatch* watch_;
  };

  /// The transport is about to end this process, since a connection has broken: warns with what is known, without a message.
  /// Threads: the one that calls MPI, from within it.
  void tell_of_broken_connection();

  /// What a thread can do that may not call MPI, because another one of the process may be in it: looks at the processes of
  /// this machine. Threads: one, beside the one that calls MPI. describe(): what is waited for. is_stuck: that other thread is
  /// inside MPI and does not come back by itself. Errors: LostRanksError: a process has ended, or the time is up.
  struct BesideMpi {
    double waited_s = 0.0;
    double timeout_s = 0.0;
    bool is_stuck = false;
  };
  void look_beside_mpi(const BesideMpi& wait, const std::function<std::string()>& describe);

  /// A rank that ends by an error of its own says so, lest the others report it as killed; they wait for the job's end. After a
  /// LostRanksError, hands on who was lost, where the others have not been told. Takes a fifth of a second.
  void leave();

 private:
  friend class LongWait;

  /// A long wait begins, is still going on (looked at every tenth of a second), and has ended. Threads: of all waits of the
  /// process one at a time, as with MPI itself.
  void begin_wait(double now_s);
  /// Errors: LostRanksError.
  void look(const WaitPolicy& wait, double waited_s, double now_s, const std::function<std::string()>& describe);
  void end_wait(double waited_s);

  /// Costs next to nothing where nothing changes.
  void hush(bool is_hushed);
  void read_notices(double now_s);
  void hand_on();
  void answer_roll_call(const WaitPolicy& wait, double waited_s, double now_s);
  void warn_of_stall(const std::function<std::string()>& describe, double waited_s, double since_s);
  /// Ranks that have answered since then, and are about something else than waiting.
  std::vector<int> busy(double since_s) const;
  std::string text_of_busy(const std::vector<int>& ranks) const;
  void see_stop_request(const std::function<std::string()>& describe, double waited_s, double now_s);
  void mark_silent(const std::vector<int>& ranks);
  [[noreturn]] void give_up(const std::function<std::string()>& describe, const WaitPolicy& wait, double waited_s);
  void require_nobody_left(const std::function<std::string()>& describe, double now_s);

  double period_s(double timeout_s) const;
  double memory_s(double timeout_s) const;
  std::vector<int> unheard(double since_s) const;
  std::vector<int> given_up() const;
  /// roll: null beside MPI, where another thread may be changing it.
  std::string text_of(const std::vector<int>& ranks, const RankProcesses& processes, const RollCall* roll) const;
  /// The first also serves a thread beside MPI while MPI is free.
  std::string doing(const std::function<std::string()>& describe) const;
  std::string doing_beside_mpi(const std::function<std::string()>& describe) const;
  bool speaks_for_all(double since_s) const;

  int rank_;
  std::vector<WatchedRank> ranks_;
  Links links_;
  RankProcesses processes_;
  RollCall roll_;
  std::vector<int> neighbours_;
  std::vector<bool> is_behind_;  ///< per neighbour: has not got the present table yet
  std::vector<std::uint32_t> arrived_;
  std::vector<double> busy_at_s_;
  std::function<void(const std::string& text)> warn_;
  const std::atomic<bool>* stop_requested_ = nullptr;
  double patience_with_stopped_s_ = 60.0;
  const std::string* subject_ = nullptr;
  const std::function<std::vector<int>()>* recipients_ = nullptr;

  std::atomic<bool> has_given_up_{false};
  // Note [Time is not up while a rank is busy]: when any rank, and each rank, last said so.
  static constexpr double kLongAgo_s = -1e18;
  std::atomic<double> excused_s_{kLongAgo_s};
  bool is_hushed_ = false;
  bool was_hushed_ = false;  ///< when the present wait began

  // Of the present wait.
  double begin_s_ = 0.0;
  double answered_s_ = 0.0;            ///< last
  std::optional<double> stop_seen_s_;  ///< when the stop request was seen
  bool has_named_missing_ = false;
  bool has_looked_for_stall_ = false;
  bool has_warned_ = false;
  std::optional<double> left_seen_s_;  ///< when the first leaving rank was seen

  // Of look_beside_mpi.
  RankProcesses processes_beside_mpi_;
  double waited_beside_mpi_s_ = 0.0;
  bool has_warned_beside_mpi_ = false;
  bool has_told_of_stop_beside_mpi_ = false;
  bool has_given_up_beside_mpi_ = false;
  std::vector<int> lost_beside_mpi_;
  const std::string* subject_beside_mpi_ = nullptr;
};

}  // namespace dtrain
