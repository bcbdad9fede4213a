// Ranks as threads that send their tables through mailboxes: who is named when one does not answer, when, and how often. No
// MPI, so also under ThreadSanitizer.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "collectives/comm_thread.hpp"
#include "collectives/stall_watch.hpp"
#include "tests/collectives/child_process.hpp"

namespace dtrain {
namespace {

using namespace std::chrono_literals;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

struct Verdict {
  std::string error;  ///< empty: the wait came to its end
  double after_s = 0.0;
};

/// Ranks, each on a host of its own unless told otherwise, and the mail between them.
class Ranks {
 public:
  explicit Ranks(int size, std::vector<StallWatch::WatchedRank> watched = {}) : mail_(static_cast<std::size_t>(size)) {
    if (watched.empty()) {
      for (int rank = 0; rank < size; ++rank) watched.push_back({.host = "host" + std::to_string(rank)});
    }
    for (int rank = 0; rank < size; ++rank) {
      watches_.push_back(std::make_unique<StallWatch>(
          rank, watched,
          StallWatch::Links{.send = [this](int to, std::span<const std::uint32_t> table) { return send(to, table); },
                            .receive = [this, rank](std::span<std::uint32_t> table) { return receive(rank, table); }}));
      watches_.back()->on_warning([this, rank](const std::string& text) {
        const std::scoped_lock lock(mutex_);
        warnings_.push_back("[" + std::to_string(rank) + "] " + text);
      });
    }
  }

  StallWatch& watch(int rank) { return *watches_[static_cast<std::size_t>(rank)]; }

  /// A rank waits until `is_over`, or until its watch ends the wait. beside: as WaitPolicy's.
  Verdict wait(int rank, double timeout_s, const std::function<bool()>& is_over, const CommThread* beside = nullptr,
               Activity activity = Activity::waits) {
    const WaitPolicy policy{.timeout_s = timeout_s, .watch = &watch(rank), .beside = beside, .activity = activity};
    const double begin_s = monotonic_s();
    Verdict verdict;
    try {
      LongWait wait(policy);
      while (!is_over()) {
        wait.lasts([rank] { return "rank " + std::to_string(rank) + "'s wait"; });
        std::this_thread::sleep_for(5ms);
      }
    } catch (const LostRanksError& error) {
      verdict.error = error.what();
    }
    verdict.after_s = monotonic_s() - begin_s;
    return verdict;
  }

  /// These ranks wait at once, for ever.
  std::vector<Verdict> wait_all(const std::vector<int>& ranks, double timeout_s) {
    std::vector<Verdict> verdicts(ranks.size());
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      threads.emplace_back([&, i] { verdicts[i] = wait(ranks[i], timeout_s, [] { return false; }); });
    }
    for (std::thread& thread : threads) thread.join();
    return verdicts;
  }

  std::vector<std::string> warnings() {
    const std::scoped_lock lock(mutex_);
    return warnings_;
  }

 private:
  using Table = std::vector<std::uint32_t>;

  bool send(int to, std::span<const std::uint32_t> table) {
    const std::scoped_lock lock(mutex_);
    mail_[static_cast<std::size_t>(to)].emplace_back(table.begin(), table.end());
    return true;
  }

  bool receive(int rank, std::span<std::uint32_t> table) {
    const std::scoped_lock lock(mutex_);
    std::deque<Table>& box = mail_[static_cast<std::size_t>(rank)];
    if (box.empty()) return false;
    std::ranges::copy(box.front(), table.begin());
    box.pop_front();
    return true;
  }

  std::mutex mutex_;
  std::vector<std::deque<Table>> mail_;
  std::vector<std::string> warnings_;
  std::vector<std::unique_ptr<StallWatch>> watches_;
};

bool never() { return false; }

/// A comm thread in the middle of a job.
class BusyThread {
 public:
  BusyThread() { thread_.submit(0); }
  ~BusyThread() { may_end_ = true; }
  const CommThread* get() const { return &thread_; }
  void finish() {
    may_end_ = true;
    thread_.wait(0);
  }

 private:
  void run() {
    while (!may_end_.load()) std::this_thread::sleep_for(1ms);
  }

  std::atomic<bool> may_end_{false};
  CommThread thread_{[this](int) { run(); }, 1, {}};
};

TEST(StallWatch, EveryRankNamesTheOneThatDoesNotAnswer) {
  Ranks ranks(4);
  const std::string bucket = "bucket 3 of 13 (layer4.2.conv3 … fc, 8388608 bytes) by ring";
  const StallWatch::Subject subject(ranks.watch(0), bucket);

  const std::vector<Verdict> verdicts = ranks.wait_all({0, 1, 3}, 1.2);

  for (const Verdict& verdict : verdicts) {
    EXPECT_TRUE(has(verdict.error, "no answer from rank 2 on host2;")) << verdict.error;
    EXPECT_TRUE(has(verdict.error, "all 4 ranks within 1.2 s")) << verdict.error;
    EXPECT_TRUE(has(verdict.error, "--resume auto")) << verdict.error;
    EXPECT_GE(verdict.after_s, 1.2);
    EXPECT_LT(verdict.after_s, 2.4);
  }
  EXPECT_EQ(verdicts[0].error.rfind("exchanging " + bucket + ", rank 0's wait", 0), 0U) << verdicts[0].error;
}

TEST(StallWatch, NamesSilentNeighboursOfAHostTogether) {
  Ranks ranks(5, {{.host = "a"}, {.host = "a"}, {.host = "b"}, {.host = "b"}, {.host = "b"}});

  const std::vector<Verdict> verdicts = ranks.wait_all({0, 1}, 1.0);

  for (const Verdict& verdict : verdicts) EXPECT_TRUE(has(verdict.error, "no answer from ranks 2–4 on b;")) << verdict.error;
}

// A cut: each side sees the other fall silent.
TEST(StallWatch, BothSidesOfABrokenLinkNameTheOther) {
  Ranks left(4), right(4);  // whose mail does not meet
  std::vector<Verdict> of_right;
  std::thread other_side([&] { of_right = right.wait_all({2, 3}, 1.0); });

  const std::vector<Verdict> of_left = left.wait_all({0, 1}, 1.0);
  other_side.join();

  for (const Verdict& verdict : of_left) EXPECT_TRUE(has(verdict.error, "rank 2 on host2, rank 3 on host3;")) << verdict.error;
  for (const Verdict& verdict : of_right) EXPECT_TRUE(has(verdict.error, "rank 0 on host0, rank 1 on host1;")) << verdict.error;
}

TEST(StallWatch, WaitsForARankThatIsBusyAndThenForAsLongAgain) {
  Ranks ranks(3);
  std::atomic<bool> has_image{false};
  std::vector<Verdict> verdicts(2);
  std::vector<std::thread> threads;
  for (const int rank : {0, 2}) {
    threads.emplace_back(
        [&, rank] { verdicts[static_cast<std::size_t>(rank / 2)] = ranks.wait(rank, 1.0, [] { return false; }); });
  }
  threads.emplace_back([&] {
    EXPECT_EQ(ranks
                  .wait(
                      1, 1.0, [&] { return has_image.load(); }, nullptr, Activity::reads)
                  .error,
              "");
  });

  std::this_thread::sleep_for(2500ms);
  const std::vector<std::string> warnings = ranks.warnings();
  has_image = true;
  for (std::thread& thread : threads) thread.join();

  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_TRUE(has(warnings[0], "while rank 1 on host1 waits for images")) << warnings[0];
  for (const Verdict& verdict : verdicts) {
    EXPECT_TRUE(has(verdict.error, "no answer from rank 1 on host1;")) << verdict.error;  // since then
    EXPECT_GE(verdict.after_s, 3.0);
    EXPECT_LT(verdict.after_s, 6.0);
  }
}

TEST(StallWatch, ABusyRankDoesNotHideOneThatIsMissing) {
  Ranks ranks(3);
  std::atomic<bool> is_over{false};
  std::thread busy([&] {
    ranks.wait(
        1, 1.0, [&] { return is_over.load(); }, nullptr, Activity::reads);
  });

  std::this_thread::sleep_for(50ms);
  const Verdict verdict = ranks.wait(0, 1.0, [] { return false; });
  is_over = true;
  busy.join();

  EXPECT_TRUE(has(verdict.error, "no answer from rank 2 on host2;")) << verdict.error;
  EXPECT_LT(verdict.after_s, 2.0);
}

TEST(StallWatch, NamesNobodyWhereAllAnswer) {
  Ranks ranks(3);

  const std::vector<Verdict> verdicts = ranks.wait_all({0, 1, 2}, 1.2);

  for (const Verdict& verdict : verdicts) {
    EXPECT_TRUE(has(verdict.error, "answers from every rank, but not what was waited for")) << verdict.error;
    EXPECT_GE(verdict.after_s, 1.2 * 4 / 3) << "the last to come has its chance";
  }
}

TEST(StallWatch, WhoComesLateButComesIsNotNamed) {
  Ranks ranks(3);
  std::atomic<bool> may_go_on{false};
  const auto is_over = [&] { return may_go_on.load(); };
  std::thread early([&] { EXPECT_EQ(ranks.wait(0, 1.5, is_over).error, ""); });
  std::thread early_too([&] { EXPECT_EQ(ranks.wait(1, 1.5, is_over).error, ""); });

  std::this_thread::sleep_for(1250ms);  // in a computation
  std::thread late([&] { EXPECT_EQ(ranks.wait(2, 1.5, is_over).error, ""); });
  std::this_thread::sleep_for(500ms);  // past the others' time-out
  may_go_on = true;
  early.join();
  early_too.join();
  late.join();
}

TEST(StallWatch, OneRankWarnsOnceAtAThirdAndSaysWhenItIsOver) {
  Ranks ranks(4);
  std::atomic<bool> may_go_on{false};
  std::vector<std::thread> threads;
  for (const int rank : {0, 1, 3}) {
    threads.emplace_back([&, rank] { EXPECT_EQ(ranks.wait(rank, 2.4, [&] { return may_go_on.load(); }).error, ""); });
  }

  std::this_thread::sleep_for(650ms);
  EXPECT_TRUE(ranks.warnings().empty()) << ranks.warnings().front();
  std::this_thread::sleep_for(650ms);
  may_go_on = true;
  for (std::thread& thread : threads) thread.join();

  const std::vector<std::string> warnings = ranks.warnings();
  ASSERT_EQ(warnings.size(), 2U);
  EXPECT_TRUE(has(warnings[0], "[0] rank 0's wait: waiting for ")) << warnings[0];
  EXPECT_TRUE(has(warnings[0], "without an answer from rank 2 on host2")) << warnings[0];
  EXPECT_TRUE(has(warnings[1], "[0] the wait is over after ")) << warnings[1];
}

TEST(StallWatch, ShortWaitsSayAndSendNothing) {
  Ranks ranks(2);
  int polls = 0;

  for (int wait = 0; wait < 20; ++wait) {
    const int end = polls + 10;
    EXPECT_EQ(ranks.wait(0, 60.0, [&] { return ++polls >= end; }).error, "");
  }

  EXPECT_TRUE(ranks.warnings().empty());
  std::vector<std::uint32_t> table(2);
  EXPECT_EQ(ranks.wait(1, 60.0, [&] { return true; }).error, "");
}

TEST(StallWatch, WhatIsLeftOfAnEarlierStallDoesNotHideWhoIsMissingNow) {
  Ranks ranks(3);
  std::atomic<bool> may_go_on{false};
  std::vector<std::thread> threads;
  for (const int rank : {0, 2}) {  // wait for rank 1, and both answer
    threads.emplace_back([&, rank] { EXPECT_EQ(ranks.wait(rank, 1.2, [&] { return may_go_on.load(); }).error, ""); });
  }
  std::this_thread::sleep_for(900ms);
  may_go_on = true;
  for (std::thread& thread : threads) thread.join();

  const std::vector<Verdict> verdicts = ranks.wait_all({0, 1}, 1.2);  // now rank 2 is missing

  for (const Verdict& verdict : verdicts) EXPECT_TRUE(has(verdict.error, "no answer from rank 2 on host2;")) << verdict.error;
}

/// Three ranks; the child stands for the process of rank 1, which rank 0 alone can see.
class StallWatchOfProcess : public testing::Test {
 protected:
  StallWatchOfProcess() {
    // Each rank has its own view; all of them share the links of `ranks_`.
    ranks_ = std::make_unique<Ranks>(
        3, std::vector<StallWatch::WatchedRank>{{.host = "a"}, {.host = "a", .process = child_.identity()}, {.host = "b"}});
  }
  ChildProcess child_;
  std::unique_ptr<Ranks> ranks_;
};

TEST_F(StallWatchOfProcess, ARankWhoseProcessHasEndedEndsTheWaitAtOnce) {
  std::thread killer([&] {
    std::this_thread::sleep_for(300ms);
    child_.signal(SIGKILL);
  });

  const Verdict verdict = ranks_->wait(0, 60.0, never);
  killer.join();

  EXPECT_TRUE(
      has(verdict.error, "no answer from rank 1 on a (process " + std::to_string(child_.identity().pid) + " has ended)"))
      << verdict.error;
  EXPECT_TRUE(has(verdict.error, "out of memory")) << verdict.error;
  EXPECT_GE(verdict.after_s, 0.3);
  EXPECT_LT(verdict.after_s, 2.0);
}

TEST_F(StallWatchOfProcess, SaysThatARankIsStopped) {
  child_.signal(SIGSTOP);
  child_.wait_for(WSTOPPED);

  const std::vector<Verdict> verdicts = ranks_->wait_all({0, 2}, 1.0);

  for (const Verdict& verdict : verdicts) {
    EXPECT_TRUE(has(verdict.error, "no answer from rank 1 on a (process ")) << verdict.error;
    EXPECT_TRUE(has(verdict.error, " is stopped)")) << verdict.error;
    EXPECT_GE(verdict.after_s, 1.0) << "it may be continued";
  }
}

TEST_F(StallWatchOfProcess, ARankThatLeavesByItsOwnErrorIsNotReportedAsKilled) {
  ranks_->watch(1).leave();
  child_.signal(SIGKILL);
  child_.wait_for(WEXITED);
  const double begin_s = monotonic_s();

  const Verdict verdict = ranks_->wait(0, 60.0, [&] { return monotonic_s() - begin_s > 1.0; });

  EXPECT_EQ(verdict.error, "");
}

// Ranks may be late to a collective by an hour, but not because they are stopped.
TEST_F(StallWatchOfProcess, AStoppedOneEndsTheWaitOfACollectiveOnAllHosts) {
  for (const int rank : {0, 2}) ranks_->watch(rank).end_waits_for_stopped_after(1.0);
  child_.signal(SIGSTOP);

  const std::vector<Verdict> verdicts = ranks_->wait_all({0, 2}, 3600.0);

  for (const Verdict& verdict : verdicts) {
    EXPECT_TRUE(has(verdict.error, "ranks within 1 s, found")) << verdict.error;
    EXPECT_TRUE(has(verdict.error, "no answer from rank 1 on a (")) << verdict.error;
    EXPECT_GE(verdict.after_s, 1.0);
    EXPECT_LT(verdict.after_s, 2.0);
  }
  EXPECT_TRUE(has(verdicts[0].error, " is stopped)")) << verdicts[0].error;
}

TEST_F(StallWatchOfProcess, AThreadBesideMpiSeesTheProcessEndToo) {
  child_.signal(SIGKILL);

  const BusyThread busy;
  const Verdict verdict = ranks_->wait(0, 60.0, never, busy.get());

  EXPECT_TRUE(has(verdict.error, "no answer from rank 1 on a (process ")) << verdict.error;
  EXPECT_LT(verdict.after_s, 1.0);
}

// Who had to be told beside MPI hands it on when it leaves.
TEST_F(StallWatchOfProcess, WhatWasSeenBesideMpiReachesTheOthers) {
  child_.signal(SIGKILL);
  {
    const BusyThread busy;
    ranks_->wait(0, 60.0, never, busy.get());
  }

  ranks_->watch(0).leave();
  const Verdict verdict = ranks_->wait(2, 60.0, never);

  EXPECT_TRUE(has(verdict.error, "no answer from rank 1 on a (")) << verdict.error;
}

TEST(StallWatch, AThreadBesideMpiKeepsItsTimeOut) {
  Ranks ranks(2);

  const BusyThread busy;
  const Verdict verdict = ranks.wait(0, 1.0, never, busy.get());

  EXPECT_TRUE(has(verdict.error, "no answer from ranks that cannot be told from here")) << verdict.error;
  EXPECT_GE(verdict.after_s, 1.0);
  EXPECT_LT(verdict.after_s, 2.0);
}

// Ranks that wait for each other's updates have nothing under way; they answer all the same.
TEST(StallWatch, WhoWaitsBesideAThreadThatIsIdleAnswersToo) {
  Ranks ranks(3);
  std::thread owner([&] {
    BusyThread thread;
    thread.finish();
    const Verdict verdict = ranks.wait(1, 2.0, never, thread.get());
    EXPECT_TRUE(has(verdict.error, "no answer from rank 2 on host2;")) << verdict.error;
  });

  const Verdict verdict = ranks.wait(0, 1.5, never);
  owner.join();

  EXPECT_TRUE(has(verdict.error, "no answer from rank 2 on host2;")) << verdict.error;
}

// The transport ends this rank: the last chance to say whom it was sending to.
TEST(StallWatch, ABrokenConnectionIsToldWithTheRanksSentTo) {
  Ranks ranks(4);
  const std::string bucket = "bucket 3 of 13 (fc, 8388608 bytes) by ring";
  const std::function<std::vector<int>()> recipients = [] { return std::vector<int>{2}; };
  const StallWatch::Subject subject(ranks.watch(1), bucket);
  const StallWatch::Recipients sends(&ranks.watch(1), recipients);

  ranks.watch(1).tell_of_broken_connection();

  EXPECT_EQ(ranks.warnings(), std::vector<std::string>{"[1] exchanging " + bucket +
                                                       ": a connection has broken, and the MPI library ends this rank: no "
                                                       "answer from rank 2 on host2"});
}

TEST(StallWatch, ABrokenConnectionToOneOfSeveralIsToldAsThat) {
  Ranks ranks(4);
  const std::function<std::vector<int>()> recipients = [] { return std::vector<int>{0, 3}; };
  const StallWatch::Recipients sends(&ranks.watch(1), recipients);

  ranks.watch(1).tell_of_broken_connection();

  ASSERT_EQ(ranks.warnings().size(), 1U);
  EXPECT_TRUE(has(ranks.warnings()[0], "exchanging with other ranks: ")) << ranks.warnings()[0];
  EXPECT_TRUE(has(ranks.warnings()[0], "no answer from rank 0 on host0, rank 3 on host3, or from one of these"))
      << ranks.warnings()[0];
}

// Nothing of the exchange is under way; what breaks is the connection over which the roll is called.
TEST(StallWatch, AConnectionThatBreaksInARollCallWasToANeighbourThatDidNotAnswer) {
  Ranks ranks(3);
  std::thread answering([&] { ranks.wait(1, 4.0, [begin_s = monotonic_s()] { return monotonic_s() - begin_s > 2.0; }); });
  ranks.wait(0, 4.0, [begin_s = monotonic_s(), has_told = false, &ranks]() mutable {
    if (!has_told && monotonic_s() - begin_s > 1.8) {
      ranks.watch(0).tell_of_broken_connection();
      has_told = true;
    }
    return monotonic_s() - begin_s > 2.0;
  });
  answering.join();

  EXPECT_TRUE(std::ranges::any_of(ranks.warnings(), [](const std::string& text) {
    return has(text, "a connection has broken") && text.ends_with("no answer from rank 2 on host2");
  }));
}

TEST(StallWatch, ABrokenConnectionWithoutSendsNamesNobody) {
  Ranks ranks(3);

  ranks.watch(0).tell_of_broken_connection();

  ASSERT_EQ(ranks.warnings().size(), 1U);
  EXPECT_TRUE(has(ranks.warnings()[0], "no answer from a rank that cannot be told from here")) << ranks.warnings()[0];
}

// A launcher that has lost a rank asks the others to end, and kills them a second later.
TEST(StallWatch, WhoIsAskedToStopInALongWaitSaysForWhomItWaited) {
  Ranks ranks(3);
  std::atomic<bool> stop{false};
  ranks.watch(0).watch_stop_request(&stop);
  std::thread other([&] {
    const double begin_s = monotonic_s();
    ranks.wait(1, 60.0, [&] { return monotonic_s() - begin_s > 2.0; });
  });
  std::thread launcher([&] {
    std::this_thread::sleep_for(1000ms);
    stop = true;
  });
  const double begin_s = monotonic_s();

  EXPECT_EQ(ranks.wait(0, 60.0, [&] { return monotonic_s() - begin_s > 2.0; }).error, "");
  launcher.join();
  other.join();

  const std::vector<std::string> warnings = ranks.warnings();
  ASSERT_EQ(warnings.size(), 2U);
  EXPECT_TRUE(has(warnings[0], "[0] asked to stop while rank 0's wait: waiting for 1.")) << warnings[0];
  EXPECT_TRUE(has(warnings[1], "without an answer from rank 2 on host2")) << warnings[1];
}

TEST(StallWatch, WhoIsAskedToStopInAShortWaitSaysNothing) {
  Ranks ranks(2);
  const std::atomic<bool> stop{true};
  ranks.watch(0).watch_stop_request(&stop);
  const double begin_s = monotonic_s();

  EXPECT_EQ(ranks.wait(0, 60.0, [&] { return monotonic_s() - begin_s > 0.5; }).error, "");

  EXPECT_TRUE(ranks.warnings().empty());
}

// Open MPI's explanations wait for a launcher that may be busy ending the job; at the beginning they are wanted.
TEST(StallWatch, HushesTheTransportOnceSomethingHasBeenExchangedAndInStalls) {
  std::vector<bool> hushed;
  const std::string bucket = "a bucket";
  {
    StallWatch watch(0, {{.host = "a"}, {.host = "b"}},
                     {.send = [](int, std::span<const std::uint32_t>) { return true; },
                      .receive = [](std::span<std::uint32_t>) { return false; },
                      .hush = [&](bool is_hushed) { hushed.push_back(is_hushed); }});
    const WaitPolicy policy{.timeout_s = 2.0, .watch = &watch};
    const auto wait_for = [&](double seconds) {
      LongWait wait(policy);
      const double begin_s = monotonic_s();
      while (monotonic_s() - begin_s < seconds) {
        wait.lasts([] { return std::string("waiting"); });
        std::this_thread::sleep_for(5ms);
      }
    };
    wait_for(0.2);
    EXPECT_EQ(hushed, std::vector<bool>{});
    wait_for(0.8);
    EXPECT_EQ(hushed, (std::vector<bool>{true, false})) << "a roll call";
    { const StallWatch::Subject first(watch, bucket); }
    EXPECT_EQ(hushed, (std::vector<bool>{true, false, true}));
    wait_for(0.8);
    { const StallWatch::Subject second(watch, bucket); }
    EXPECT_EQ(hushed, (std::vector<bool>{true, false, true}));
  }
  EXPECT_EQ(hushed, (std::vector<bool>{true, false, true, false}));
}

TEST(LongWait, DoesNotCountTimeInWhichTheProcessCouldNotRun) {
  const WaitPolicy policy{.timeout_s = 1.0};
  LongWait wait(policy);

  std::this_thread::sleep_for(1200ms);

  EXPECT_TRUE(wait.lasts({}));
  EXPECT_LE(wait.waited_s(), 0.25);
}

TEST(LongWait, EndsWhenItsTimeIsUp) {
  const WaitPolicy policy{.timeout_s = 0.2};
  LongWait wait(policy);
  const double begin_s = monotonic_s();

  while (wait.lasts({})) std::this_thread::sleep_for(1ms);

  EXPECT_GE(monotonic_s() - begin_s, 0.2);
}

}  // namespace
}  // namespace dtrain
