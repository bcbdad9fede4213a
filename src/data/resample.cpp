// Two passes over bytes. The innermost loops are compiled for several instruction sets and chosen when the program starts; all
// give the same bits because all arithmetic is in integers.
// Source: the algorithm of Pillow's Resample.c (described in its documentation), written anew.
#include "resample.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <memory>

namespace dtrain {
namespace {

constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);
constexpr std::int64_t kChannels = 3;

// Weights are not negative and add up to 2^22 within a rounding of 1/2 each, so sums stay below 256·2^22 = 2^30 and need no
// clamping: 255·(2^22 + taps/2) + 2^21 < 256·2^22 for fewer than 16 000 taps.

// Note [Four rows at a time]: the horizontal pass works on tiles. A tile holds four rows pixel by pixel, four bytes each (the
// fourth is the neighbour's, and ignored): 16 values that are weighted together. 500 × 375 to 224 × 224 takes 0.25 ms with AVX2
// or AVX-512 (pixel by pixel: 0.67), PIL's own order and rounding kept. Sums are vectors of 32 bytes, narrowed in a loop of
// their own, because GCC 12 turns wider vectors and conversions between vectors into scalar code where AVX-512 is missing.
constexpr std::int64_t kTileRows = 4;
constexpr std::int64_t kTileValues = 16;  ///< of a pixel in each of the rows
using Sums [[gnu::vector_size(32)]] = std::int32_t;
struct [[gnu::packed, gnu::may_alias]] SumsInMemory {  ///< at any address
  Sums sums;
};

/// Interleaves four rows, 4 bytes at a time. Each must be readable for one byte beyond its last pixel.
void interleave_rows(const std::array<const std::uint8_t*, kTileRows>& rows, std::int64_t pixels, std::uint8_t* tile) {
  for (std::int64_t x = 0; x < pixels; ++x) {
    for (std::int64_t r = 0; r < kTileRows; ++r) std::memcpy(tile + x * kTileValues + r * 4, rows[r] + x * kChannels, 4);
  }
}

/// The reverse. Each row must be writable for one byte beyond its last pixel.
void separate_rows(const std::uint8_t* tile, std::int64_t pixels, const std::array<std::uint8_t*, kTileRows>& rows) {
  for (std::int64_t x = 0; x < pixels; ++x) {
    for (std::int64_t r = 0; r < kTileRows; ++r) std::memcpy(rows[r] + x * kChannels, tile + x * kTileValues + r * 4, 4);
  }
}

/// Undoes the scale of the weights.
[[gnu::target_clones("avx512f", "avx2", "default")]] void narrow_sums(const std::int32_t* src, std::int64_t count,
                                                                      std::uint8_t* dst) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = static_cast<std::uint8_t>(src[i] >> kWeightBits);
}

/// Weights the pixels of a tile: `pixels` × 16 sums.
[[gnu::target_clones("avx512f", "avx2", "default")]] void filter_tile(const std::uint8_t* tile, const FilterTaps& taps,
                                                                      std::int64_t pixels, std::int32_t* dst) {
  for (std::int64_t i = 0; i < pixels; ++i) {
    const std::uint8_t* src = tile + taps.first[i] * kTileValues;
    const std::int32_t* weights = taps.weights.data() + i * taps.taps;
    Sums low = Sums{} + kHalf, high = low;
    for (std::int64_t t = 0; t < taps.count[i]; ++t) {
      const Sums weight = Sums{} + weights[t];
      Sums first_rows, last_rows;
      for (int j = 0; j < kTileValues / 2; ++j) first_rows[j] = src[t * kTileValues + j];
      for (int j = 0; j < kTileValues / 2; ++j) last_rows[j] = src[t * kTileValues + kTileValues / 2 + j];
      low += first_rows * weight;
      high += last_rows * weight;
    }
    auto* sums = reinterpret_cast<SumsInMemory*>(dst + i * kTileValues);
    sums[0].sums = low;
    sums[1].sums = high;
  }
}

/// One row of the vertical pass: bytes of `count` rows, weighted.
[[gnu::target_clones("avx512f", "avx2", "default")]] void blend_rows(const std::uint8_t* rows, std::int64_t stride_bytes,
                                                                     const std::int32_t* weights, std::int32_t count,
                                                                     std::int64_t bytes, std::uint8_t* dst) {
  constexpr std::int64_t kBlock = 64;
  std::int64_t i = 0;
  for (; i + kBlock <= bytes; i += kBlock) {
    std::int32_t sum[kBlock];
    for (std::int64_t j = 0; j < kBlock; ++j) sum[j] = kHalf;
    for (std::int32_t t = 0; t < count; ++t) {
      const std::uint8_t* src = rows + t * stride_bytes + i;
      const std::int32_t weight = weights[t];
      for (std::int64_t j = 0; j < kBlock; ++j) sum[j] += weight * src[j];
    }
    for (std::int64_t j = 0; j < kBlock; ++j) dst[i + j] = static_cast<std::uint8_t>(sum[j] >> kWeightBits);
  }
  for (; i < bytes; ++i) {
    std::int32_t sum = kHalf;
    for (std::int32_t t = 0; t < count; ++t) sum += weights[t] * rows[t * stride_bytes + i];
    dst[i] = static_cast<std::uint8_t>(sum >> kWeightBits);
  }
}

bool is_copy(const Span1d& span) {
  return span.begin == std::floor(span.begin) && span.end - span.begin == static_cast<double>(span.scaled);
}

/// Horizontal pass over all rows of src, to rows of `across.window_count` pixels, dst_stride_bytes apart: at least one byte
/// more than they hold.
void filter_columns(const PictureView& src, const Span1d& across, std::uint8_t* dst, std::int64_t dst_stride_bytes) {
  const FilterTaps taps = plan_taps(across);
  const auto values = static_cast<std::size_t>(std::max(src.width, across.window_count) * kTileValues);
  const auto tile = std::make_unique_for_overwrite<std::uint8_t[]>(values);
  const auto sums = std::make_unique_for_overwrite<std::int32_t[]>(values);
  // The byte behind the last row may not be ours to read.
  const auto row_bytes = static_cast<std::size_t>(src.width * kChannels);
  const auto last_row = std::make_unique_for_overwrite<std::uint8_t[]>(row_bytes + 1);
  std::memcpy(last_row.get(), src.rgb + (src.height - 1) * src.stride_bytes, row_bytes);
  last_row[row_bytes] = 0;

  for (std::int64_t y = 0; y < src.height; y += kTileRows) {
    std::array<const std::uint8_t*, kTileRows> src_rows{};
    std::array<std::uint8_t*, kTileRows> dst_rows{};
    for (std::int64_t r = 0; r < kTileRows; ++r) {  // in the last tile the last row may come several times
      const std::int64_t row = std::min(y + r, src.height - 1);
      src_rows[r] = row == src.height - 1 ? last_row.get() : src.rgb + row * src.stride_bytes;
      dst_rows[r] = dst + row * dst_stride_bytes;
    }
    interleave_rows(src_rows, src.width, tile.get());
    filter_tile(tile.get(), taps, across.window_count, sums.get());
    narrow_sums(sums.get(), across.window_count * kTileValues, tile.get());
    separate_rows(tile.get(), across.window_count, dst_rows);
  }
}

}  // namespace

FilterTaps plan_taps(const Span1d& span) {
  const double scale = (span.end - span.begin) / static_cast<double>(span.scaled);
  const double support = std::max(scale, 1.0);  // the triangle reaches 1 to each side, stretched when shrinking
  const double steepness = 1.0 / support;
  FilterTaps taps;
  taps.taps = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  const auto pixels = static_cast<std::size_t>(span.window_count);
  taps.first.resize(pixels);
  taps.count.resize(pixels);
  taps.weights.assign(pixels * static_cast<std::size_t>(taps.taps), 0);

  std::vector<double> exact(static_cast<std::size_t>(taps.taps));
  for (std::size_t i = 0; i < pixels; ++i) {
    const double centre = span.begin + (static_cast<double>(span.window_begin) + static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(std::floor(centre - support + 0.5)), 0);
    const auto end = std::min(static_cast<std::int64_t>(std::floor(centre + support + 0.5)), span.extent);
    double total = 0.0;
    for (std::int64_t t = 0; t < end - first; ++t) {
      const double distance = std::abs((static_cast<double>(first + t) - centre + 0.5) * steepness);
      exact[static_cast<std::size_t>(t)] = std::max(1.0 - distance, 0.0);
      total += exact[static_cast<std::size_t>(t)];
    }
    taps.first[i] = static_cast<std::int32_t>(first);
    taps.count[i] = static_cast<std::int32_t>(end - first);
    std::int32_t* weights = taps.weights.data() + i * static_cast<std::size_t>(taps.taps);
    for (std::int64_t t = 0; t < end - first; ++t) {
      const double share = total != 0.0 ? exact[static_cast<std::size_t>(t)] / total : 0.0;
      weights[t] = static_cast<std::int32_t>(std::floor(0.5 + share * static_cast<double>(1 << kWeightBits)));
    }
  }
  return taps;
}

void resample(const PictureView& src, const SourceBox& box, const PictureSize& scaled, const Window& window, std::uint8_t* dst,
              std::int64_t dst_stride_bytes) {
  const Span1d across{src.width, box.left, box.right, scaled.width, window.left, window.width};
  const Span1d down{src.height, box.top, box.bottom, scaled.height, window.top, window.height};
  const bool copies_columns = is_copy(across), copies_rows = is_copy(down);
  const std::int64_t row_bytes = window.width * kChannels;

  // Rows of the source that the vertical pass will ask for.
  FilterTaps taps;
  std::int64_t first_row = static_cast<std::int64_t>(box.top) + window.top;
  std::int64_t end_row = first_row + window.height;
  if (!copies_rows) {
    taps = plan_taps(down);
    first_row = taps.first.front();
    end_row = taps.first.back() + taps.count.back();
  }

  // Horizontal pass, or a look at the columns in place.
  PictureView narrow{src.rgb + first_row * src.stride_bytes, window.width, end_row - first_row, src.stride_bytes};
  std::unique_ptr<std::uint8_t[]> filtered;
  if (copies_columns) {
    narrow.rgb += (static_cast<std::int64_t>(box.left) + window.left) * kChannels;
  } else {
    const std::int64_t filtered_stride_bytes = row_bytes + 1;
    filtered = std::make_unique_for_overwrite<std::uint8_t[]>(static_cast<std::size_t>(narrow.height * filtered_stride_bytes));
    filter_columns({narrow.rgb, src.width, narrow.height, src.stride_bytes}, across, filtered.get(), filtered_stride_bytes);
    narrow.rgb = filtered.get();
    narrow.stride_bytes = filtered_stride_bytes;
  }

  // Vertical pass, or a copy.
  for (std::int64_t y = 0; y < window.height; ++y) {
    std::uint8_t* dst_row = dst + y * dst_stride_bytes;
    if (copies_rows) {
      std::memcpy(dst_row, narrow.rgb + y * narrow.stride_bytes, static_cast<std::size_t>(row_bytes));
    } else {
      blend_rows(narrow.rgb + (taps.first[y] - first_row) * narrow.stride_bytes, narrow.stride_bytes,
                 taps.weights.data() + y * taps.taps, taps.count[y], row_bytes, dst_row);
    }
  }
}

}  // namespace dtrain
