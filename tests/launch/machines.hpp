// What tests of placement say of machines.
#pragma once

#include <vector>

#include "launch/topology.hpp"

namespace dtrain {

/// Every rank may use all that the machine allows.
inline std::vector<CpuSet> same_for_all(const NodeTopology& machine, int ranks) {
  return std::vector<CpuSet>(static_cast<std::size_t>(ranks), machine.allowed);
}

}  // namespace dtrain
