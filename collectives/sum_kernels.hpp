// The additions of the all-reduces, for the widest vectors that the processor has. Every element is summed in the order of
// the rows, so the bits depend neither on the vector width nor on the operation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace dtrain {

/// The operations for one instruction set. Counts are in elements; memory of an operation's arguments does not overlap.
struct SumKernels {
  const char* instruction_set = "";
  /// rows[k][i] ← rows[0][i] + rows[1][i] + …, for all k < row_count, i < count; row_count ≥ 1. Cost: each row read and written
  /// once.
  void (*sum_into_all_rows)(float* const* rows, std::size_t row_count, std::int64_t count) = nullptr;
  /// dst[i] ← rows[0][i] + rows[1][i] + …, i < count. dst may be one of the rows.
  void (*sum_rows)(float* dst, float* const* rows, std::size_t row_count, std::int64_t count) = nullptr;
  /// dst[i] ← dst[i] + src[i], i < count.
  void (*add_into)(float* dst, const float* src, std::int64_t count) = nullptr;
  /// The same with src in bf16, added in f32.
  void (*add_bf16_into)(float* dst, const std::uint16_t* src, std::int64_t count) = nullptr;
  /// dst[i] ← src[i], rounded to the nearest bf16, ties to even; not-a-numbers stay that, what is too large becomes infinite.
  void (*round_to_bf16)(std::uint16_t* dst, const float* src, std::int64_t count) = nullptr;
  /// dst[i] ← src[i], exactly.
  void (*expand_bf16)(float* dst, const std::uint16_t* src, std::int64_t count) = nullptr;
};

/// Those that this processor can run, widest first; never empty.
std::vector<SumKernels> supported_sum_kernels();
/// The first of them, chosen once.
const SumKernels& sum_kernels();

}  // namespace dtrain
