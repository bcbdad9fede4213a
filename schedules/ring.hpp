// Plan of the ring all-reduce: who sends which block to whom at each step. Executed by collectives/ring.
#pragma once

#include <cstdint>
#include <vector>

#include "schedules/shards.hpp"

namespace dtrain {

struct RingStep {
  int send_block = 0;     ///< to (rank+1) mod size
  int receive_block = 0;  ///< from (rank−1) mod size
  bool reduces = false;   ///< true: add what arrives (reduce-scatter); false: replace (all-gather)
};

/// Step number `step` of 2(size−1) of one rank.
RingStep ring_step(int size, int rank, int step);
/// All steps of one rank; empty for size 1.
std::vector<RingStep> plan_ring(int size, int rank);

/// α–β–γ cost of one rank.
struct ExchangeCost {
  std::int64_t messages = 0;  ///< block transfers sent; empty blocks are not sent
  std::int64_t bytes_sent = 0;
  std::int64_t elements_reduced = 0;
  std::int64_t steps = 0;
};
/// Cost of summing `elements` floats, cut into one block per rank by split_range.
ExchangeCost ring_cost(int size, int rank, std::int64_t elements);

}  // namespace dtrain
