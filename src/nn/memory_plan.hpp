// Places buffers with known lifetimes into one arena, so that those never alive together share memory.
// Pure: knows nothing of layers or oneDNN.
#pragma once

#include <cstddef>
#include <vector>

namespace dtrain::nn {

/// A buffer that is alive from time `first` to time `last`, both included, and at some times apart.
struct Lifetime {
  std::size_t size_bytes = 0;
  int first = 0;
  int last = 0;
  std::vector<int> also{};
};

struct ArenaPlan {
  std::vector<std::size_t> offsets;  ///< per buffer, multiples of kArenaAlignment
  std::size_t size_bytes = 0;
};

inline constexpr std::size_t kArenaAlignment = 64;
/// Bytes up to the next multiple of kArenaAlignment.
constexpr std::size_t aligned_size(std::size_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

/// Greedy by size: the largest buffer first, each at the lowest gap among the placed buffers that overlap it in time.
/// Cost: quadratic in the number of buffers. Source: Pisarchyk & Lee 2020, "greedy by size".
ArenaPlan plan_arena(const std::vector<Lifetime>& buffers);

}  // namespace dtrain::nn
