// Plan of the ring all-reduce: bandwidth-optimal for any number of ranks, at the price of 2(size−1) steps.
#pragma once

#include <vector>

#include "schedules/exchange.hpp"

namespace dtrain {

/// Steps of one rank that sum `whole` over `size` ranks. Empty for one rank.
/// Cost: 2(size−1) steps, each of which sends one of `size` blocks: 2(size−1)/size of the elements.
/// Source: Patarasuk & Yuan, JPDC 69 (2009) 117–124.
std::vector<ExchangeStep> ring_steps(int size, int rank, Range whole);

}  // namespace dtrain
