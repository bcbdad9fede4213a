// Which ranks of this job are stopped on this machine, found without MPI: from before the ranks know each other until after
// they have parted.
#pragma once

#include <cstdint>
#include <vector>

#include "collectives/launcher.hpp"

namespace dtrain {

struct StoppedRank {
  int rank = 0;
  std::int64_t pid = 0;

  bool operator==(const StoppedRank&) const = default;
};

/// In the order of ranks; none where no launcher gave this process a rank. A rank is known by the environment that its launcher
/// started it with, so only processes of the same user are seen. Cost: reads /proc/PID/stat of every process of the machine.
std::vector<StoppedRank> find_stopped_ranks(const Environment& environment);

}  // namespace dtrain
