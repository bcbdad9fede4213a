// Where all ranks of a run are: brings together what each rank may use, places this rank, and prints the map of a node.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "dtrain/error.hpp"
#include "launch/placement_plan.hpp"

namespace dtrain {

/// Rank of this process and (at least this) number of processes as the launcher's environment tells them, before MPI is
/// started.
struct LaunchedAs {
  int rank = 0;
  int size = 1;
  Launcher launcher = Launcher::none;
};
LaunchedAs read_launcher_environment();

/// The plan of all ranks on this rank's machine. Machines are told apart by the kernel they run, not by name: containers on one
/// machine share its cores, and so do several "nodes" that --ranks-per-node makes of one machine.
struct MachinePlan {
  std::string host;
  NodeTopology topology;
  std::vector<int> ranks;             ///< world ranks on this machine, ascending
  std::vector<RankPlacement> places;  ///< one for each of them
  std::size_t self = 0;               ///< index of the calling rank
  CpuSet usable{};                    ///< of the calling rank
  CpuSet offered{};                   ///< what its launcher could have given it
  std::optional<Fault> shared_cores;  ///< the launcher bound ranks of this machine to the same cores

  const RankPlacement& own() const { return places[self]; }
};

/// Collective: every rank tells the others what it may use and could have been given, and plans its machine. What the request
/// says of the whole run and of the launcher is set here.
MachinePlan plan_machine(const Communicator& communicator, PlacementRequest request);

/// The map of one machine as `dtrain topo` prints it.
std::string map_text(const MachinePlan& plan);

/// Collective: the texts of all ranks, equal ones once, each with the rank and host it came from and how many others said the
/// same; on the root (elsewhere empty).
std::vector<std::string> gather_remarks(const Communicator& communicator, const std::vector<std::string>& remarks);

}  // namespace dtrain
