// The watch over MPI: a rank that does not come to a collective is named by all others, and all is well again when it comes.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "collectives/communicator.hpp"
#include "collectives/mpi_handles.hpp"
#include "collectives/notice_mail.hpp"
#include "collectives/stall_watch.hpp"

namespace dtrain {
namespace {

using namespace std::chrono_literals;

TEST(NoticeMail, DeliversTablesInOrderToOneRank) {
  const Communicator communicator;
  MPI_Comm own = MPI_COMM_NULL;
  MPI_Comm_dup(communicator.handles().world, &own);
  {
    NoticeMail mail(own, communicator.size());
    std::vector<std::uint32_t> table(static_cast<std::size_t>(communicator.size()));
    const int next = (communicator.rank() + 1) % communicator.size();

    int sent = 0, received = 0;
    while (sent < 5 || received < 5) {
      table.assign(table.size(), static_cast<std::uint32_t>(sent));
      if (sent < 5 && mail.send(next, table)) ++sent;
      if (received == 5 || !mail.receive(table)) continue;
      EXPECT_EQ(table.back(), static_cast<std::uint32_t>(received));
      ++received;
    }
    communicator.barrier();
    EXPECT_FALSE(mail.receive(table));
  }
  MPI_Comm_free(&own);
}

// What a stall leaves unread must not keep the communicator from being freed.
TEST(NoticeMail, EndsWithMailThatNobodyRead) {
  const Communicator communicator;
  MPI_Comm own = MPI_COMM_NULL;
  MPI_Comm_dup(communicator.handles().world, &own);
  {
    NoticeMail mail(own, communicator.size());
    const std::vector<std::uint32_t> table(static_cast<std::size_t>(communicator.size()));
    mail.send((communicator.rank() + 1) % communicator.size(), table);
    communicator.barrier();
  }
  MPI_Comm_free(&own);
}

TEST(StallWatchOverMpi, EveryRankNamesTheOneThatDoesNotCome) {
  const Communicator communicator;
  if (communicator.size() == 1) return;
  const int absent = communicator.size() - 1;
  MPI_Request meeting = MPI_REQUEST_NULL;
  if (communicator.rank() == absent) std::this_thread::sleep_for(3500ms);
  MPI_Ibarrier(communicator.handles().world, &meeting);
  const auto describe = [] { return std::string("meeting"); };

  std::string error;
  if (communicator.rank() != absent) {
    try {
      wait_for_requests({&meeting, 1}, {.spins = 100, .timeout_s = 2.0, .watch = &communicator.watch()}, describe);
    } catch (const LostRanksError& lost) {
      error = lost.what();
    }
    EXPECT_NE(error.find("no answer from rank " + std::to_string(absent) + " on "), std::string::npos) << error;
  }
  wait_for_requests({&meeting, 1}, {.spins = 100, .timeout_s = 60.0}, describe);
  // A rank that has given up ends; that it does not here must not disturb the tests that follow.
}

TEST(StallWatchOverMpi, AWaitThatEndsInTimeIsNoError) {
  const Communicator communicator;
  std::vector<std::string> warnings;
  communicator.watch().on_warning([&](const std::string& text) { warnings.push_back(text); });

  for (int late = 0; late < std::min(communicator.size(), 2); ++late) {
    if (communicator.rank() == late) std::this_thread::sleep_for(1500ms);
    MPI_Request meeting = MPI_REQUEST_NULL;
    MPI_Ibarrier(communicator.handles().world, &meeting);
    EXPECT_NO_THROW(wait_for_requests({&meeting, 1}, {.spins = 100, .timeout_s = 3.0, .watch = &communicator.watch()},
                                      [] { return std::string("meeting"); }));
  }

  std::size_t expected = 0;
  if (communicator.size() > 1 && communicator.rank() == 0) expected = 2;  // rank 1 was late
  if (communicator.size() > 1 && communicator.rank() == 1) expected = 2;  // rank 0 was late, so this one speaks
  EXPECT_EQ(warnings.size(), expected);
}

}  // namespace
}  // namespace dtrain
