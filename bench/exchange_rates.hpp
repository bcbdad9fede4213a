// What a cluster's parts can do, measured by themselves: the constants of the cost model (schedules/exchange_cost).
#pragma once

#include <cstdint>
#include <vector>

#include "collectives/communicator.hpp"
#include "collectives/node_window.hpp"
#include "collectives/waiting.hpp"
#include "schedules/exchange_cost.hpp"

namespace dtrain {

/// Collective; about a second on fast links. Medians of the slowest rank, messages waited for as the exchange waits.
/// link_latency_s: a short message from every node to the next. link_bytes_per_s: plain messages, as long as segments, from
/// every rank to its counterpart on the next node, all at once. node_bytes_per_s: the same to the next rank of the node.
/// node_latency_s: a barrier of the window. memory_bytes_per_s: a MemoryLoop of 32 MB a rank, all ranks at once. What is not
/// there keeps the model's own rate.
ExchangeRates measure_exchange_rates(const Communicator& communicator, NodeWindow& window, const WaitPolicy& wait);

/// Seconds of a plain loop that reads and writes `elements` f32 of this rank's own memory once, plus the time in which a node's
/// ranks meet. What a sum in shared memory cannot beat: it reads and writes as many bytes.
class MemoryLoop {
 public:
  explicit MemoryLoop(std::int64_t most_elements);
  double seconds(std::int64_t elements);

 private:
  std::vector<float> values_;
};

/// The slowest rank's time for each of several calls. Collective.
std::vector<double> slowest(const Communicator& communicator, std::vector<double> seconds);
/// Linear between the nearest two; fraction 0 to 1.
double percentile(std::vector<double> values, double fraction);

}  // namespace dtrain
