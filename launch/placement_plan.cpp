// From the cores of each rank to its compute, comm and loader threads, and to what the user should be told.
#include "launch/placement_plan.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <span>

#include "dtrain/error.hpp"
#include "launch/core_shares.hpp"

namespace dtrain {
namespace {

/// Decoding and augmenting a picture takes some milliseconds of one core, a training step with it 50 to 300: one loader
/// thread feeds well over four compute threads.
constexpr int kCoresPerLoader = 4;
constexpr int kMostLoaders = 8;

const Core& core_at(const NodeTopology& topology, int index) { return topology.cores[static_cast<std::size_t>(index)]; }

bool contains(const CpuSet& cpus, int cpu) { return std::binary_search(cpus.begin(), cpus.end(), cpu); }

CpuSet sorted(CpuSet cpus) {
  std::sort(cpus.begin(), cpus.end());
  return cpus;
}

/// A hardware thread and the core it belongs to.
struct Place {
  int cpu = 0;
  const Core* core = nullptr;
};

CpuSet cpus_of(const std::vector<Place>& places) {
  CpuSet cpus;
  for (const Place& place : places) cpus.push_back(place.cpu);
  return cpus;
}

/// Hardware threads of some cores: the one of each core to compute on, and the others (second ones of all cores, then third
/// ones).
struct CorePlaces {
  std::vector<Place> first;
  std::vector<Place> siblings;
};

CorePlaces places_on(const NodeTopology& topology, std::span<const int> cores, const CpuSet& usable) {
  std::vector<std::vector<Place>> by_position(1);
  for (const int index : cores) {
    std::size_t position = 0;
    for (const int cpu : core_at(topology, index).cpus) {
      if (!contains(usable, cpu)) continue;
      if (by_position.size() <= position) by_position.emplace_back();
      by_position[position++].push_back({cpu, &core_at(topology, index)});
    }
  }
  CorePlaces places{.first = by_position.front()};
  for (std::size_t position = 1; position < by_position.size(); ++position) {
    places.siblings.insert(places.siblings.end(), by_position[position].begin(), by_position[position].end());
  }
  return places;
}

/// How a rank's cores are used; counts of cores.
struct CoreUse {
  int compute = 1;   ///< that compute threads may have
  int reserved = 0;  ///< for the comm thread
};

/// The comm thread gets a core where that costs little (kCommCoreFrom) or nothing (so few threads are asked for that two cores
/// or more would be idle: one of them for the comm thread, others for the loader).
CoreUse choose_core_use(int cores, const PlacementRequest& request) {
  const int idle = request.threads > 0 ? cores - request.threads : 0;
  const bool has_room = request.threads == 0 || idle >= 1;
  const bool pays = has_room && ((request.machines > 1 && cores >= kCommCoreFrom) || idle >= 2);
  int reserved = request.ranks > 1 && pays ? 1 : 0;
  if (request.comm_cores >= 0) reserved = std::min(request.comm_cores, cores - 1);
  return {.compute = cores - reserved, .reserved = reserved};
}

int chosen_workers(int cores, const PlacementRequest& request) {
  return request.workers > 0 ? request.workers : std::clamp(cores / kCoresPerLoader, 1, kMostLoaders);
}

std::string counted(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

void limit_threads(RankPlacement& rank, const PlacementRequest& request) {
  if (request.most_threads == 0 || rank.placement.threads <= request.most_threads) return;
  rank.placement.threads = request.most_threads;
  rank.is_thread_limited = true;
}

/// Plans a rank that shares its cores with others: one thread (or as many as asked), left where the scheduler puts it.
void place_crowded(RankPlacement& rank, const PlacementRequest& request) {
  rank.usual_threads = 1;
  rank.placement.threads = std::max(1, request.threads);
  limit_threads(rank, request);
  rank.placement.loader_workers = chosen_workers(1, request);
  if (request.bind != BindPolicy::automatic && request.bind != BindPolicy::none) {
    rank.warnings.push_back(to_text(Fault{.doing = "binding threads",
                                          .expected = "cores of the rank's own",
                                          .found = "cores shared with other ranks: nothing is bound",
                                          .remedy = "fewer ranks on this node"}));
  }
}

/// Where one compute thread may run.
CpuSet mask_of(const Place& own, const std::vector<Place>& compute, BindPolicy bind) {
  CpuSet mask;
  for (const Place& place : compute) {
    const bool is_inside = bind == BindPolicy::numa     ? place.core->numa == own.core->numa
                           : bind == BindPolicy::socket ? place.core->package == own.core->package
                                                        : place.cpu == own.cpu;
    if (is_inside) mask.push_back(place.cpu);
  }
  return sorted(std::move(mask));
}

/// Plans a rank with cores of its own. compute_limit: threads that the ranks which divided their cores with it can have.
void place_alone(const NodeTopology& topology, std::span<const int> cores, const CpuSet& usable, int compute_limit,
                 const PlacementRequest& request, RankPlacement& rank) {
  Placement& placement = rank.placement;
  const CoreUse use = choose_core_use(static_cast<int>(cores.size()), request);
  PlacementRequest nothing_asked = request;
  nothing_asked.threads = 0;
  rank.usual_threads = std::min(choose_core_use(static_cast<int>(cores.size()), nothing_asked).compute, compute_limit);
  placement.threads = request.threads > 0 ? request.threads : std::min(use.compute, compute_limit);
  limit_threads(rank, request);
  placement.loader_workers = chosen_workers(static_cast<int>(cores.size()), request);
  if (request.bind == BindPolicy::none) return;

  const auto compute_cores = static_cast<std::size_t>(use.compute);
  const CorePlaces working = places_on(topology, cores.first(compute_cores), usable);
  const CorePlaces reserved = places_on(topology, cores.subspan(compute_cores), usable);

  // One thread per core; where more were asked for, siblings take them; where these do not suffice, nothing can be bound.
  const auto threads = static_cast<std::size_t>(placement.threads);
  const std::size_t on_first = std::min(threads, working.first.size());
  const std::size_t on_siblings = std::min(threads - on_first, working.siblings.size());
  if (on_first + on_siblings < threads) return;
  const auto first_end = working.first.begin() + static_cast<std::ptrdiff_t>(on_first);
  const auto siblings_end = working.siblings.begin() + static_cast<std::ptrdiff_t>(on_siblings);
  std::vector<Place> compute(working.first.begin(), first_end);
  compute.insert(compute.end(), working.siblings.begin(), siblings_end);
  std::vector<Place> free(first_end, working.first.end());
  free.insert(free.end(), siblings_end, working.siblings.end());

  placement.compute_cpus = cpus_of(compute);
  for (const Place& place : compute) placement.compute_masks.push_back(mask_of(place, compute, request.bind));
  placement.loader_cpus = sorted(cpus_of(free.empty() ? compute : free));
  placement.has_comm_core = !reserved.first.empty();
  placement.comm_cpus = placement.has_comm_core ? sorted(cpus_of(reserved.first)) : placement.loader_cpus;
}

std::string named_cpus(const CpuSet& cpus) { return (cpus.size() == 1 ? "CPU " : "CPUs ") + cpu_list(cpus); }

std::string summary_of(const RankPlacement& rank) {
  const Placement& placement = rank.placement;
  std::string text = counted(static_cast<std::size_t>(placement.threads), "compute thread");
  if (placement.compute_cpus.empty()) {
    text += ", not bound (" + named_cpus(rank.cpus) + (rank.is_crowded ? ", shared with other ranks)" : ")");
  } else {
    text += " on " + named_cpus(sorted(placement.compute_cpus));
  }
  if (placement.has_comm_core) text += ", comm thread alone on " + named_cpus(placement.comm_cpus);
  text += ", " + counted(static_cast<std::size_t>(placement.loader_workers), "loader thread");
  if (!placement.loader_cpus.empty()) text += " on " + named_cpus(placement.loader_cpus);
  return text;
}

/// What the launcher could have given, per rank and together.
struct Offer {
  std::vector<CpuSet> cpus;
  std::size_t cores = 0;
};

Offer offer_of(const NodeTopology& topology, std::size_t ranks, const PlacementRequest& request) {
  check(request.offered.empty() || request.offered.size() == ranks, "an offer for each rank of the node");
  Offer offer{.cpus = request.offered.empty() ? std::vector<CpuSet>(ranks, topology.allowed) : request.offered};
  offer.cores = cores_among(topology, united(offer.cpus));
  return offer;
}

void warn_about_threads(const NodeTopology& topology, const Offer& offer, std::size_t cores, const PlacementRequest& request,
                        RankPlacement& rank) {
  const CoreUse use = choose_core_use(static_cast<int>(cores), request);
  if (!rank.is_crowded && request.comm_cores > use.reserved) {
    rank.warnings.push_back(
        to_text(Fault{.doing = "reserving cores for the comm thread",
                      .expected = "at least one core left to compute on",
                      .found = counted(static_cast<std::size_t>(request.comm_cores), "core") + " of " + std::to_string(cores) +
                               " asked for: " + std::to_string(use.reserved) + " reserved",
                      .remedy = "a smaller --comm-cores"}));
  }
  const int compute = rank.is_crowded ? 1 : use.compute;
  if (rank.placement.threads <= compute) return;
  const std::size_t ranks = offer.cpus.size();
  const bool could_have_more = offer.cores / ranks > cores || (rank.is_crowded && offer.cores >= ranks);
  const std::string best = std::to_string(compute);
  rank.warnings.push_back(to_text(Fault{
      .doing = "placing the threads of a rank",
      .expected = "a core for each of " + counted(static_cast<std::size_t>(rank.placement.threads), "thread") +
                  (request.threads_by.empty() ? "" : ", as " + request.threads_by + " in the environment asks for"),
      .found = counted(cores, "core") + " (CPUs " + cpu_list(rank.cpus) + "): threads will wait for each other",
      .remedy = could_have_more
                    ? launcher_remedy(topology, ranks, offer.cores, request.launcher)
                    : std::string(request.threads_by.empty() ? "" : "unset OMP_NUM_THREADS, or ") + "--threads " + best}));
}

/// The tightest of the limits on a rank's CPU time.
struct QuotaShare {
  double cpus = 0.0;      ///< that the cgroup grants to its ranks together
  std::size_t ranks = 0;  ///< in it; 0: there is no limit

  double cpus_of_rank() const { return cpus / static_cast<double>(ranks) + 1e-9; }
  std::size_t cores_of_rank() const { return static_cast<std::size_t>(std::max(1.0, std::floor(cpus_of_rank()))); }
  std::string text() const {
    std::string number = std::to_string(cpus).substr(0, 6);
    number.erase(number.find_last_not_of('0') + 1);
    if (number.back() == '.') number.pop_back();
    return number + " CPU seconds a second" + (ranks > 1 ? " to " + counted(ranks, "rank") + " together" : "");
  }
};

/// Ranks that such a limit gives a CPU each; at least one.
std::size_t most_ranks_of(double cpus) { return static_cast<std::size_t>(std::max(1.0, std::floor(cpus + 1e-9))); }

std::vector<QuotaShare> quota_shares(const NodeTopology& topology, std::size_t ranks, const PlacementRequest& request) {
  std::vector<std::vector<CpuLimit>> limits = request.cpu_limits;
  if (limits.empty() && topology.cpu_quota > 0.0) limits.assign(ranks, {{.cpus = topology.cpu_quota, .group = "all"}});
  limits.resize(ranks);
  std::map<std::string, std::size_t> members;
  for (const std::vector<CpuLimit>& of_rank : limits) {
    for (const CpuLimit& limit : of_rank) ++members[limit.group];
  }
  std::vector<QuotaShare> shares(ranks);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    for (const CpuLimit& limit : limits[rank]) {
      const QuotaShare share{.cpus = limit.cpus, .ranks = members[limit.group]};
      if (shares[rank].ranks == 0 || share.cpus_of_rank() < shares[rank].cpus_of_rank()) shares[rank] = share;
    }
  }
  return shares;
}

/// What concerns the node as a whole: more ranks than cores, a launcher that gave little of the machine, very different shares.
/// Cores that ranks share although there are others are find_shared_cores's matter.
std::vector<std::string> node_warnings(const NodeTopology& topology, const Offer& offer, const std::vector<CoreShare>& shares,
                                       const std::vector<QuotaShare>& quotas, const PlacementRequest& request) {
  std::vector<std::string> warnings;
  const std::size_t ranks = shares.size();
  const std::string remedy = launcher_remedy(topology, ranks, offer.cores, request.launcher);
  const std::vector<CoreShare> possible = share_cores(topology, offer.cpus);
  std::size_t most_ranks = ranks;  // by the quotas
  for (const QuotaShare& quota : quotas) {
    if (quota.ranks == ranks) most_ranks = std::min(most_ranks, most_ranks_of(quota.cpus));
  }
  std::set<int> used;
  std::size_t smallest = shares.front().cores.size();
  std::size_t largest = smallest;
  bool is_divided = false;
  bool is_crowded = false;
  std::vector<CpuSet> too_few;  // of ranks that no binding could give a core of their own
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    used.insert(shares[rank].cores.begin(), shares[rank].cores.end());
    smallest = std::min(smallest, shares[rank].cores.size());
    largest = std::max(largest, shares[rank].cores.size());
    is_divided = is_divided || (rank > 0 && shares[rank].group == shares[0].group);
    is_crowded = is_crowded || shares[rank].is_crowded;
    if (shares[rank].is_crowded && possible[rank].is_crowded) too_few.push_back(offer.cpus[rank]);
  }
  if (!too_few.empty()) {
    const std::size_t cores = cores_among(topology, united(too_few));
    warnings.push_back(to_text(Fault{.doing = "sharing the cores of a node",
                                     .expected = "a core for each of " + counted(too_few.size(), "rank"),
                                     .found = counted(cores, "core") + ": threads are not bound and ranks wait for each other",
                                     .remedy = "at most " + counted(std::min(cores, most_ranks), "rank") + " on this node"}));
  } else if (!is_crowded && request.launcher != Launcher::none && 2 * used.size() <= offer.cores) {
    warnings.push_back(to_text(Fault{
        .doing = "sharing the cores of a node",
        .expected = "most of its " + counted(offer.cores, "core"),
        .found = counted(used.size(), "core") + " (" + counted(ranks, "rank") + " bound by the launcher): the others stay idle",
        .remedy = remedy}));
  }
  if (!is_crowded && !is_divided && largest >= 2 * smallest && largest > smallest + 1) {
    warnings.push_back(
        to_text(Fault{.doing = "sharing the cores of a node",
                      .expected = "equal shares, since every step waits for the slowest rank",
                      .found = "ranks bound by the launcher to " + std::to_string(smallest) + " … " + counted(largest, "core"),
                      .remedy = remedy}));
  }
  return warnings;
}

/// Shortens the ranks' shares to what the cgroups' quotas grant them.
void apply_quotas(const std::vector<QuotaShare>& quotas, std::vector<CoreShare>& shares, std::vector<std::string>& warnings) {
  std::size_t longest = 0;
  const QuotaShare* shortening = nullptr;
  const QuotaShare* below_one = nullptr;
  for (std::size_t rank = 0; rank < shares.size(); ++rank) {
    const QuotaShare& quota = quotas[rank];
    if (quota.ranks == 0) continue;
    if (quota.cpus_of_rank() < 1.0 && (below_one == nullptr || quota.cpus_of_rank() < below_one->cpus_of_rank())) {
      below_one = &quota;
    }
    if (shares[rank].is_crowded) continue;
    longest = std::max(longest, shares[rank].cores.size());
    if (shares[rank].cores.size() <= quota.cores_of_rank()) continue;
    shares[rank].cores.resize(quota.cores_of_rank());
    if (shortening == nullptr || quota.cores_of_rank() < shortening->cores_of_rank()) shortening = &quota;
  }
  const std::string larger_limit = "a larger CPU limit for this container or job";
  if (below_one != nullptr) {
    const std::size_t most = most_ranks_of(below_one->cpus);
    const std::string wait = below_one->ranks > 1 ? ": ranks wait for each other" : ": its thread is stopped again and again";
    warnings.push_back(to_text(Fault{
        .doing = "sharing the CPU time of a node",
        .expected = std::string("a CPU for ") + (below_one->ranks > 1 ? "each of " : "") + counted(below_one->ranks, "rank"),
        .found = "a cgroup that grants " + below_one->text() + wait,
        .remedy = below_one->ranks > 1 ? "at most " + counted(most, "rank") + " here, or " + larger_limit : larger_limit}));
  } else if (shortening != nullptr) {
    warnings.push_back(to_text(Fault{
        .doing = "sharing the cores of a node",
        .expected = counted(longest, "core") + " a rank",
        .found = "a cgroup that grants " + shortening->text() + ": " + counted(shortening->cores_of_rank(), "core") + " a rank",
        .remedy = larger_limit}));
  }
}

}  // namespace

BindPolicy parse_bind_policy(std::string_view name) {
  if (name == "auto") return BindPolicy::automatic;
  if (name == "core") return BindPolicy::core;
  if (name == "numa") return BindPolicy::numa;
  if (name == "socket") return BindPolicy::socket;
  if (name == "none") return BindPolicy::none;
  throw ConfigError(
      Fault{.doing = "--bind", .expected = "auto, core, numa, socket or none", .found = "'" + std::string(name) + "'"});
}

std::string launcher_remedy(const NodeTopology& topology, std::size_t ranks, std::size_t cores, Launcher launcher) {
  const bool is_srun = launcher == Launcher::srun;
  const std::string unbound =
      (is_srun ? "srun --cpu-bind=none" : "mpirun --bind-to none") + std::string(" … (dtrain then divides the cores itself)");
  if (cores < ranks) return unbound;
  const std::string share = std::to_string(cores / ranks);
  if (is_srun) return unbound + ", or srun --cpus-per-task=" + share + " --cpu-bind=cores …";
  const auto domains = static_cast<std::size_t>(topology.numa_domains);
  const std::string where = ranks % domains == 0 ? std::to_string(ranks / domains) + ":numa" : std::to_string(ranks) + ":node";
  return unbound + ", or mpirun --map-by ppr:" + where + ":PE=" + share + " --bind-to core …";
}

std::size_t cores_among(const NodeTopology& topology, const CpuSet& cpus) {
  return static_cast<std::size_t>(std::count_if(topology.cores.begin(), topology.cores.end(), [&](const Core& core) {
    return std::any_of(core.cpus.begin(), core.cpus.end(), [&](int cpu) { return contains(cpus, cpu); });
  }));
}

std::vector<RankPlacement> plan_placement(const NodeTopology& topology, const std::vector<CpuSet>& usable,
                                          const PlacementRequest& request) {
  check(!usable.empty(), "a node has at least one rank");
  std::vector<CoreShare> shares = share_cores(topology, usable);
  for (const CoreShare& share : shares) check(!share.cores.empty(), "a rank may use at least one core of its node");
  const Offer offer = offer_of(topology, usable.size(), request);
  const std::vector<QuotaShare> quotas = quota_shares(topology, usable.size(), request);
  std::vector<std::string> for_all = node_warnings(topology, offer, shares, quotas, request);
  apply_quotas(quotas, shares, for_all);

  std::vector<RankPlacement> ranks(usable.size());
  for (std::size_t rank = 0; rank < usable.size(); ++rank) {
    const std::vector<int>& cores = shares[rank].cores;
    RankPlacement& plan = ranks[rank];
    plan.is_crowded = shares[rank].is_crowded;
    std::set<int> domains;
    for (const int index : cores) {
      domains.insert(core_at(topology, index).numa);
      for (const int cpu : core_at(topology, index).cpus) {
        if (contains(usable[rank], cpu)) plan.cpus.push_back(cpu);
      }
    }
    plan.cpus = sorted(std::move(plan.cpus));
    plan.numa_domains = {domains.begin(), domains.end()};
    if (plan.is_crowded) {
      place_crowded(plan, request);
    } else {
      // Ranks that divided their cores among themselves compute equally wide: the slowest sets the pace of all, and a core that
      // could not be divided serves the comm and loader threads of the rank that has it.
      int compute_limit = choose_core_use(static_cast<int>(cores.size()), request).compute;
      for (const CoreShare& partner : shares) {
        if (partner.group != shares[rank].group) continue;
        compute_limit = std::min(compute_limit, choose_core_use(static_cast<int>(partner.cores.size()), request).compute);
      }
      place_alone(topology, cores, usable[rank], compute_limit, request, plan);
    }
    warn_about_threads(topology, offer, cores.size(), request, plan);
    plan.placement.summary = summary_of(plan);
  }
  ranks.front().warnings.insert(ranks.front().warnings.begin(), for_all.begin(), for_all.end());
  return ranks;
}

}  // namespace dtrain
