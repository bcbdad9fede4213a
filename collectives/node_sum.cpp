// Three ranks sum a slice that is cut into three shards:
//
//   segment 0  [aaaa|bbbb|cccc]
//   segment 1  [aaaa|bbbb|cccc]   rank 0 sums a, rank 1 b, rank 2 c, out of all three segments
//   segment 2  [aaaa|bbbb|cccc]
#include "collectives/node_sum.hpp"

#include <algorithm>
#include <cstddef>

#include "collectives/sum_kernels.hpp"

namespace dtrain {

Range node_shard(const Range& slice, int count, int index, std::int64_t alignment) {
  const auto begin_of = [&](int shard) {
    if (shard == 0) return slice.begin;
    if (shard == count) return slice.end;
    const std::int64_t even = split_range(slice, count, shard).begin;
    return std::clamp((even + alignment - 1) / alignment * alignment, slice.begin, slice.end);
  };
  return {begin_of(index), begin_of(index + 1)};
}

void sum_on_node(NodeWindow& window, const Range& slice, const WaitPolicy& wait) {
  if (window.node_size() == 1 || slice.size() == 0) return;
  const Range shard = node_shard(slice, window.node_size(), window.node_rank());
  window.barrier(wait, "summing in the node's shared memory, before");
  const std::span<float* const> rows = window.rows(shard.begin);
  sum_kernels().sum_into_all_rows(rows.data(), rows.size(), shard.size());
  window.barrier(wait, "summing in the node's shared memory, after");
}

void sum_range_on_node(NodeWindow& window, const Range& range) {
  if (window.node_size() == 1 || range.size() == 0) return;
  const std::span<float* const> rows = window.rows(range.begin);
  sum_kernels().sum_rows(window.own().data() + range.begin, rows.data(), rows.size(), range.size());
}

void gather_shards_on_node(NodeWindow& window, const Range& slice, int shards, const WaitPolicy& wait, std::int64_t alignment) {
  if (window.node_size() == 1 || slice.size() == 0) return;
  window.barrier(wait, "gathering shards in the node's shared memory, before");
  for (int owner = 0; owner < shards; ++owner) {
    if (owner == window.node_rank()) continue;
    const Range shard = node_shard(slice, shards, owner, alignment);
    std::copy_n(window.segment(owner).data() + shard.begin, shard.size(), window.own().data() + shard.begin);
  }
  window.barrier(wait, "gathering shards in the node's shared memory, after");
}

}  // namespace dtrain
