// The flag that signals set.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

#include "launch/stop_signal.hpp"

namespace dtrain {
namespace {

TEST(StopSignalDeathTest, ASignalSetsTheFlagAndTheProcessLives) {
  for (const int signal : {SIGTERM, SIGUSR1, SIGINT}) {
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

TEST(StopSignalDeathTest, TheSecondInterruptEndsTheProcess) {
  EXPECT_EXIT(
      {
        watch_stop_signals();
        std::raise(SIGINT);
        std::raise(SIGINT);
        std::exit(0);
      },
      testing::KilledBySignal(SIGINT), "");
}

TEST(StopSignalDeathTest, ABatchSystemMayAskTwice) {
  EXPECT_EXIT(
      {
        const std::atomic<bool>& flag = watch_stop_signals();
        std::raise(SIGTERM);
        std::raise(SIGTERM);
        std::exit(flag.load() ? 0 : 2);
      },
      testing::ExitedWithCode(0), "");
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
