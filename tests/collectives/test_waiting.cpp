// The polite wait: ends when what it waits for has come, or says what has not.
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "collectives/mpi_handles.hpp"
#include "dtrain/error.hpp"

namespace dtrain {
namespace {

std::string describe_nothing() { return "waiting for nothing"; }

TEST(WaitUntil, LooksUntilItIsTrueWhetherSpinningOrSleeping) {
  PollPace pace;
  for (const int needed : {1, 5, 50}) {
    int looks = 0;
    wait_until([&] { return ++looks == needed; }, {.spins = 10, .timeout_s = 60.0}, describe_nothing, pace);

    EXPECT_EQ(looks, needed);
  }
}

TEST(WaitUntil, SaysWhatItWaitedForAfterTheTimeOut) {
  PollPace pace;
  try {
    wait_until([] { return false; }, {.spins = 10, .timeout_s = 0.05}, [] { return std::string("waiting for rank 7"); }, pace);
    ADD_FAILURE() << "it never was true";
  } catch (const CommError& error) {
    EXPECT_EQ(std::string(error.what()).find("waiting for rank 7: expected an answer within 0.05 s, found none on "), 0U)
        << error.what();
  }
}

// A look that takes long stands for a process that was stopped and continued.
TEST(WaitUntil, LeavesOutTheTimeInWhichTheProcessWasStopped) {
  PollPace pace;
  int looks = 0;
  const auto look = [&] {
    if (++looks == 5) std::this_thread::sleep_for(std::chrono::seconds(1));
    return looks == 8;
  };

  EXPECT_NO_THROW(wait_until(look, {.spins = 0, .timeout_s = 0.8}, describe_nothing, pace));
}

}  // namespace
}  // namespace dtrain
