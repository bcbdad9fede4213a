// Groups the ranks by the cores they contend for, then divides each group's cores.
#include "launch/core_shares.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <utility>

namespace dtrain {
namespace {

using CoreList = std::vector<int>;

CoreList usable_cores(const NodeTopology& topology, const CpuSet& usable) {
  CoreList cores;
  for (std::size_t core = 0; core < topology.cores.size(); ++core) {
    const CpuSet& cpus = topology.cores[core].cpus;
    if (std::any_of(cpus.begin(), cpus.end(), [&](int cpu) { return std::binary_search(usable.begin(), usable.end(), cpu); })) {
      cores.push_back(static_cast<int>(core));
    }
  }
  return cores;
}

/// Number of the group of each rank: ranks that share a core, directly or through others.
std::vector<int> group_ranks(const std::vector<CoreList>& cores) {
  std::vector<int> group(cores.size());
  std::iota(group.begin(), group.end(), 0);
  std::map<int, int> group_of_core;
  for (std::size_t rank = 0; rank < cores.size(); ++rank) {
    for (const int core : cores[rank]) {
      const auto [owner, is_new] = group_of_core.try_emplace(core, group[rank]);
      const int joined = owner->second;
      const int left = group[rank];
      if (is_new || joined == left) continue;
      std::replace(group.begin(), group.end(), left, joined);
      for (auto& [other, number] : group_of_core) number = number == left ? joined : number;
    }
  }
  return group;
}

/// Divides cores that all ranks of a group may use. Requires cores.size() ≥ ranks.
std::vector<CoreList> divide_equally(const NodeTopology& topology, const CoreList& cores, std::size_t ranks) {
  const std::size_t share = cores.size() / ranks;
  std::map<int, CoreList> domains;
  for (const int core : cores) domains[topology.cores[static_cast<std::size_t>(core)].numa].push_back(core);

  // Whole shares inside a domain first; what is too small for one is left over.
  std::vector<CoreList> shares;
  CoreList left_over;
  for (const auto& [domain, members] : domains) {
    std::size_t taken = 0;
    for (; shares.size() < ranks && members.size() - taken >= share; taken += share) {
      const auto begin = members.begin() + static_cast<std::ptrdiff_t>(taken);
      shares.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(share));
    }
    left_over.insert(left_over.end(), members.begin() + static_cast<std::ptrdiff_t>(taken), members.end());
  }
  std::sort(left_over.begin(), left_over.end());
  auto next = left_over.begin();
  for (; shares.size() < ranks; next += static_cast<std::ptrdiff_t>(share)) {
    shares.emplace_back(next, next + static_cast<std::ptrdiff_t>(share));
  }
  // The remainder, one core a rank, to ranks of the same domain where there are some.
  std::vector<bool> has_extra(ranks, false);
  for (; next != left_over.end(); ++next) {
    const int domain = topology.cores[static_cast<std::size_t>(*next)].numa;
    std::size_t taker = ranks;
    for (std::size_t rank = ranks; rank-- > 0;) {
      if (has_extra[rank]) continue;
      const bool is_near = topology.cores[static_cast<std::size_t>(shares[rank].front())].numa == domain;
      const bool taker_is_near =
          taker < ranks && topology.cores[static_cast<std::size_t>(shares[taker].front())].numa == domain;
      if (taker == ranks || is_near || !taker_is_near) taker = rank;
    }
    shares[taker].push_back(*next);
    has_extra[taker] = true;
  }
  for (CoreList& list : shares) std::sort(list.begin(), list.end());
  return shares;
}

/// Divides cores of which each rank may use only some: round by round every rank gets one more core, through an augmenting path
/// (Kuhn 1955) where the free ones are not its own, until somebody's share cannot grow. Empty when not even one core each
/// exists.
std::vector<CoreList> divide_by_matching(const std::vector<CoreList>& usable) {
  std::map<int, std::size_t> owner;  // core → rank
  std::map<int, bool> visited;
  const std::function<bool(std::size_t)> grow = [&](std::size_t rank) {
    for (const int core : usable[rank]) {
      if (std::exchange(visited[core], true)) continue;
      const auto held = owner.find(core);
      if (held != owner.end() && (held->second == rank || !grow(held->second))) continue;
      owner[core] = rank;
      return true;
    }
    return false;
  };
  for (std::size_t round = 0;; ++round) {
    std::size_t grown = 0;
    for (std::size_t rank = 0; rank < usable.size(); ++rank) {
      visited.clear();
      if (grow(rank)) ++grown;
    }
    if (round == 0 && grown < usable.size()) return {};
    if (grown == 0) break;
  }
  std::vector<CoreList> shares(usable.size());
  for (const auto& [core, rank] : owner) shares[rank].push_back(core);
  return shares;
}

/// Whether each rank finds one of its cores when a core has room for so many; by augmenting paths, as above.
bool fit_with_room(const std::vector<CoreList>& usable, std::size_t room) {
  std::map<int, std::vector<std::size_t>> ranks_on;
  std::map<int, bool> visited;
  const std::function<bool(std::size_t)> settle = [&](std::size_t rank) {
    for (const int core : usable[rank]) {
      if (std::exchange(visited[core], true)) continue;
      std::vector<std::size_t>& there = ranks_on[core];
      if (there.size() < room) {
        there.push_back(rank);
        return true;
      }
      for (std::size_t& other : there) {
        if (!settle(other)) continue;
        other = rank;
        return true;
      }
    }
    return false;
  };
  for (std::size_t rank = 0; rank < usable.size(); ++rank) {
    visited.clear();
    if (!settle(rank)) return false;
  }
  return true;
}

}  // namespace

std::vector<int> least_ranks_on_a_core(const NodeTopology& topology, const std::vector<CpuSet>& usable) {
  std::vector<CoreList> cores;
  for (const CpuSet& cpus : usable) cores.push_back(usable_cores(topology, cpus));
  const std::vector<int> groups = group_ranks(cores);
  std::map<int, std::vector<CoreList>> members;
  for (std::size_t rank = 0; rank < usable.size(); ++rank) members[groups[rank]].push_back(cores[rank]);
  std::map<int, int> least;
  for (const auto& [group, lists] : members) {
    std::size_t room = 1;
    while (room < lists.size() && !fit_with_room(lists, room)) ++room;
    least[group] = static_cast<int>(room);
  }
  std::vector<int> by_rank;
  for (const int group : groups) by_rank.push_back(least[group]);
  return by_rank;
}

std::vector<CoreShare> share_cores(const NodeTopology& topology, const std::vector<CpuSet>& usable) {
  std::vector<CoreList> cores;
  for (const CpuSet& cpus : usable) cores.push_back(usable_cores(topology, cpus));
  const std::vector<int> groups = group_ranks(cores);

  std::vector<CoreShare> shares(usable.size());
  for (std::size_t first = 0; first < usable.size(); ++first) {
    if (std::find(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(first), groups[first]) !=
        groups.begin() + static_cast<std::ptrdiff_t>(first)) {
      continue;  // done with its group's first rank
    }
    std::vector<std::size_t> members;
    std::vector<CoreList> member_cores;
    for (std::size_t rank = first; rank < usable.size(); ++rank) {
      if (groups[rank] != groups[first]) continue;
      members.push_back(rank);
      member_cores.push_back(cores[rank]);
    }
    const bool all_equal = std::all_of(member_cores.begin(), member_cores.end(),
                                       [&](const CoreList& list) { return list == member_cores.front(); });
    std::vector<CoreList> divided;
    if (!all_equal) {
      divided = divide_by_matching(member_cores);
    } else if (member_cores.front().size() >= members.size()) {
      divided = divide_equally(topology, member_cores.front(), members.size());
    }
    for (std::size_t i = 0; i < members.size(); ++i) {
      shares[members[i]] = {
          .cores = divided.empty() ? member_cores[i] : divided[i], .is_crowded = divided.empty(), .group = groups[first]};
    }
  }
  return shares;
}

}  // namespace dtrain
