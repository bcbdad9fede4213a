// One body per operation, compiled for two instruction sets and chosen once at run time. Wider vectors than AVX2's gain
// nothing: memory and cache set the pace. Loads and stores are plain: the lines that are written have just been read, so
// streaming stores would save no traffic.
#include "collectives/sum_kernels.hpp"

#include <bit>
#include <cstddef>

namespace dtrain {

namespace {

/// What one AVX2 register holds; the compiler splits it where registers are narrower.
constexpr std::int64_t kLanes = 8;
using Lanes [[gnu::vector_size(32), gnu::aligned(4), gnu::may_alias]] = float;

inline const Lanes& lanes_at(const float* values) { return *reinterpret_cast<const Lanes*>(values); }
inline Lanes& lanes_at(float* values) { return *reinterpret_cast<Lanes*>(values); }

/// Two cache lines at a time: the sums stay in four registers while the rows pass by.
[[gnu::always_inline]] inline void sum_into_all(float* const* rows, std::size_t row_count, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    const float* first = rows[0] + i;
    Lanes total0 = lanes_at(first);
    Lanes total1 = lanes_at(first + kLanes);
    Lanes total2 = lanes_at(first + 2 * kLanes);
    Lanes total3 = lanes_at(first + 3 * kLanes);
    for (std::size_t row = 1; row < row_count; ++row) {
      const float* src = rows[row] + i;
      total0 += lanes_at(src);
      total1 += lanes_at(src + kLanes);
      total2 += lanes_at(src + 2 * kLanes);
      total3 += lanes_at(src + 3 * kLanes);
    }
    for (std::size_t row = 0; row < row_count; ++row) {
      float* dst = rows[row] + i;
      lanes_at(dst) = total0;
      lanes_at(dst + kLanes) = total1;
      lanes_at(dst + 2 * kLanes) = total2;
      lanes_at(dst + 3 * kLanes) = total3;
    }
  }
  for (; i < count; ++i) {
    float total = rows[0][i];
    for (std::size_t row = 1; row < row_count; ++row) total += rows[row][i];
    for (std::size_t row = 0; row < row_count; ++row) rows[row][i] = total;
  }
}

[[gnu::always_inline]] inline void sum(float* dst, float* const* rows, std::size_t row_count, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    Lanes total0 = lanes_at(rows[0] + i);
    Lanes total1 = lanes_at(rows[0] + i + kLanes);
    for (std::size_t row = 1; row < row_count; ++row) {
      total0 += lanes_at(rows[row] + i);
      total1 += lanes_at(rows[row] + i + kLanes);
    }
    lanes_at(dst + i) = total0;
    lanes_at(dst + i + kLanes) = total1;
  }
  for (; i < count; ++i) {
    float total = rows[0][i];
    for (std::size_t row = 1; row < row_count; ++row) total += rows[row][i];
    dst[i] = total;
  }
}

// bf16 is the upper half of an f32.
inline float expanded(std::uint16_t word) { return std::bit_cast<float>(static_cast<std::uint32_t>(word) << 16); }
inline std::uint16_t rounded(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t nearest = bits + 0x7fffU + ((bits >> 16) & 1U);
  const bool is_nan = (bits & 0x7fffffffU) > 0x7f800000U;
  return static_cast<std::uint16_t>((is_nan ? bits | 0x400000U : nearest) >> 16);
}

[[gnu::always_inline]] inline void add_bf16(float* dst, const std::uint16_t* src, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] += expanded(src[i]);
}
[[gnu::always_inline]] inline void round_all(std::uint16_t* dst, const float* src, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = rounded(src[i]);
}
[[gnu::always_inline]] inline void expand_all(float* dst, const std::uint16_t* src, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = expanded(src[i]);
}

[[gnu::always_inline]] inline void add(float* dst, const float* src, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) lanes_at(dst + i) += lanes_at(src + i);
  for (; i < count; ++i) dst[i] += src[i];
}

void sum_into_all_baseline(float* const* rows, std::size_t row_count, std::int64_t count) {
  sum_into_all(rows, row_count, count);
}
void add_baseline(float* dst, const float* src, std::int64_t count) { add(dst, src, count); }
void sum_baseline(float* dst, float* const* rows, std::size_t row_count, std::int64_t count) {
  sum(dst, rows, row_count, count);
}
void add_bf16_baseline(float* dst, const std::uint16_t* src, std::int64_t count) { add_bf16(dst, src, count); }
void round_baseline(std::uint16_t* dst, const float* src, std::int64_t count) { round_all(dst, src, count); }
void expand_baseline(float* dst, const std::uint16_t* src, std::int64_t count) { expand_all(dst, src, count); }

[[gnu::target("avx2")]] void sum_into_all_avx2(float* const* rows, std::size_t row_count, std::int64_t count) {
  sum_into_all(rows, row_count, count);
}
[[gnu::target("avx2")]] void add_avx2(float* dst, const float* src, std::int64_t count) { add(dst, src, count); }
[[gnu::target("avx2")]] void sum_avx2(float* dst, float* const* rows, std::size_t row_count, std::int64_t count) {
  sum(dst, rows, row_count, count);
}
[[gnu::target("avx2")]] void add_bf16_avx2(float* dst, const std::uint16_t* src, std::int64_t count) {
  add_bf16(dst, src, count);
}
[[gnu::target("avx2")]] void round_avx2(std::uint16_t* dst, const float* src, std::int64_t count) {
  round_all(dst, src, count);
}
[[gnu::target("avx2")]] void expand_avx2(float* dst, const std::uint16_t* src, std::int64_t count) {
  expand_all(dst, src, count);
}

}  // namespace

std::vector<SumKernels> supported_sum_kernels() {
  std::vector<SumKernels> supported;
  if (__builtin_cpu_supports("avx2"))
    supported.push_back({"AVX2", sum_into_all_avx2, sum_avx2, add_avx2, add_bf16_avx2, round_avx2, expand_avx2});
  supported.push_back(
      {"baseline", sum_into_all_baseline, sum_baseline, add_baseline, add_bf16_baseline, round_baseline, expand_baseline});
  return supported;
}

const SumKernels& sum_kernels() {
  static const SumKernels chosen = supported_sum_kernels().front();
  return chosen;
}

}  // namespace dtrain
