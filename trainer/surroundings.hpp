// What shapes the bits of a run beside its options: the ranks' threads, nodes and CPUs, the libraries, and the data.
#pragma once

#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "dtrain/data.hpp"

namespace dtrain {

/// One value for all ranks, or, where they differ, "2 ×3, 4 ×1": runs of consecutive ranks.
std::string value_of_ranks(const std::vector<std::string>& values);

struct OwnSurroundings {
  int threads = 1;               ///< of this rank
  bool nodes_shape_bits = true;  ///< false: gradients are the same whichever ranks share a node
};

/// "key=value" lines, as a recipe's. Collective over the ranks that train; the same on all of them.
std::string gather_surroundings(const OwnSurroundings& own, const Dataset& training, const Communicator& communicator);

}  // namespace dtrain
