// The comm thread: order, waiting, errors, reuse. Runs without MPI, also under ThreadSanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "collectives/comm_thread.hpp"
#include "dtrain/error.hpp"

namespace dtrain {
namespace {

using namespace std::chrono_literals;

void sleep_for_ms(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

TEST(CommThread, RunsJobsInTheOrderOfSubmission) {
  std::vector<int> order;  // not atomic on purpose: wait() must order the thread's writes before our reads
  CommThread thread([&](int job) { order.push_back(job); }, 4, {});

  for (const int job : {3, 1, 2, 0}) thread.submit(job);
  thread.wait(3);

  EXPECT_EQ(order, (std::vector<int>{3, 1, 2, 0}));
}

TEST(CommThread, SeesWhatTheOwnerWroteBeforeSubmitting) {
  std::vector<int> given(100, 0);
  std::vector<int> seen(100, 0);
  CommThread thread([&](int job) { seen[static_cast<std::size_t>(job)] = given[static_cast<std::size_t>(job)]; }, 100, {});

  for (int job = 0; job < 100; ++job) {
    given[static_cast<std::size_t>(job)] = job + 7;
    thread.submit(job);
  }
  thread.wait(99);

  for (std::size_t job = 0; job < 100; ++job) EXPECT_EQ(seen[job], static_cast<int>(job) + 7);
}

TEST(CommThread, WaitsForTheNthSubmittedJobAlone) {
  std::atomic<bool> may_continue{false};
  std::atomic<int> done{0};
  CommThread thread(
      [&](int job) {
        while (job == 1 && !may_continue.load()) std::this_thread::sleep_for(100us);
        done.fetch_add(1);
      },
      2, {});
  thread.submit(0);
  thread.submit(1);

  thread.wait(0);
  const int done_after_first = done.load();
  may_continue.store(true);
  thread.wait(1);

  EXPECT_EQ(done_after_first, 1);
  EXPECT_EQ(done.load(), 2);
}

TEST(CommThread, ReportsSecondsWaitedAndZeroWhenNothingWasLeftToWaitFor) {
  CommThread thread([](int) { sleep_for_ms(30); }, 2, {});
  thread.submit(0);

  const double first_s = thread.wait(0);
  const double again_s = thread.wait(0);

  EXPECT_GT(first_s, 0.005);
  EXPECT_EQ(again_s, 0.0);
}

TEST(CommThread, MeasuresTheSecondsSpentInJobs) {
  CommThread thread([](int) { sleep_for_ms(20); }, 2, {});
  thread.submit(0);
  thread.submit(1);
  thread.wait(1);

  const double busy_s = thread.busy_s();
  thread.reset();

  EXPECT_GE(busy_s, 0.040);
  EXPECT_EQ(thread.busy_s(), 0.0);
}

TEST(CommThread, CountsAnewAfterAReset) {
  std::vector<int> order;
  CommThread thread([&](int job) { order.push_back(job); }, 3, {});
  std::vector<int> expected;
  for (int round = 0; round < 1000; ++round) {
    for (int job = 0; job < 3; ++job) {
      thread.submit(round * 3 + job);
      expected.push_back(round * 3 + job);
    }
    for (int n = 0; n < 3; ++n) thread.wait(n);
    thread.reset();
  }

  EXPECT_EQ(order, expected);
}

TEST(CommThread, RethrowsWhatAJobThrewAndSkipsLaterJobs) {
  std::vector<int> begun;
  CommThread thread(
      [&](int job) {
        begun.push_back(job);
        if (job == 1) throw CommError("job 1 failed");
      },
      4, {});
  for (int job = 0; job < 4; ++job) thread.submit(job);

  EXPECT_NO_THROW(thread.wait(0));
  try {
    thread.wait(3);
    ADD_FAILURE() << "job 1 threw, wait(3) did not";
  } catch (const CommError& error) {
    EXPECT_STREQ(error.what(), "job 1 failed");
  }
  EXPECT_THROW(thread.wait(1), CommError);
  EXPECT_EQ(begun, (std::vector<int>{0, 1}));
}

TEST(CommThread, StaysFailedAfterAReset) {
  int begun = 0;
  CommThread thread(
      [&](int) {
        ++begun;
        throw CommError("failed");
      },
      1, {});
  thread.submit(0);
  EXPECT_THROW(thread.wait(0), CommError);
  thread.reset();

  thread.submit(0);

  EXPECT_THROW(thread.wait(0), CommError);
  EXPECT_EQ(begun, 1);
}

TEST(CommThread, TellsInBetweenThatAJobHasThrown) {
  CommThread thread([](int) { throw CommError("failed"); }, 1, {});
  EXPECT_NO_THROW(thread.rethrow_failure());

  thread.submit(0);
  EXPECT_THROW(thread.wait(0), CommError);

  EXPECT_THROW(thread.rethrow_failure(), CommError);
}

TEST(CommThread, IsIdleWhenAllSubmittedJobsAreDone) {
  std::atomic<bool> may_end{false};
  CommThread thread(
      [&](int) {
        while (!may_end.load()) std::this_thread::sleep_for(100us);
      },
      1, {});

  EXPECT_TRUE(thread.is_idle());
  thread.submit(0);
  EXPECT_FALSE(thread.is_idle());
  may_end = true;
  thread.wait(0);
  EXPECT_TRUE(thread.is_idle());
}

TEST(CommThread, CallsOnLateWhileItsOwnerWaits) {
  std::vector<double> calls;
  CommThread thread([](int) { sleep_for_ms(550); }, 1, {},
                    [&](int n, double waited_s) {
                      EXPECT_EQ(n, 0);
                      calls.push_back(waited_s);
                    });

  thread.submit(0);
  thread.wait(0);

  ASSERT_GE(calls.size(), 2U);
  EXPECT_LE(calls.size(), 6U);
  EXPECT_TRUE(std::ranges::is_sorted(calls));
  EXPECT_GE(calls.front(), 0.1);
}

TEST(CommThread, LeavesAJobBehindThatIsStuck) {
  static std::atomic<bool> may_end{false};
  static std::atomic<bool> has_ended{false};
  {
    CommThread thread(
        [](int) {
          while (!may_end.load()) std::this_thread::sleep_for(100us);
          has_ended = true;
        },
        1, {},
        [](int, double waited_s) {
          if (waited_s > 0.15) throw CommError("stuck");
        });
    thread.submit(0);

    EXPECT_THROW(thread.wait(0), CommError);
  }

  EXPECT_FALSE(has_ended.load()) << "the destructor has waited";
  may_end = true;
  while (!has_ended.load()) std::this_thread::sleep_for(100us);
}

TEST(CommThread, CallsOnStartFirstAndOnItself) {
  std::thread::id started_on;
  std::thread::id ran_on;
  CommThread thread([&](int) { ran_on = std::this_thread::get_id(); }, 1, [&] { started_on = std::this_thread::get_id(); });

  thread.submit(0);
  thread.wait(0);

  EXPECT_EQ(started_on, ran_on);
  EXPECT_NE(started_on, std::this_thread::get_id());
}

TEST(CommThread, RethrowsWhatOnStartThrew) {
  bool has_run = false;
  CommThread thread([&](int) { has_run = true; }, 1, [] { throw ConfigError("no such core"); });

  thread.submit(0);

  EXPECT_THROW(thread.wait(0), ConfigError);
  EXPECT_FALSE(has_run);
}

TEST(CommThread, CallsWhileIdleBetweenJobsAsLongAsThereIsMoreToExpect) {
  std::atomic<int> calls{0};
  std::atomic<int> calls_expected{1000000};  // for ever
  std::atomic<bool> is_in_job{false};
  std::atomic<bool> has_overlapped{false};
  CommThread thread(
      [&](int) {
        is_in_job.store(true);
        sleep_for_ms(5);
        is_in_job.store(false);
      },
      2, {}, {},
      [&] {
        if (is_in_job.load()) has_overlapped.store(true);
        std::this_thread::sleep_for(100us);
        return calls.fetch_add(1) + 1 < calls_expected.load();
      });
  while (calls.load() < 10) sleep_for_ms(1);

  thread.submit(0);
  thread.wait(0);
  const int after_first = calls.load();
  while (calls.load() < after_first + 10) sleep_for_ms(1);
  calls_expected.store(0);
  sleep_for_ms(20);  // the call that is under way, if any, is the last
  const int at_rest = calls.load();
  sleep_for_ms(20);

  EXPECT_EQ(calls.load(), at_rest) << "called although nothing was to be expected";
  thread.submit(1);
  thread.wait(1);
  while (calls.load() == at_rest) sleep_for_ms(1);
  EXPECT_FALSE(has_overlapped.load());
}

TEST(CommThread, RethrowsWhatWhileIdleThrewFromTheNextJob) {
  std::atomic<bool> may_throw{false};
  std::atomic<bool> has_thrown{false};
  int done = 0;
  CommThread thread([&](int) { ++done; }, 2, {}, {},
                    [&] {
                      std::this_thread::sleep_for(100us);
                      if (!may_throw.load()) return true;
                      has_thrown.store(true);
                      throw CommError("a peer is gone");
                    });
  thread.submit(0);
  thread.wait(0);
  may_throw.store(true);
  while (!has_thrown.load()) sleep_for_ms(1);

  thread.submit(1);

  EXPECT_NO_THROW(thread.wait(0));
  EXPECT_THROW(thread.wait(1), CommError);
  EXPECT_EQ(done, 1);
}

TEST(CommThread, EndsWhileIdle) {
  std::atomic<int> calls{0};
  {
    CommThread thread([](int) {}, 1, {}, {}, [&] { return calls.fetch_add(1) >= 0; });
    while (calls.load() < 3) sleep_for_ms(1);
  }

  EXPECT_GE(calls.load(), 3);
}

TEST(CommThread, FinishesWhatIsQueuedWhenItEnds) {
  int done = 0;
  {
    CommThread thread(
        [&](int) {
          sleep_for_ms(1);
          ++done;
        },
        20, {});
    for (int job = 0; job < 20; ++job) thread.submit(job);
  }

  EXPECT_EQ(done, 20);
}

TEST(CommThread, AbandonsWhatHasNotBegunWhileAnExceptionUnwindsItsOwner) {
  int begun = 0;
  try {
    CommThread thread(
        [&](int) {
          ++begun;
          sleep_for_ms(50);
        },
        20, {});
    for (int job = 0; job < 20; ++job) thread.submit(job);
    throw DataError("the owner fails");
  } catch (const DataError&) {
  }

  EXPECT_LT(begun, 20);
}

TEST(CommThread, RefusesMoreJobsUnderWayThanItsCapacityAndJobsNeverSubmitted) {
  std::atomic<bool> may_continue{false};
  CommThread thread(
      [&](int) {
        while (!may_continue.load()) std::this_thread::sleep_for(100us);
      },
      3, {});
  for (int job = 0; job < 3; ++job) thread.submit(job);

  EXPECT_THROW(thread.submit(3), std::logic_error);
  EXPECT_THROW(thread.wait(3), std::logic_error);
  EXPECT_THROW(thread.wait(-1), std::logic_error);
  may_continue.store(true);
  thread.wait(2);
}

TEST(CommThread, RunsAnyNumberOfJobsBetweenResetsAsLongAsFewAreUnderWay) {
  std::vector<int> order;  // not atomic on purpose
  CommThread thread([&](int job) { order.push_back(job); }, 3, {});

  std::vector<int> expected;
  for (int job = 0; job < 1000; ++job) {
    thread.submit(job);
    expected.push_back(job);
    if (job >= 2) thread.wait(job - 2);
  }
  thread.wait(999);

  EXPECT_EQ(order, expected);
}

TEST(CommThread, RefusesAResetWhileJobsRun) {
  std::atomic<bool> may_continue{false};
  CommThread thread(
      [&](int) {
        while (!may_continue.load()) std::this_thread::sleep_for(100us);
      },
      1, {});
  thread.submit(0);

  EXPECT_THROW(thread.reset(), std::logic_error);

  may_continue.store(true);
  thread.wait(0);
  EXPECT_NO_THROW(thread.reset());
}

}  // namespace
}  // namespace dtrain
