// The one place of asynchrony: a thread that runs submitted jobs in order (all MPI calls of the training loop), so that
// gradients travel while backward computes. Allocates nothing after construction; sleeps when it has nothing to do. Between
// jobs it may serve its peers.
#pragma once

#include <functional>
#include <memory>

namespace dtrain {

class CommThread {
 public:
  /// job(k): executes job number k, on the comm thread. capacity: jobs under way, submitted and not done.
  /// on_start: called on the thread first (binding); may be empty. What it throws, the first wait rethrows.
  /// on_late(n, waited_s): called by wait(n), on the owner's thread, every tenth of a second that it waits; may be empty. What
  /// it throws, wait throws: the job is then taken to be stuck for good.
  /// while_idle: called on the thread again and again while it has no job, until it says that there is nothing more to expect;
  /// after every job anew. A job waits for the call under way, so it is brief; it pauses as it thinks fit. What it throws, the
  /// wait for the next job rethrows. May be empty: then the thread sleeps until it gets a job.
  CommThread(std::function<void(int job)> job, int capacity, std::function<void()> on_start,
             std::function<void(int n, double waited_s)> on_late = {}, std::function<bool()> while_idle = {});
  /// Finishes what is queued; after an error, or while an exception unwinds the owner, abandons what has not begun. A stuck job
  /// is left behind with its thread: the process must end soon, and what the job uses should last until then.
  ~CommThread();
  CommThread(const CommThread&) = delete;
  CommThread& operator=(const CommThread&) = delete;

  /// Queues job k behind those submitted before. Threads: the owner's only. Does not block. After a job has thrown, later ones
  /// are skipped, for good: the peers are out of step.
  void submit(int job);
  /// Waits until the n-th job submitted since the last reset (n from 0) is done. Rethrows what that job or one before it threw.
  /// Has no time-out of its own: jobs have theirs, and on_late.
  /// Result: seconds waited (0.0 when it was done already).
  double wait(int n);
  /// Whether all submitted jobs are done: what they used is the owner's until the next submit. Threads: the owner's only.
  bool is_idle() const;
  /// Rethrows what a job has thrown, if one has: an owner that asks in between need not compute to the end of its step first.
  void rethrow_failure() const;
  /// All submitted jobs must be done; starts counting anew.
  void reset();
  /// Seconds the thread spent in jobs since the last reset.
  double busy_s() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dtrain
