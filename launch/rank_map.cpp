// Collects the ranks' CPU sets over the communicator; formats the map.
#include "launch/rank_map.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "collectives/launcher.hpp"
#include "launch/launcher_cpus.hpp"
#include "launch/shared_cores.hpp"
#include "trainer/text_table.hpp"

namespace dtrain {
namespace {

/// The same for all processes under one kernel, whatever their host and network names; differs between machines.
std::string kernel_identity() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string identity;
  std::getline(file, identity);
  return identity.empty() ? host_name() : identity;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string plural(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

CpuSet sorted_cpus(CpuSet cpus) {
  std::sort(cpus.begin(), cpus.end());
  return cpus;
}

/// A line each: "1.5 group".
std::string limits_text(const std::vector<CpuLimit>& limits) {
  std::string text;
  for (const CpuLimit& limit : limits) text += "\n" + std::to_string(limit.cpus) + " " + limit.group;
  return text;
}

std::vector<CpuLimit> parse_limits(const std::vector<std::string>& lines) {
  std::vector<CpuLimit> limits;
  for (const std::string& line : lines) {
    limits.push_back({.cpus = std::stod(line), .group = line.substr(line.find(' ') + 1)});
  }
  return limits;
}

/// Where SLURM has granted fewer cores than there are ranks, srun could not bind them otherwise than it did.
void limit_to_grant(const NodeTopology& topology, std::vector<RankCpus>& members) {
  const auto granted = static_cast<std::size_t>(granted_cpus());
  std::size_t cpus_of_core = 1;
  for (const Core& core : topology.cores) cpus_of_core = std::max(cpus_of_core, core.cpus.size());
  if (granted == 0 || (granted + cpus_of_core - 1) / cpus_of_core >= members.size()) return;
  for (RankCpus& member : members) member.offered = member.usable;
}

}  // namespace

LaunchedAs read_launcher_environment() {
  const auto launched = launched_ranks(own_environment());
  if (!launched) return {};
  return {.rank = launched->rank,
          .size = launched->at_least,
          .launcher = launched->kind == LauncherKind::open_mpi ? Launcher::mpirun
                      : launched->kind == LauncherKind::srun   ? Launcher::srun
                                                               : Launcher::none};
}

MachinePlan plan_machine(const Communicator& communicator, PlacementRequest request) {
  request.ranks = communicator.size();
  request.launcher = read_launcher_environment().launcher;
  MachinePlan plan;
  plan.host = host_name();
  plan.topology = read_machine();
  request.cpu_limits.clear();
  const std::string self = kernel_identity();
  const CpuSet own = usable_cpus();
  const CpuSet offered = cpus_of_own_launcher(plan.topology.allowed, own);
  std::vector<RankCpus> members;
  std::set<std::string> machines;
  const std::vector<std::string> sites =
      communicator.gather_texts(self + "\n" + cpu_list(own) + "\n" + cpu_list(offered) + limits_text(plan.topology.cpu_limits));
  for (std::size_t rank = 0; rank < sites.size(); ++rank) {
    const std::vector<std::string> lines = lines_of(sites[rank]);
    machines.insert(lines.at(0));
    if (lines.at(0) != self) continue;
    if (static_cast<int>(rank) == communicator.rank()) plan.self = plan.ranks.size();
    plan.ranks.push_back(static_cast<int>(rank));
    members.push_back(
        {.rank = static_cast<int>(rank), .usable = parse_cpu_list(lines.at(1)), .offered = parse_cpu_list(lines.at(2))});
    request.cpu_limits.push_back(parse_limits({lines.begin() + 3, lines.end()}));
  }
  request.machines = static_cast<int>(machines.size());
  limit_to_grant(plan.topology, members);
  plan.usable = own;
  plan.offered = offered;
  std::vector<CpuSet> usable;
  for (const RankCpus& member : members) {
    usable.push_back(member.usable);
    request.offered.push_back(member.offered);
  }
  plan.places = plan_placement(plan.topology, usable, request);
  plan.shared_cores = find_shared_cores(plan.topology, members, request.launcher, plan.host);
  return plan;
}

std::string map_text(const MachinePlan& plan) {
  const NodeTopology& topology = plan.topology;
  std::size_t cpus = 0;
  for (const Core& core : topology.cores) cpus += core.cpus.size();
  std::string text = plan.host + ": " + plural(static_cast<std::size_t>(topology.packages), "package") + ", " +
                     plural(static_cast<std::size_t>(topology.numa_domains), "NUMA domain") + ", " +
                     plural(topology.cores.size(), "core") + ", " + plural(cpus, "CPU") +
                     " (allowed: " + cpu_list(topology.allowed) + ")";
  if (topology.cpu_quota > 0.0) text += ", quota " + std::to_string(topology.cpu_quota).substr(0, 5) + " CPUs";
  text += "\n";

  std::vector<std::vector<std::string>> rows{{"rank", "CPUs", "NUMA", "threads", "on", "comm", "loaders", "on"}};
  for (std::size_t i = 0; i < plan.places.size(); ++i) {
    const RankPlacement& rank = plan.places[i];
    const Placement& placement = rank.placement;
    const bool is_bound = !placement.compute_cpus.empty();
    const std::string unbound = rank.is_crowded ? "not bound, shared" : "not bound";
    rows.push_back({std::to_string(plan.ranks[i]), cpu_list(rank.cpus), cpu_list(rank.numa_domains),
                    std::to_string(placement.threads), is_bound ? cpu_list(sorted_cpus(placement.compute_cpus)) : unbound,
                    !is_bound                 ? "not bound"
                    : placement.has_comm_core ? cpu_list(placement.comm_cpus) + " alone"
                                              : cpu_list(placement.comm_cpus),
                    std::to_string(placement.loader_workers), is_bound ? cpu_list(placement.loader_cpus) : "not bound"});
  }
  return text + table_text(rows);
}

std::vector<std::string> gather_remarks(const Communicator& communicator, const std::vector<std::string>& remarks) {
  std::string own = host_name();
  for (const std::string& remark : remarks) own += "\n" + remark;
  const std::vector<std::string> all = communicator.gather_texts(own);
  if (!communicator.is_root()) return {};
  struct Said {
    std::string text;
    std::string first;
    std::size_t count = 0;
  };
  std::vector<Said> said;
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    const std::vector<std::string> lines = lines_of(all[rank]);
    for (std::size_t i = 1; i < lines.size(); ++i) {
      auto known = std::find_if(said.begin(), said.end(), [&](const Said& other) { return other.text == lines[i]; });
      if (known == said.end()) {
        said.push_back({.text = lines[i], .first = "rank " + std::to_string(rank) + " on " + lines.front()});
        known = std::prev(said.end());
      }
      ++known->count;
    }
  }
  std::vector<std::string> texts;
  for (const Said& one : said) {
    const std::string others = one.count == 1 ? "" : " and " + plural(one.count - 1, "other");
    texts.push_back("[" + one.first + others + "] " + one.text);
  }
  return texts;
}

}  // namespace dtrain
