// Compares how cores are shared with how they could be; see shared_cores.hpp.
#include "launch/shared_cores.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "collectives/agreement.hpp"
#include "launch/core_shares.hpp"

namespace dtrain {
namespace {

constexpr std::size_t kShownGroups = 4;

/// Ranks that share the same cores.
struct SharingRanks {
  std::vector<int> ranks;
  std::set<int> cores;
  std::set<int> cpus;
};

std::string describe(const SharingRanks& sharing) {
  const std::vector<int> cores(sharing.cores.begin(), sharing.cores.end());
  const CpuSet cpus(sharing.cpus.begin(), sharing.cpus.end());
  return "ranks " + to_rank_list(sharing.ranks) + " to core" + (cores.size() == 1 ? " " : "s ") + to_rank_list(cores) +
         " (CPU" + (cpus.size() == 1 ? " " : "s ") + cpu_list(cpus) + ")";
}

}  // namespace

std::optional<Fault> find_shared_cores(const NodeTopology& topology, const std::vector<RankCpus>& ranks, Launcher launcher,
                                       const std::string& host) {
  std::vector<CpuSet> usable;
  std::vector<CpuSet> offered;
  for (const RankCpus& rank : ranks) {
    usable.push_back(rank.usable);
    offered.push_back(rank.offered);
  }
  const std::vector<CoreShare> shares = share_cores(topology, usable);
  const std::vector<int> least = least_ranks_on_a_core(topology, usable);
  const std::vector<int> possible = least_ranks_on_a_core(topology, offered);
  std::map<int, SharingRanks> groups;
  int best = 1;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    best = std::max(best, possible[i]);
    if (least[i] <= possible[i]) continue;
    SharingRanks& group = groups[shares[i].group];
    group.ranks.push_back(ranks[i].rank);
    group.cores.insert(shares[i].cores.begin(), shares[i].cores.end());
    group.cpus.insert(ranks[i].usable.begin(), ranks[i].usable.end());
  }
  if (groups.empty()) return std::nullopt;

  std::string found;
  std::size_t shown = 0;
  for (const auto& [number, group] : groups) {
    if (shown++ < kShownGroups) found += (found.empty() ? "" : ", ") + describe(group);
  }
  if (groups.size() > kShownGroups) found += " and " + std::to_string(groups.size() - kShownGroups) + " more such groups";
  const std::size_t cores = cores_among(topology, united(offered));
  const std::string all = std::to_string(ranks.size()) + " ranks";
  const std::string wanted =
      best == 1 ? "cores of its own for each of " + all : "at most " + std::to_string(best) + " of " + all + " on a core";
  return Fault{.doing = "placing the ranks on " + host,
               .expected = wanted + ", as there are " + std::to_string(cores) + " cores",
               .found = "that the launcher bound " + found + ", where they wait for each other",
               .remedy = launcher_remedy(topology, ranks.size(), cores, launcher)};
}

}  // namespace dtrain
