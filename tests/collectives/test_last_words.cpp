// What a process says when the MPI library ends it. The library's function is called as its components call it: by name.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "collectives/communicator.hpp"
#include "collectives/last_words.hpp"
#include "tests/without_threads.hpp"

namespace dtrain {
namespace {

[[noreturn]] void end_as_open_mpi_does() {
  reinterpret_cast<void (*)(int, char*, ...)>(dlsym(RTLD_DEFAULT, "ompi_rte_abort"))(7, nullptr);
  std::abort();
}

void speak() { std::fputs("these were its last words\n", stderr); }

bool is_not_zero(int status) { return status != 0; }

TEST(LastWords, AreSaidBeforeTheLibraryEndsTheProcess) {
  EXPECT_EXIT(
      {
        const LastWords words(speak);
        end_as_open_mpi_does();
      },
      is_not_zero, "these were its last words");
}

TEST(LastWords, LeaveTimeForOthersToSpeak) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EXIT(
      {
        const LastWords words(speak);
        end_as_open_mpi_does();
      },
      is_not_zero, "");
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;

  EXPECT_GE(spent.count(), LastWords::kSpeaking_s);
}

TEST(LastWords, EndWithTheirLifeAndWhenWithheld) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EXIT(
      {
        { const LastWords words(speak); }
        end_as_open_mpi_does();
      },
      is_not_zero, "");
  EXPECT_EXIT(
      {
        const LastWords words(speak);
        LastWords::withhold();
        end_as_open_mpi_does();
      },
      is_not_zero, "");
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;

  EXPECT_LT(spent.count(), LastWords::kSpeaking_s) << "ended at once";
}

TEST(LastWords, ThatFailDoNotKeepTheProcess) {
  EXPECT_EXIT(
      {
        const LastWords words([] { throw std::runtime_error("no words"); });
        end_as_open_mpi_does();
      },
      is_not_zero, "");
}

TEST(EndOfAProcess, ComesInTimeWhereItGetsNoMoreThreads) {
  EXPECT_EXIT(
      {
        forbid_more_threads();
        MpiSession::end_process_after(0.1, 7);
        for (;;) pause();
      },
      testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace dtrain
