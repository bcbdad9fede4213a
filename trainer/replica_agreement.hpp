// Whether the replicas still are replicas: an exchange that went wrong, bad memory or a bug of one library would otherwise show
// as a worse accuracy, weeks later.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "dtrain/parameters.hpp"

namespace dtrain {

/// Compares the weights of all ranks, bit by bit, by 64-bit hashes. Collective; the weights are up to date.
/// Cost: reads the weights once (20 ms for ResNet-50), one small all-gather. Errors: CommError on all ranks: names the first
/// slot that differs, the ranks that have other bits than rank 0, and their hosts.
void require_equal_replicas(const ParameterStore& parameters, const Communicator& communicator, std::int64_t step);

}  // namespace dtrain
