// Decides where the threads of every rank of a node run: pure, so that it is tested on machines nobody has at hand.
// Carried out by launch/binding.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launch/topology.hpp"
#include "trainer/placement.hpp"

namespace dtrain {

/// To what a compute thread is bound: its core, the rank's cores in the thread's NUMA domain or package, or nothing.
/// automatic: core, or nothing where ranks have to share cores.
enum class BindPolicy { automatic, core, numa, socket, none };
/// "auto", "core", "numa", "socket", "none". Errors: ConfigError.
BindPolicy parse_bind_policy(std::string_view name);

/// What started the ranks, for advice in its own spelling.
enum class Launcher { none, mpirun, srun };

struct PlacementRequest {
  int threads = 0;           ///< compute threads a rank; 0: one per core
  std::string threads_by{};  ///< what asked for them: "OMP_NUM_THREADS=8"; empty: --threads
  int most_threads = 0;      ///< that the OpenMP run-time gives to a process; 0: any number
  int comm_cores = -1;       ///< cores reserved for the comm thread; −1: chosen
  BindPolicy bind = BindPolicy::automatic;
  int workers = 0;   ///< loader threads; 0: chosen
  int ranks = 1;     ///< of the whole run: a single one has nothing to exchange
  int machines = 1;  ///< on which they are
  Launcher launcher = Launcher::none;
  std::vector<std::vector<CpuLimit>> cpu_limits{};  ///< per rank of the node, of all its cgroups; empty: the topology's for all
  std::vector<CpuSet> offered;  ///< per rank of the node, what the launcher could give it; empty: all that is allowed
};

/// Between machines, ranks with at least this many cores give one of them to the comm thread. With c cores and B pictures,
/// ResNet-50 computes for B/(4.7·c) s on the measured CPU; a core less makes that longer by 1/(c−1); none makes it longer by
/// the CPU time of the exchange, for the slowest thread is waited for: 87 ms of 102 MB over TCP at 10 Gb/s, in which it pays
/// where c·(c−1) > 2.45·B, from 13 cores for 64 pictures; 7 ms through shared memory, in which it hardly ever does.
inline constexpr int kCommCoreFrom = 16;

struct RankPlacement {
  Placement placement;  ///< without callbacks
  CpuSet cpus;          ///< all hardware threads of the rank's cores that it may use
  std::vector<int> numa_domains;
  bool is_crowded = false;            ///< shares its cores with other ranks
  int usual_threads = 1;              ///< that it would have, were none asked for
  bool is_thread_limited = false;     ///< it would have more without most_threads
  std::vector<std::string> warnings;  ///< what the user should know; those of the whole node stand with its first rank
};

/// Places the ranks of one node; entry i belongs to the rank with usable CPUs `usable[i]`.
/// No core is given to two ranks unless there are fewer cores than ranks; a comm core is never a compute core; there is one
/// compute thread per core unless more were asked for; loader threads get sibling hardware threads or spare cores, and share
/// the compute cores where there are neither.
std::vector<RankPlacement> plan_placement(const NodeTopology& topology, const std::vector<CpuSet>& usable,
                                          const PlacementRequest& request);

/// What the launcher should have been told for `ranks` ranks on a node of this kind, of which they may have so many cores.
std::string launcher_remedy(const NodeTopology& topology, std::size_t ranks, std::size_t cores, Launcher launcher);

/// Cores that have one of these CPUs.
std::size_t cores_among(const NodeTopology& topology, const CpuSet& cpus);

}  // namespace dtrain
