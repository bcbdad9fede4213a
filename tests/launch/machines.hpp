// What tests of placement say of machines.
#pragma once

#include <vector>

#include "launch/topology.hpp"

namespace dtrain {

inline constexpr const char* kTwoSockets = "package:2 numa:1 core:24 pu:1";
inline constexpr const char* kTwoSocketsSmt = "package:2 numa:1 core:24 pu:2";  ///< core c has CPUs 2c and 2c+1

/// Every rank may use all that the machine allows.
inline std::vector<CpuSet> same_for_all(const NodeTopology& machine, int ranks) {
  return std::vector<CpuSet>(static_cast<std::size_t>(ranks), machine.allowed);
}

}  // namespace dtrain
