// Sums straight out of and into the node-shared window: no copy, no message.
//
//   3 ranks     segment 0  [aaaa|bbbb|cccc]
//               segment 1  [aaaa|bbbb|cccc]   rank 0 sums a and stores it to all three, rank 1 b, rank 2 c
//               segment 2  [aaaa|bbbb|cccc]
#include <algorithm>
#include <cstddef>

#include "collectives/all_reduce.hpp"
#include "collectives/sum_kernels.hpp"
#include "schedules/shards.hpp"

namespace dtrain {

namespace {

/// Where part `part` of the slice begins: cut at cache lines of the segments, so that no two ranks write the same line.
std::int64_t part_begin(const Range& slice, int parts, int part) {
  constexpr std::int64_t kLine = 16;
  if (part == 0) return slice.begin;
  if (part == parts) return slice.end;
  const std::int64_t even = split_range(slice, parts, part).begin;
  return std::clamp((even + kLine - 1) / kLine * kLine, slice.begin, slice.end);
}

}  // namespace

void shm_all_reduce(NodeWindow& window, std::int64_t offset, std::int64_t count, const WaitPolicy& wait) {
  const int size = window.node_size();
  if (size == 1 || count == 0) return;
  const Range slice{offset, offset + count};
  const std::int64_t begin = part_begin(slice, size, window.node_rank());
  const std::int64_t end = part_begin(slice, size, window.node_rank() + 1);
  window.barrier(wait, "summing in the node's shared memory, before");
  const std::span<float* const> rows = window.rows(begin);
  sum_kernels().sum_into_all_rows(rows.data(), rows.size(), end - begin);
  window.barrier(wait, "summing in the node's shared memory, after");
}

}  // namespace dtrain
