// Roles of ranks, cuts of the parameters, and the cost of a step with parameter servers.
#include "schedules/parameter_shards.hpp"

#include <algorithm>
#include <functional>
#include <map>

#include "dtrain/error.hpp"

namespace dtrain {

namespace {

constexpr double kFloatBytes = sizeof(float);
constexpr double kAddedTraffic = 3.0;  ///< memory traffic of an addition, in elements: two read, one written

enum class Ways { push, push_and_return };

/// Seconds in which every worker and every server exchange so many elements, by server.
double exchange_s(const std::vector<double>& elements, Ways ways, const ServerRoles& roles, const Cluster& cluster,
                  const ExchangeRates& rates) {
  struct Traffic {
    double sent = 0.0, received = 0.0;  ///< over the link
    double inside = 0.0, added = 0.0;
  };
  std::vector<Traffic> nodes(static_cast<std::size_t>(cluster.nodes));
  const auto node_of = [&](int rank) -> Traffic& { return nodes[static_cast<std::size_t>(rank / cluster.ranks_per_node)]; };
  const auto send = [&](int from, int to, double count) {
    if (from == to) return;
    if (&node_of(from) == &node_of(to)) {
      node_of(from).inside += count;
    } else {
      node_of(from).sent += count;
      node_of(to).received += count;
    }
  };
  for (std::size_t server = 0; server < roles.servers.size(); ++server) {
    for (const int worker : roles.workers) {
      send(worker, roles.servers[server], elements[server]);
      if (ways == Ways::push_and_return) send(roles.servers[server], worker, elements[server]);
    }
    node_of(roles.servers[server]).added += static_cast<double>(roles.workers.size() - 1) * elements[server];
  }
  double longest_s = 0.0;
  for (const Traffic& node : nodes) {
    const double link_s = std::max(node.sent, node.received) * kFloatBytes / rates.link_bytes_per_s;
    const double inside_s = node.inside * kFloatBytes / rates.node_bytes_per_s +
                            kAddedTraffic * node.added * kFloatBytes / rates.memory_bytes_per_s;
    longest_s = std::max({longest_s, link_s, inside_s});
  }
  return longest_s;
}

}  // namespace

ServerRoles plan_server_roles(const ServerRoleRequest& request) {
  const auto ranks = static_cast<int>(request.node_of_rank.size());
  check(ranks > 0 && request.servers >= 0 && request.servers < ranks, "plan_server_roles: 0 <= servers < ranks");
  std::map<int, std::vector<int>> ranks_of_node;
  for (int rank = 0; rank < ranks; ++rank) ranks_of_node[request.node_of_rank[static_cast<std::size_t>(rank)]].push_back(rank);

  ServerRoles roles;
  while (static_cast<int>(roles.servers.size()) < request.servers) {
    for (auto node = ranks_of_node.rbegin(); node != ranks_of_node.rend(); ++node) {
      if (node->second.empty() || static_cast<int>(roles.servers.size()) == request.servers) continue;
      roles.servers.push_back(node->second.back());
      node->second.pop_back();
    }
  }
  std::ranges::sort(roles.servers);
  for (const auto& [node, left] : ranks_of_node) roles.workers.insert(roles.workers.end(), left.begin(), left.end());
  std::ranges::sort(roles.workers);
  if (request.servers == 0) roles.servers = roles.workers;
  return roles;
}

std::vector<ParameterPartition> plan_parameter_shards(const ParameterShardRequest& request) {
  check(
      request.elements >= 0 && request.servers > 0 && request.alignment > 0 && request.partition_elements >= request.alignment,
      "plan_parameter_shards: elements >= 0; servers, alignment > 0; partition_elements >= alignment");
  // Cuts are rounded down, so a partition may exceed the even size by almost one alignment: that much is kept free. Compared
  // before it is multiplied: a wish for one partition a server may be as large as an int64.
  const std::int64_t usable = std::max(request.partition_elements - request.alignment, request.alignment);
  const std::int64_t each = (request.elements + request.servers - 1) / request.servers;
  const std::int64_t rounds = each <= usable ? 1 : (each + usable - 1) / usable;
  const std::int64_t count = rounds * request.servers;
  const auto cut = [&](std::int64_t k) {
    if (k == count) return request.elements;
    return split_range({0, request.elements}, count, k).begin / request.alignment * request.alignment;
  };
  std::vector<ParameterPartition> partitions;
  for (std::int64_t k = 0; k < count; ++k) {
    const Range range{cut(k), cut(k + 1)};
    if (range.size() > 0) partitions.push_back({.range = range, .server = static_cast<int>(k % request.servers)});
  }
  return partitions;
}

ExchangeCost parameter_server_cost(const std::vector<ParameterPartition>& partitions, const ServerRoles& roles, int rank) {
  const bool trains = std::ranges::binary_search(roles.workers, rank);
  const bool serves = std::ranges::binary_search(roles.servers, rank);
  check(trains || serves, "parameter_server_cost: a rank with a role");
  const auto workers = static_cast<std::int64_t>(roles.workers.size());
  ExchangeCost cost;
  for (const ParameterPartition& partition : partitions) {
    const bool is_own = roles.servers[static_cast<std::size_t>(partition.server)] == rank;
    std::int64_t messages = 0;
    if (trains && !is_own) ++messages;
    if (is_own) {
      messages += workers - (trains ? 1 : 0);
      cost.elements_reduced += (workers - 1) * partition.range.size();
    }
    cost.messages += messages;
    cost.elements_sent += messages * partition.range.size();
  }
  cost.steps = cost.messages > 0 ? 2 : 0;
  return cost;
}

double predict_parameter_server_s(const std::vector<ParameterPartition>& partitions, const ServerRoles& roles,
                                  const Cluster& cluster, const ExchangeRates& rates) {
  check(cluster.nodes > 0 && cluster.ranks_per_node > 0, "predict_parameter_server_s: a cluster with ranks");
  for (const std::vector<int>* ranks : {&roles.workers, &roles.servers}) {
    check(!ranks->empty() && ranks->back() < cluster.ranks(), "predict_parameter_server_s: roles of the cluster's ranks");
  }
  if (partitions.empty() || (roles.workers.size() == 1 && roles.servers == roles.workers)) return 0.0;
  std::vector<double> shares(roles.servers.size(), 0.0), largest(shares.size(), 0.0), others(shares.size(), 0.0);
  for (const ParameterPartition& partition : partitions) {
    const auto server = static_cast<std::size_t>(partition.server);
    const auto size = static_cast<double>(partition.range.size());
    shares[server] += size;
    largest[server] = std::max(largest[server], size);
  }
  std::ranges::transform(shares, largest, others.begin(), std::minus<>());
  const double latency_s = cluster.nodes > 1 ? rates.link_latency_s : rates.node_latency_s;
  return 2 * latency_s + 2 * exchange_s(largest, Ways::push, roles, cluster, rates) +
         exchange_s(others, Ways::push_and_return, roles, cluster, rates);
}

}  // namespace dtrain
