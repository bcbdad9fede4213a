// The cost model, applied to the very steps that are carried out.
#include "schedules/exchange_cost.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <vector>

#include "dtrain/error.hpp"
#include "schedules/halving_doubling.hpp"
#include "schedules/ring.hpp"

namespace dtrain {

namespace {

constexpr double kElementBytes = sizeof(float);
// Memory traffic in elements.
constexpr double kCopied = 2.0;
constexpr double kReduced = 3.0;  ///< two read, one written

using Steps = std::vector<ExchangeStep> (*)(int size, int rank, Range whole);

/// All ranks carry out their steps together. A node's ranks share its link and its memory.
double predict_steps_s(Steps steps_of, std::int64_t elements, const Cluster& cluster, const ExchangeRates& rates,
                       int wire_bytes) {
  std::vector<std::vector<ExchangeStep>> steps;
  for (int rank = 0; rank < cluster.ranks(); ++rank) steps.push_back(steps_of(cluster.ranks(), rank, {0, elements}));
  const auto node_of = [&](int rank) { return rank / cluster.ranks_per_node; };

  double total_s = 0.0;
  for (std::size_t step = 0; step < steps.front().size(); ++step) {
    // Of each node.
    std::vector<double> link_s(static_cast<std::size_t>(cluster.nodes)), inside_s(link_s.size());
    bool crosses = false;
    for (int rank = 0; rank < cluster.ranks(); ++rank) {
      const ExchangeStep& mine = steps[static_cast<std::size_t>(rank)][step];
      const auto node = static_cast<std::size_t>(node_of(rank));
      if (mine.send_peer != kNobody && node_of(mine.send_peer) != node_of(rank)) {
        crosses = crosses || mine.send.size() > 0;
        link_s[node] += static_cast<double>(mine.send.size() * wire_bytes) / rates.link_bytes_per_s;
      } else if (mine.send_peer != kNobody) {
        inside_s[node] += static_cast<double>(mine.send.size() * wire_bytes) / rates.node_bytes_per_s;
      }
      if (mine.receive_peer != kNobody && mine.reduces) {
        inside_s[node] += kReduced * kElementBytes * static_cast<double>(mine.receive.size()) / rates.memory_bytes_per_s;
      }
    }
    total_s += (crosses ? rates.link_latency_s : rates.node_latency_s) +
               std::max(*std::max_element(link_s.begin(), link_s.end()), *std::max_element(inside_s.begin(), inside_s.end()));
  }
  return total_s;
}

double memory_s(double elements, const ExchangeRates& rates) { return elements * kElementBytes / rates.memory_bytes_per_s; }

double predict_hierarchical_s(std::int64_t elements, const Cluster& cluster, const ExchangeRates& rates, int wire_bytes) {
  const auto count = static_cast<double>(elements);
  const double ranks = cluster.ranks_per_node;
  // Ring over the nodes: the ranks of a node exchange their shards at the same time, over one link.
  const double blocks = static_cast<double>(cluster.nodes - 1) / cluster.nodes;
  const double link_s = blocks * count * wire_bytes / rates.link_bytes_per_s;
  // While the sums travel, every segment is read, the node's sum is written, and what arrives is added.
  const double summed_s = memory_s((ranks + 1.0 + kReduced * blocks) * count, rates);
  const double gathered_s = memory_s(kCopied * (ranks - 1.0) * count, rates);  // every rank copies the others' shards
  return 3 * rates.node_latency_s + 2 * (cluster.nodes - 1) * rates.link_latency_s + std::max(link_s, summed_s) + link_s +
         gathered_s;
}

/// Sizes for which the algorithms are compared.
constexpr std::int64_t kSmallestBytes = 1 << 10;
constexpr std::int64_t kSizeStep = 4;
constexpr std::int64_t kLargestBytes = std::int64_t{1} << 30;

}  // namespace

double predict_all_reduce_s(AllReduceAlgorithm algorithm, std::int64_t elements, const Cluster& cluster,
                            const ExchangeRates& rates, int wire_bytes) {
  check(cluster.nodes > 0 && cluster.ranks_per_node > 0 && elements >= 0, "predict_all_reduce_s: a cluster with ranks");
  if (cluster.ranks() == 1 || elements == 0 || algorithm == AllReduceAlgorithm::none) return 0.0;
  switch (algorithm) {
    case AllReduceAlgorithm::shm:
      check(cluster.nodes == 1, "predict_all_reduce_s: shm on one node");
      return 2 * rates.node_latency_s + memory_s(2.0 * cluster.ranks_per_node * static_cast<double>(elements), rates);
    case AllReduceAlgorithm::ring:
      return predict_steps_s(ring_steps, elements, cluster, rates, wire_bytes);
    case AllReduceAlgorithm::halving_doubling:
      return predict_steps_s(halving_doubling_steps, elements, cluster, rates, wire_bytes);
    case AllReduceAlgorithm::hierarchical:
      return predict_hierarchical_s(elements, cluster, rates, wire_bytes);
    case AllReduceAlgorithm::automatic:
    case AllReduceAlgorithm::mpi:
    case AllReduceAlgorithm::none:
      break;
  }
  check(false, "predict_all_reduce_s: an algorithm with a plan");
  return 0.0;
}

std::int64_t plan_bucket_bytes(const AlgorithmTable& table, const Cluster& cluster, const ExchangeRates& rates) {
  constexpr std::int64_t kSmallest = 4 << 20;
  constexpr std::int64_t kLargest = 64 << 20;
  constexpr std::int64_t kUnplanned = 8 << 20;
  constexpr double kLatencyShare = 0.05;
  for (std::int64_t bytes = kSmallest; bytes < kLargest; bytes *= 2) {
    const AllReduceAlgorithm algorithm = table.choose(bytes);
    if (algorithm == AllReduceAlgorithm::mpi || algorithm == AllReduceAlgorithm::none) return kUnplanned;
    const auto cost = [&](std::int64_t of_bytes) {
      return predict_all_reduce_s(algorithm, of_bytes / static_cast<std::int64_t>(sizeof(float)), cluster, rates);
    };
    const double once = cost(bytes);
    const double latencies = 2 * once - cost(2 * bytes);  // the rest of the time grows with the bytes
    if (latencies <= kLatencyShare * once) return bytes;
  }
  return kLargest;
}

AlgorithmTable plan_algorithm_table(const Cluster& cluster, bool window_is_shared, const ExchangeRates& rates) {
  if (cluster.ranks() == 1) return AllReduceAlgorithm::none;
  if (cluster.nodes == 1 && window_is_shared) return AllReduceAlgorithm::shm;
  std::vector<AllReduceAlgorithm> candidates{AllReduceAlgorithm::ring, AllReduceAlgorithm::halving_doubling};
  if (window_is_shared && cluster.ranks_per_node > 1) candidates.push_back(AllReduceAlgorithm::hierarchical);

  std::vector<AlgorithmTable::Row> rows;
  for (std::int64_t bytes = kSmallestBytes; bytes <= kLargestBytes; bytes *= kSizeStep) {
    const auto cost = [&](AllReduceAlgorithm algorithm) {
      return predict_all_reduce_s(algorithm, bytes / static_cast<std::int64_t>(sizeof(float)), cluster, rates);
    };
    const AllReduceAlgorithm best =
        *std::min_element(candidates.begin(), candidates.end(), [&](auto a, auto b) { return cost(a) < cost(b); });
    if (!rows.empty() && rows.back().algorithm == best) {
      rows.back().below_bytes = kSizeStep * bytes;
    } else {
      rows.push_back({.algorithm = best, .below_bytes = kSizeStep * bytes});
    }
  }
  rows.back().below_bytes = std::numeric_limits<std::int64_t>::max();
  return AlgorithmTable(std::move(rows));
}

}  // namespace dtrain
