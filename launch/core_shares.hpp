// Divides the cores of a node among its ranks: pure. Which threads then run on a rank's cores is placement_plan's matter.
#pragma once

#include <vector>

#include "launch/topology.hpp"

namespace dtrain {

/// Cores of one rank, as indices into NodeTopology::cores, ascending.
struct CoreShare {
  std::vector<int> cores;
  bool is_crowded = false;  ///< fewer cores than ranks: these cores belong to other ranks as well
  int group = 0;            ///< ranks whose usable CPUs touch the same cores are one group and divide them
};

/// Gives every rank its cores. Ranks that may use cores of their own (the launcher bound them) keep these; ranks that may use
/// the same cores divide them: equally (shares differ by at most one core), without overlap, and inside one NUMA domain
/// wherever an equal share fits into one. usable: CPUs of each rank of the node. Example: 2 domains of 24 cores, 3 ranks: 16
/// cores of domain 0, 16 of domain 1, and 8 + 8 that were left.
std::vector<CoreShare> share_cores(const NodeTopology& topology, const std::vector<CpuSet>& usable);

/// For each rank, how many ranks of its group the fullest core must have, however they are spread; 1: a core for each.
std::vector<int> least_ranks_on_a_core(const NodeTopology& topology, const std::vector<CpuSet>& usable);

}  // namespace dtrain
