// Plan of a parameter server: which ranks train and which serve, how the parameters are cut among the servers, and what a step
// costs each rank. Carried out by collectives/parameter_server.
#pragma once

#include <cstdint>
#include <vector>

#include "schedules/exchange.hpp"
#include "schedules/exchange_cost.hpp"
#include "schedules/shards.hpp"

namespace dtrain {

struct ServerRoleRequest {
  std::vector<int> node_of_rank;  ///< entry r: the node of rank r
  int servers = 0;                ///< ranks that serve and train nothing; 0: every rank trains and serves
};

/// Ranks in ascending order; the places in these lists are what partitions and sums are ordered by.
struct ServerRoles {
  std::vector<int> workers;  ///< train
  std::vector<int> servers;  ///< hold the weights
};

/// Servers take the last rank of each node, from the last node backwards, then the one before it, and so on: on one node, and
/// with one rank a node, these are the last ranks of the job; otherwise no link carries two servers while another has none.
/// servers: below the number of ranks.
ServerRoles plan_server_roles(const ServerRoleRequest& request);

struct ParameterShardRequest {
  std::int64_t elements = 0;
  int servers = 1;
  std::int64_t partition_elements = 1 << 20;  ///< largest size: 4 MiB
  std::int64_t alignment = 16;                ///< cuts fall on multiples of this (one cache line)
};

/// What is pushed, updated and sent back as one.
struct ParameterPartition {
  Range range;     ///< of the arena
  int server = 0;  ///< place in ServerRoles::servers
  bool operator==(const ParameterPartition&) const = default;
};

/// Partitions in arena order that cover [0, elements) without gaps, dealt to the servers in turn, so that all servers have work
/// from the first bucket to the last. All servers get the same number of partitions, equally large to within two cache lines;
/// only where there are fewer cache lines than servers some get none.
std::vector<ParameterPartition> plan_parameter_shards(const ParameterShardRequest& request);

/// What one synchronous step costs a rank, as worker, server or both: every worker pushes every partition and gets it back
/// updated. What a rank sends itself stays out; it receives as many messages and elements as it sends.
///
///   3 workers, 1 server, n elements       co-located on p ranks
///   server  sends 3n, adds 2n             each sends 2(p−1)/p · n and adds (p−1)/p · n, as around a ring, but in 2 steps
///   worker  sends n                       instead of 2(p−1), with as many messages or more
ExchangeCost parameter_server_cost(const std::vector<ParameterPartition>& partitions, const ServerRoles& roles, int rank);

/// Seconds that the exchange of one synchronous step takes on an idle cluster, updates left out, in the terms of
/// predict_all_reduce_s. While later partitions are pushed, earlier ones return: the first push and the last return of each
/// server have the links to themselves, all else shares them, one way each. Where servers are few, their links decide: they
/// carry workers/servers times the parameters.
double predict_parameter_server_s(const std::vector<ParameterPartition>& partitions, const ServerRoles& roles,
                                  const Cluster& cluster, const ExchangeRates& rates);

}  // namespace dtrain
