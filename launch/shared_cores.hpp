// Ranks that their launcher bound to the same cores although there are others: each waits for the other in every step, and a
// run that is twice as slow as it need be looks like any other. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dtrain/error.hpp"
#include "launch/placement_plan.hpp"

namespace dtrain {

/// What a rank may run on, and what it could have been given.
struct RankCpus {
  int rank = 0;    ///< in the whole run
  CpuSet usable;   ///< by the rank
  CpuSet offered;  ///< by the launcher's own limits: those of the cgroup, the batch system, or a user's taskset around it
};

/// Names the ranks of a machine that share cores with more ranks than they would have to if each had what was offered; none:
/// nobody does. Fewer cores than ranks are no fault, as on a laptop, in a small container or under taskset, while ranks are
/// spread over all of them. Hardware threads of one core count as the same core.
std::optional<Fault> find_shared_cores(const NodeTopology& topology, const std::vector<RankCpus>& ranks, Launcher launcher,
                                       const std::string& host);

}  // namespace dtrain
