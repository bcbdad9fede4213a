// Ping, stream, barrier and memory loop.
#include "bench/exchange_rates.hpp"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <vector>

#include "collectives/mpi_handles.hpp"

namespace dtrain {

namespace {

constexpr std::int64_t kStreamElements = 1 << 20;  // 4 MB
constexpr int kStreamMessages = 8;
constexpr std::int64_t kLoopElements = 1 << 23;  // 32 MB

/// Median of the slowest rank's seconds; all ranks start together.
double median_s(const Communicator& communicator, int repetitions, const std::function<void()>& work) {
  std::vector<double> seconds;
  for (int repetition = -1; repetition < repetitions; ++repetition) {
    check_mpi(MPI_Barrier(communicator.handles().world), "MPI_Barrier");
    const double begin_s = MPI_Wtime();
    work();
    if (repetition >= 0) seconds.push_back(MPI_Wtime() - begin_s);
  }
  return percentile(slowest(communicator, seconds), 0.5);
}

/// Every one of `ranks` sends to the next and receives from the one before; self: this rank's place among them.
void shift(const Communicator& communicator, std::span<const int> ranks, int self, std::span<float> sent,
           std::span<float> received, const WaitPolicy& wait) {
  if (ranks.empty()) return;
  const std::size_t next = static_cast<std::size_t>(self + 1) % ranks.size();
  const std::size_t before = (static_cast<std::size_t>(self) + ranks.size() - 1) % ranks.size();
  const int count = mpi_count(std::ssize(sent));
  const MPI_Comm comm = communicator.handles().exchange;
  std::array<MPI_Request, 2> requests{MPI_REQUEST_NULL, MPI_REQUEST_NULL};
  check_mpi(MPI_Irecv(received.data(), count, MPI_FLOAT, ranks[before], 0, comm, &requests[0]), "MPI_Irecv");
  check_mpi(MPI_Isend(sent.data(), count, MPI_FLOAT, ranks[next], 0, comm, &requests[1]), "MPI_Isend");
  wait_for_requests(requests, wait, [] { return std::string("measuring messages"); });
}

}  // namespace

std::vector<double> slowest(const Communicator& communicator, std::vector<double> seconds) {
  check_mpi(MPI_Allreduce(MPI_IN_PLACE, seconds.data(), mpi_count(std::ssize(seconds)), MPI_DOUBLE, MPI_MAX,
                          communicator.handles().world),
            "MPI_Allreduce");
  return seconds;
}

double percentile(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  const double place = fraction * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

MemoryLoop::MemoryLoop(std::int64_t most_elements) : values_(static_cast<std::size_t>(most_elements), 1.0f) {}

double MemoryLoop::seconds(std::int64_t elements) {
  const double begin_s = MPI_Wtime();
  float* const values = values_.data();
#pragma GCC ivdep
  for (std::int64_t i = 0; i < elements; ++i) values[i] += 1.0f;
  asm volatile("" : : "r"(values) : "memory");  // the loop's results count as used
  return MPI_Wtime() - begin_s;
}

ExchangeRates measure_exchange_rates(const Communicator& communicator, NodeWindow& window, const WaitPolicy& wait) {
  ExchangeRates rates;
  std::vector<float> sent(kStreamElements, 1.0f), received(kStreamElements);
  const auto shifted_s = [&](std::span<const int> ranks, int self, std::size_t elements, int messages, int repetitions) {
    return median_s(communicator, repetitions,
                    [&] {
                      for (int i = 0; i < messages; ++i) {
                        shift(communicator, ranks, self, std::span(sent).first(elements), std::span(received).first(elements),
                              wait);
                      }
                    }) /
           messages;
  };
  constexpr double kMessageBytes = sizeof(float) * kStreamElements;
  const std::vector<int>& lane = communicator.lane_ranks();
  if (communicator.nodes() > 1) {
    rates.link_latency_s = shifted_s(lane, communicator.node_index(), 1, 10, 20);
    const double stream_s = shifted_s(lane, communicator.node_index(), kStreamElements, kStreamMessages, 5);
    rates.link_bytes_per_s = kMessageBytes * communicator.lanes() / stream_s;
  }
  if (communicator.node_size() > 1) {
    const auto neighbours =
        std::span(communicator.ranks_by_node())
            .subspan(static_cast<std::size_t>(std::find(communicator.ranks_by_node().begin(),
                                                        communicator.ranks_by_node().end(), communicator.rank()) -
                                              communicator.ranks_by_node().begin() - communicator.node_rank()),
                     static_cast<std::size_t>(communicator.node_size()));
    const double stream_s = shifted_s(neighbours, communicator.node_rank(), kStreamElements, kStreamMessages, 5);
    rates.node_bytes_per_s = kMessageBytes * communicator.node_size() / stream_s;
  }
  constexpr int kBarriers = 20;
  rates.node_latency_s = median_s(communicator, 20,
                                  [&] {
                                    for (int i = 0; i < kBarriers; ++i) window.barrier(wait, "measuring the barrier");
                                  }) /
                         kBarriers;
  MemoryLoop loop(kLoopElements);
  const double loop_s = median_s(communicator, 7, [&] { loop.seconds(kLoopElements); });
  rates.memory_bytes_per_s = 2.0 * sizeof(float) * kLoopElements * communicator.node_size() / loop_s;
  return rates;
}

}  // namespace dtrain
