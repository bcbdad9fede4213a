// What an all-reduce costs in time, from the steps of its plan: latencies (α), links (β) and memory (γ). Pure. Chooses the
// algorithm where nobody does.
#pragma once

#include <cstdint>

#include "schedules/algorithms.hpp"
#include "schedules/exchange.hpp"

namespace dtrain {

/// Nodes with equally many ranks, numbered node by node.
struct Cluster {
  int nodes = 1;
  int ranks_per_node = 1;
  int ranks() const { return nodes * ranks_per_node; }
};

/// What a cluster's parts can do. Measured by bench_allreduce, which prints them in its first lines.
struct ExchangeRates {
  double link_latency_s = 30e-6;     ///< a short message between nodes
  double link_bytes_per_s = 1.18e9;  ///< out of a node, and into it at the same time, its ranks together
  double node_latency_s = 3e-6;      ///< a barrier of a node's ranks, or a short message between two of them
  double node_bytes_per_s = 5e9;     ///< messages between the ranks of a node, together
  double memory_bytes_per_s = 12e9;  ///< read and written by the ranks of a node, together
};

/// Seconds that one all-reduce of `elements` f32 takes on an idle cluster. wire_bytes: of an element between ranks, 4 or 2.
/// A step lasts as long as the busiest link, or the busiest node inside where that is slower: segments overlap the two.
/// algorithm: shm (one node), ring, halving_doubling, hierarchical (ring between the nodes), none.
double predict_all_reduce_s(AllReduceAlgorithm algorithm, std::int64_t elements, const Cluster& cluster,
                            const ExchangeRates& rates, int wire_bytes = 4);

/// How many bytes should travel together: as few as keep latencies to 5 % of an exchange, for small buckets leave early; 4 to
/// 64 MiB. Like the table, it depends on its arguments alone. Without a plan to predict from (mpi, none): 8 MiB.
std::int64_t plan_bucket_bytes(const AlgorithmTable& table, const Cluster& cluster, const ExchangeRates& rates = {});

/// The quickest algorithm by size. window_is_shared: every node's ranks share memory; else neither shm nor hierarchical.
/// Depends on its arguments alone, so that the same run takes the same sums.
AlgorithmTable plan_algorithm_table(const Cluster& cluster, bool window_is_shared, const ExchangeRates& rates = {});

}  // namespace dtrain
