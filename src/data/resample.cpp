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

// Bilinear weights are not negative and add up to 2^22 within a rounding of 1/2 each, so sums stay below 256·2^22 = 2^30 and
// need no clamping: 255·(2^22 + taps/2) + 2^21 < 256·2^22 for fewer than 16 000 taps. Bicubic ones are negative in part. Those
// that are not negative add up to at most 5/4 of 2^22, so sums stay within 32 bits; what they give is clamped, in kernels of
// its own, because bilinear resizing is the usual one.

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

std::uint8_t clamped_byte(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255)); }

[[gnu::target_clones("avx512f", "avx2", "default")]] void narrow_sums_clamped(const std::int32_t* src, std::int64_t count,
                                                                              std::uint8_t* dst) {
  for (std::int64_t i = 0; i < count; ++i) dst[i] = clamped_byte(src[i]);
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

/// The same with clamping.
[[gnu::target_clones("avx512f", "avx2", "default")]] void blend_rows_clamped(const std::uint8_t* rows,
                                                                             std::int64_t stride_bytes,
                                                                             const std::int32_t* weights, std::int32_t count,
                                                                             std::int64_t bytes, std::uint8_t* dst) {
  constexpr std::int64_t kBlock = 64;
  for (std::int64_t i = 0; i < bytes; i += kBlock) {
    const std::int64_t block = std::min(kBlock, bytes - i);
    std::int32_t sum[kBlock];
    for (std::int64_t j = 0; j < kBlock; ++j) sum[j] = kHalf;
    for (std::int32_t t = 0; t < count; ++t) {
      const std::uint8_t* src = rows + t * stride_bytes + i;
      for (std::int64_t j = 0; j < block; ++j) sum[j] += weights[t] * src[j];
    }
    for (std::int64_t j = 0; j < block; ++j) dst[i + j] = clamped_byte(sum[j]);
  }
}

bool is_copy(const Span1d& span) {
  return span.begin == std::floor(span.begin) && span.end - span.begin == static_cast<double>(span.scaled);
}

/// Horizontal pass over all rows of src, to rows of `across.window_count` pixels, dst_stride_bytes apart: at least one byte
/// more than they hold.
void filter_columns(const PictureView& src, const Span1d& across, Interpolation interpolation, std::uint8_t* dst,
                    std::int64_t dst_stride_bytes) {
  const FilterTaps taps = plan_taps(across, interpolation);
  const auto narrow = interpolation == Interpolation::bicubic ? narrow_sums_clamped : narrow_sums;
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
    narrow(sums.get(), across.window_count * kTileValues, tile.get());
    separate_rows(tile.get(), across.window_count, dst_rows);
  }
}

double triangle(double distance) { return std::max(1.0 - distance, 0.0); }

/// Source: Keys, IEEE Trans. ASSP 29 (1981) 1153–1160, with a = −1/2. Operations in the order that Pillow has them.
double cubic(double distance) {
  constexpr double a = -0.5;
  if (distance < 1.0) return ((a + 2.0) * distance - (a + 3.0)) * distance * distance + 1.0;
  if (distance < 2.0) return (((distance - 5.0) * distance + 8.0) * distance - 4.0) * a;
  return 0.0;
}

/// Source pixel under the centre of each pixel of the window; −1: beyond the source. Pillow adds up the way from pixel to
/// pixel, and so do we, for the same bits.
std::vector<std::int64_t> nearest_pixels(const Span1d& span) {
  const double step = (span.end - span.begin) / static_cast<double>(span.scaled);
  double place = span.begin + step * 0.5;
  std::vector<std::int64_t> pixels;
  for (std::int64_t i = 0; i < span.window_begin + span.window_count; ++i, place += step) {
    if (i < span.window_begin) continue;
    const auto pixel = place < 0.0 ? -1 : static_cast<std::int64_t>(place);
    pixels.push_back(pixel < span.extent ? pixel : -1);
  }
  return pixels;
}

void take_nearest(const PictureView& src, const Span1d& across, const Span1d& down, std::uint8_t* dst,
                  std::int64_t dst_stride_bytes) {
  const std::vector<std::int64_t> columns = nearest_pixels(across), rows = nearest_pixels(down);
  for (std::size_t y = 0; y < rows.size(); ++y) {
    std::uint8_t* dst_row = dst + static_cast<std::int64_t>(y) * dst_stride_bytes;
    for (std::size_t x = 0; x < columns.size(); ++x, dst_row += kChannels) {
      const bool is_inside = rows[y] >= 0 && columns[x] >= 0;
      const std::uint8_t* pixel = src.rgb + (is_inside ? rows[y] * src.stride_bytes + columns[x] * kChannels : 0);
      for (std::int64_t c = 0; c < kChannels; ++c) dst_row[c] = is_inside ? pixel[c] : std::uint8_t{0};
    }
  }
}

}  // namespace

FilterTaps plan_taps(const Span1d& span, Interpolation interpolation) {
  const bool is_cubic = interpolation == Interpolation::bicubic;
  const double scale = (span.end - span.begin) / static_cast<double>(span.scaled);
  const double stretch = std::max(scale, 1.0);              // when shrinking
  const double support = (is_cubic ? 2.0 : 1.0) * stretch;  // what the filter reaches to each side
  const double steepness = 1.0 / stretch;
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
      exact[static_cast<std::size_t>(t)] = is_cubic ? cubic(distance) : triangle(distance);
      total += exact[static_cast<std::size_t>(t)];
    }
    taps.first[i] = static_cast<std::int32_t>(first);
    taps.count[i] = static_cast<std::int32_t>(end - first);
    std::int32_t* weights = taps.weights.data() + i * static_cast<std::size_t>(taps.taps);
    for (std::int64_t t = 0; t < end - first; ++t) {
      const double share = total != 0.0 ? exact[static_cast<std::size_t>(t)] / total : 0.0;
      const double scaled = std::abs(share) * static_cast<double>(1 << kWeightBits);
      const auto magnitude = static_cast<std::int32_t>(std::floor(0.5 + scaled));
      weights[t] = share < 0.0 ? -magnitude : magnitude;
    }
  }
  return taps;
}

void resample(const PictureView& src, const SourceBox& box, const PictureSize& scaled, const Window& window, std::uint8_t* dst,
              std::int64_t dst_stride_bytes, Interpolation interpolation) {
  const Span1d across{src.width, box.left, box.right, scaled.width, window.left, window.width};
  const Span1d down{src.height, box.top, box.bottom, scaled.height, window.top, window.height};
  if (interpolation == Interpolation::nearest) {
    take_nearest(src, across, down, dst, dst_stride_bytes);
    return;
  }
  const auto blend = interpolation == Interpolation::bicubic ? blend_rows_clamped : blend_rows;
  const bool copies_columns = is_copy(across), copies_rows = is_copy(down);
  const std::int64_t row_bytes = window.width * kChannels;

  // Rows of the source that the vertical pass will ask for.
  FilterTaps taps;
  std::int64_t first_row = static_cast<std::int64_t>(box.top) + window.top;
  std::int64_t end_row = first_row + window.height;
  if (!copies_rows) {
    taps = plan_taps(down, interpolation);
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
    filter_columns({narrow.rgb, src.width, narrow.height, src.stride_bytes}, across, interpolation, filtered.get(),
                   filtered_stride_bytes);
    narrow.rgb = filtered.get();
    narrow.stride_bytes = filtered_stride_bytes;
  }

  // Vertical pass, or a copy.
  for (std::int64_t y = 0; y < window.height; ++y) {
    std::uint8_t* dst_row = dst + y * dst_stride_bytes;
    if (copies_rows) {
      std::memcpy(dst_row, narrow.rgb + y * narrow.stride_bytes, static_cast<std::size_t>(row_bytes));
    } else {
      blend(narrow.rgb + (taps.first[y] - first_row) * narrow.stride_bytes, narrow.stride_bytes,
            taps.weights.data() + y * taps.taps, taps.count[y], row_bytes, dst_row);
    }
  }
}

}  // namespace dtrain
