// What the buckets of an exchange are called in reports: their number, the layers whose gradients they carry, size and
// algorithm.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dtrain/parameters.hpp"
#include "schedules/algorithms.hpp"
#include "schedules/shards.hpp"

namespace dtrain {

/// "bucket 2 of 9 (layer4.1.conv1 … layer4.2.conv2, 8388608 bytes) by ring", one for each bucket. Layers stand in the order of
/// the network, the reverse of the arena's. What lies behind all slots is "the step's sums".
std::vector<std::string> bucket_names(const std::vector<Range>& buckets, const std::vector<Slot>& trained_slots,
                                      const AlgorithmTable& algorithms);

}  // namespace dtrain
