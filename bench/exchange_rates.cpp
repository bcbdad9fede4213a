// Ping, stream, barrier and memory loop.
#include "bench/exchange_rates.hpp"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <vector>

#include "collectives/exchange.hpp"
#include "collectives/mpi_handles.hpp"

namespace dtrain {

namespace {

constexpr int kStreamMessages = 32;
constexpr int kInFlight = 4;                     // as the exchange has
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

/// Every one of `ranks` sends messages to the next and receives as many from the one before, a few at a time; self: this rank's
/// place among them.
void shift(const Communicator& communicator, std::span<const int> ranks, int self, std::vector<float>& memory, int elements,
           int messages, const WaitPolicy& wait) {
  if (ranks.empty()) return;
  const std::size_t next = static_cast<std::size_t>(self + 1) % ranks.size();
  const std::size_t before = (static_cast<std::size_t>(self) + ranks.size() - 1) % ranks.size();
  const MPI_Comm comm = communicator.handles().exchange;
  memory.resize(2 * kInFlight * static_cast<std::size_t>(elements));
  std::array<std::array<MPI_Request, 2>, kInFlight> requests;
  requests.fill({MPI_REQUEST_NULL, MPI_REQUEST_NULL});
  for (int message = 0; message < messages + kInFlight; ++message) {
    const auto place = static_cast<std::size_t>(message % kInFlight);
    wait_for_requests(requests[place], wait, [] { return std::string("measuring messages"); });
    if (message >= messages) continue;
    float* const sent = memory.data() + 2 * place * static_cast<std::size_t>(elements);
    check_mpi(MPI_Irecv(sent + elements, elements, MPI_FLOAT, ranks[before], 0, comm, &requests[place][0]), "MPI_Irecv");
    check_mpi(MPI_Isend(sent, elements, MPI_FLOAT, ranks[next], 0, comm, &requests[place][1]), "MPI_Isend");
  }
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
  for (std::int64_t i = 0; i < elements; ++i) values[i] += 1.0f;
  asm volatile("" : : "r"(values) : "memory");  // the loop's results count as used
  return MPI_Wtime() - begin_s;
}

ExchangeRates measure_exchange_rates(const Communicator& communicator, NodeWindow& window, const WaitPolicy& wait) {
  ExchangeRates rates;
  std::vector<float> memory;
  const auto segment = static_cast<int>(Exchange::segment_elements());
  const double segment_bytes = sizeof(float) * static_cast<double>(segment);
  const std::vector<int>& lane = communicator.lane_ranks();
  if (communicator.nodes() > 1) {
    const int node = communicator.node_index();
    rates.link_latency_s = median_s(communicator, 200, [&] { shift(communicator, lane, node, memory, 1, 1, wait); });
    const double stream_s =
        median_s(communicator, 5, [&] { shift(communicator, lane, node, memory, segment, kStreamMessages, wait); });
    rates.link_bytes_per_s = segment_bytes * kStreamMessages * communicator.lanes() / stream_s;
  }
  if (communicator.node_size() > 1) {
    const std::vector<int>& by_node = communicator.ranks_by_node();
    const auto own = std::find(by_node.begin(), by_node.end(), communicator.rank());
    const std::vector<int> neighbours(own - communicator.node_rank(),
                                      own - communicator.node_rank() + communicator.node_size());
    const double stream_s = median_s(communicator, 5, [&] {
      shift(communicator, neighbours, communicator.node_rank(), memory, segment, kStreamMessages, wait);
    });
    rates.node_bytes_per_s = segment_bytes * kStreamMessages * communicator.node_size() / stream_s;
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
