// Greedy placement of buffers by size; see memory_plan.hpp.
#include "src/nn/memory_plan.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace dtrain::nn {
namespace {

bool alive_at(const Lifetime& buffer, int time) {
  return (buffer.first <= time && time <= buffer.last) || std::ranges::find(buffer.also, time) != buffer.also.end();
}

bool alive_together(const Lifetime& a, const Lifetime& b) {
  return (a.first <= b.last && b.first <= a.last) || std::ranges::any_of(a.also, [&](int time) { return alive_at(b, time); }) ||
         std::ranges::any_of(b.also, [&](int time) { return alive_at(a, time); });
}

}  // namespace

ArenaPlan plan_arena(const std::vector<Lifetime>& buffers) {
  ArenaPlan plan;
  plan.offsets.assign(buffers.size(), 0);

  std::vector<std::size_t> by_size(buffers.size());
  std::iota(by_size.begin(), by_size.end(), std::size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](std::size_t a, std::size_t b) { return buffers[a].size_bytes > buffers[b].size_bytes; });

  std::vector<std::size_t> placed;  // by offset
  for (const std::size_t buffer : by_size) {
    const std::size_t size = aligned_size(buffers[buffer].size_bytes);
    std::size_t best = SIZE_MAX;
    std::size_t best_gap = SIZE_MAX;
    std::size_t free_from = 0;
    for (const std::size_t other : placed) {
      if (!alive_together(buffers[buffer], buffers[other])) continue;
      const std::size_t begin = plan.offsets[other];
      if (begin >= free_from + size && begin - free_from < best_gap) {
        best = free_from;
        best_gap = begin - free_from;
      }
      free_from = std::max(free_from, begin + aligned_size(buffers[other].size_bytes));
    }
    plan.offsets[buffer] = best == SIZE_MAX ? free_from : best;
    plan.size_bytes = std::max(plan.size_bytes, plan.offsets[buffer] + size);
    const auto place = std::upper_bound(placed.begin(), placed.end(), plan.offsets[buffer],
                                        [&](std::size_t offset, std::size_t other) { return offset < plan.offsets[other]; });
    placed.insert(place, buffer);
  }
  return plan;
}

}  // namespace dtrain::nn
