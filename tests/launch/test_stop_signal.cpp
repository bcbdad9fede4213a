// The flag that signals set.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include "launch/stop_signal.hpp"

namespace dtrain {
namespace {

TEST(StopSignalDeathTest, ASignalSetsTheFlagAndTheProcessLives) {
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGHUP, SIGXCPU}) {
    EXPECT_EXIT(
        {
          const std::atomic<bool>& flag = watch_stop_signals();
          if (flag.load()) std::exit(1);
          std::raise(signal);
          std::exit(flag.load() ? 0 : 2);
        },
        testing::ExitedWithCode(0), "");
  }
}

// As nohup ignores SIGHUP, and a shell SIGINT for what it starts in the background.
TEST(StopSignalDeathTest, ASignalThatWasIgnoredAtTheStartStaysIgnored) {
  for (const int signal : {SIGHUP, SIGINT}) {
    EXPECT_EXIT(
        {
          std::signal(signal, SIG_IGN);
          const std::atomic<bool>& flag = watch_stop_signals();
          std::raise(signal);
          if (flag.load()) std::exit(1);
          forget_stop_signals();
          std::raise(signal);
          std::exit(0);
        },
        testing::ExitedWithCode(0), "");
  }
}

void wait_for_another_request() { std::this_thread::sleep_for(std::chrono::duration<double>(kSameRequest_s + 0.1)); }

TEST(StopSignalDeathTest, TheSecondInterruptEndsTheProcess) {
  for (const int second : {SIGINT, SIGTERM}) {
    EXPECT_EXIT(
        {
          watch_stop_signals();
          std::raise(SIGINT);
          wait_for_another_request();
          std::raise(second);
          std::exit(0);
        },
        testing::KilledBySignal(second), "");
  }
}

// The notice ahead of the time limit, and then its end.
TEST(StopSignalDeathTest, ANoticeIsNotTheFirstOfTwoInterrupts) {
  EXPECT_EXIT(
      {
        const std::atomic<bool>& flag = watch_stop_signals();
        std::raise(SIGUSR1);
        std::raise(SIGUSR1);
        wait_for_another_request();
        std::raise(SIGTERM);
        std::exit(flag.load() ? 0 : 2);
      },
      testing::ExitedWithCode(0), "");
}

// `timeout` signals the process and then its group; srun and the batch system may both do.
TEST(StopSignalDeathTest, OneRequestMayComeTwice) {
  for (const int signal : {SIGTERM, SIGINT}) {
    EXPECT_EXIT(
        {
          const std::atomic<bool>& flag = watch_stop_signals();
          std::raise(signal);
          std::raise(signal);
          std::exit(flag.load() ? 0 : 2);
        },
        testing::ExitedWithCode(0), "");
  }
}

TEST(StopSignalDeathTest, ForgottenSignalsEndTheProcessAgain) {
  EXPECT_EXIT(
      {
        watch_stop_signals();
        forget_stop_signals();
        std::raise(SIGTERM);
        std::exit(0);
      },
      testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace dtrain
