// Plan of the halving-doubling all-reduce: few steps, for short ranges and many ranks.
#pragma once

#include <vector>

#include "schedules/exchange.hpp"

namespace dtrain {

/// Steps of one rank that sum `whole` over `size` ranks; ranks that have nothing to do in a step have kNobody there.
/// Cost: 2·log₂(size) steps that send 2(size−1)/size of the elements; where `size` is no power of two, two steps more, in which
/// the ranks beyond the largest power of two send all elements to a partner and get the sum back.
/// Source: Thakur, Rabenseifner & Gropp, IJHPCA 19 (2005) 49–66, §4.4.
std::vector<ExchangeStep> halving_doubling_steps(int size, int rank, Range whole);

}  // namespace dtrain
