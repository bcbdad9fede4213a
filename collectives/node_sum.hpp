// Sums over the ranks of a node, straight out of and into their shared window: no message, and no copy where none is asked for.
#pragma once

#include "collectives/node_window.hpp"
#include "collectives/waiting.hpp"
#include "schedules/shards.hpp"

namespace dtrain {

inline constexpr std::int64_t kLineElements = 16;  ///< floats of a cache line

/// Shard `index` of `count` of a slice: cut at multiples of `alignment`, at least cache lines, so that no two ranks write the
/// same one.
Range node_shard(const Range& slice, int count, int index, std::int64_t alignment = kLineElements);

/// Sums a slice of every rank's segment, in place: rank r of the node sums shard r out of all segments and stores the sum into
/// all of them. Cost: each rank reads and writes 4 bytes an element; two barriers. Result: bitwise equal on all ranks;
/// association order is that of the node ranks. Errors: CommError: a rank of the node did not come in time.
void sum_on_node(NodeWindow& window, const Range& slice, const WaitPolicy& wait);

/// The sum of a range over the node's segments, into this rank's own. No barrier: the other ranks have written the range
/// before, and do not write it until this has returned.
void sum_range_on_node(NodeWindow& window, const Range& range);

/// Rank r of the first `shards` of the node holds the sum of shard r, cut at multiples of `alignment`: every rank copies the
/// others. Two barriers, around the copies.
void gather_shards_on_node(NodeWindow& window, const Range& slice, int shards, const WaitPolicy& wait,
                           std::int64_t alignment = kLineElements);

}  // namespace dtrain
