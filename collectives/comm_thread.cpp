// The job queue between the computing thread and the comm thread: counters, on which both sleep in the kernel.
//
// Note [Counters instead of a lock]
// The owner alone writes queue entries and `submitted`; the comm thread alone writes `done`, and once `error` and `failed_at`,
// then `has_failed`. A release store publishes what was written before it. Counters run on over resets and wrap around; the
// owner remembers where it began to count. An entry is written again only when its job is done.
#include "collectives/comm_thread.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "collectives/waiting.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

namespace {

using Clock = std::chrono::steady_clock;

/// Whether counter `a` has reached `b`; right as long as they are less than 2³¹ apart.
bool has_reached(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) >= 0; }

}  // namespace

struct CommThread::State {
  std::function<void(int job)> job;
  std::function<void()> on_start;
  std::function<void(int n, double waited_s)> on_late;
  std::function<bool()> while_idle;
  int capacity = 0;
  std::vector<int> queue;  ///< job numbers; a power of two of them, so that a counter's lowest bits are the place

  // The owner's.
  std::uint32_t base = 0;  ///< `submitted` at the last reset
  int exceptions_at_start = std::uncaught_exceptions();
  bool is_stuck = false;  ///< on_late has thrown

  // Between the threads.
  std::atomic<std::uint32_t> submitted{0};
  std::atomic<std::uint32_t> done{0};
  std::atomic<std::uint32_t> calls{0};  ///< changes when there is something to do; what the comm thread sleeps on
  std::atomic<bool> is_ending{false};
  std::atomic<bool> is_abandoned{false};
  std::atomic<bool> is_left_behind{false};  ///< the owner is gone: the thread releases the state, should it ever end
  std::atomic<std::int64_t> busy_ns{0};

  std::atomic<bool> has_failed{false};

  // The comm thread's; the owner reads them once has_failed is set.
  std::exception_ptr error;
  std::uint32_t failed_at = 0;  ///< number of the job that threw

  std::thread thread;  ///< last: it uses all of the above

  int& entry(std::uint32_t number) { return queue[number & (queue.size() - 1)]; }
  void call() {
    calls.fetch_add(1, std::memory_order_release);
    calls.notify_one();
  }
  void run_jobs();
  void run_job(std::uint32_t number);
  void call_late(int n, double waited_s) {
    try {
      if (on_late) on_late(n, waited_s);
    } catch (...) {
      is_stuck = true;
      throw;
    }
  }
  void be_idle(std::uint32_t next, std::uint32_t seen);
  void fail(std::uint32_t number) {
    error = std::current_exception();
    failed_at = number;
    has_failed.store(true, std::memory_order_release);
  }
};

void CommThread::State::run_jobs() {
  try {
    if (on_start) on_start();
  } catch (...) {
    fail(0);
  }
  std::uint32_t next = 0;
  for (;;) {
    const std::uint32_t seen = calls.load(std::memory_order_acquire);
    while (next != submitted.load(std::memory_order_acquire)) {
      run_job(next);
      done.store(++next, std::memory_order_release);
      wake_sleepers(done);
    }
    if (is_ending.load(std::memory_order_acquire)) return;
    be_idle(next, seen);
  }
}

/// Returns when `calls` has changed from `seen`.
void CommThread::State::be_idle(std::uint32_t next, std::uint32_t seen) {
  try {
    while (while_idle && !error && while_idle()) {
      if (calls.load(std::memory_order_acquire) != seen) return;
    }
  } catch (...) {
    fail(next);
  }
  calls.wait(seen, std::memory_order_acquire);
}

void CommThread::State::run_job(std::uint32_t number) {
  if (error || is_abandoned.load(std::memory_order_relaxed)) return;
  const auto start = Clock::now();
  try {
    job(entry(number));
  } catch (...) {
    fail(number);
  }
  const auto spent = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start);
  busy_ns.fetch_add(spent.count(), std::memory_order_relaxed);
}

CommThread::CommThread(std::function<void(int job)> job, int capacity, std::function<void()> on_start,
                       std::function<void(int n, double waited_s)> on_late, std::function<bool()> while_idle)
    : state_(std::make_unique<State>()) {
  check(capacity >= 0, "CommThread: capacity >= 0");
  state_->job = std::move(job);
  state_->on_start = std::move(on_start);
  state_->on_late = std::move(on_late);
  state_->while_idle = std::move(while_idle);
  state_->capacity = capacity;
  state_->queue.resize(std::bit_ceil(static_cast<std::size_t>(std::max(capacity, 1))));
  state_->thread = std::thread([state = state_.get()] {
    state->run_jobs();
    if (state->is_left_behind.load(std::memory_order_acquire)) std::unique_ptr<State>(state).reset();
  });
}

CommThread::~CommThread() {
  if (state_->is_stuck) {
    state_->thread.detach();
    State* const state = state_.release();  // the thread's now
    state->is_abandoned.store(true, std::memory_order_relaxed);
    state->is_left_behind.store(true, std::memory_order_relaxed);
    state->is_ending.store(true, std::memory_order_release);  // last: the thread may release it from here on
    return;
  }
  if (std::uncaught_exceptions() > state_->exceptions_at_start) state_->is_abandoned.store(true, std::memory_order_relaxed);
  state_->is_ending.store(true, std::memory_order_release);
  state_->call();
  state_->thread.join();
}

void CommThread::submit(int job) {
  const std::uint32_t number = state_->submitted.load(std::memory_order_relaxed);
  check(number - state_->done.load(std::memory_order_acquire) < static_cast<std::uint32_t>(state_->capacity),
        "CommThread::submit: at most capacity jobs under way");
  state_->entry(number) = job;
  state_->submitted.store(number + 1, std::memory_order_release);
  state_->call();
}

double CommThread::wait(int n) {
  const std::uint32_t number = state_->base + static_cast<std::uint32_t>(n);
  check(n >= 0 && !has_reached(number, state_->submitted.load(std::memory_order_relaxed)), "CommThread::wait: a submitted job");
  double waited_s = 0.0;
  std::uint32_t done = state_->done.load(std::memory_order_acquire);
  if (!has_reached(done, number + 1)) {
    const auto start = Clock::now();
    const WaitPolicy no_limit;
    LongWait late(no_limit);
    while (!has_reached(done, number + 1)) {
      sleep_while(state_->done, done, LongWait::kLongestSleep_s);
      done = state_->done.load(std::memory_order_acquire);
      late.lasts({});
      if (!has_reached(done, number + 1) && late.waited_s() >= LongWait::kLongestSleep_s) state_->call_late(n, late.waited_s());
    }
    waited_s = std::chrono::duration<double>(Clock::now() - start).count();
  }
  // A later job may have failed already; that is for its own wait to say.
  if (state_->has_failed.load(std::memory_order_acquire) && has_reached(number, state_->failed_at)) {
    std::rethrow_exception(state_->error);
  }
  return waited_s;
}

bool CommThread::is_idle() const {
  return state_->done.load(std::memory_order_acquire) == state_->submitted.load(std::memory_order_relaxed);
}

void CommThread::rethrow_failure() const {
  if (state_->has_failed.load(std::memory_order_acquire)) std::rethrow_exception(state_->error);
}

void CommThread::reset() {
  const std::uint32_t submitted = state_->submitted.load(std::memory_order_relaxed);
  check(is_idle(), "CommThread::reset: all jobs are done");
  state_->base = submitted;
  state_->busy_ns.store(0, std::memory_order_relaxed);
}

double CommThread::busy_s() const { return static_cast<double>(state_->busy_ns.load(std::memory_order_relaxed)) * 1e-9; }

}  // namespace dtrain
