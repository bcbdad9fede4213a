// The inner loops of batch normalisation over one plane of one picture: `pixels` groups of `block` channels (8 or 16) in a row,
// as in nChw8c and nChw16c. Compiled once per instruction set and chosen when a graph is compiled.
#pragma once

#include <cstdint>

#include "src/nn/addends.hpp"
#include "src/nn/element.hpp"

namespace dtrain::nn {

/// A block's channels of one pixel; at any address that an element may have.
template <int Block>
struct VecOf;
template <>
struct VecOf<8> {
  typedef float Type __attribute__((vector_size(32), aligned(4), may_alias));
  typedef std::int32_t Int __attribute__((vector_size(32)));
  typedef std::uint32_t Bits __attribute__((vector_size(32)));
  typedef std::uint16_t Half __attribute__((vector_size(16), aligned(2), may_alias));  // bf16
  typedef std::uint8_t Byte __attribute__((vector_size(8), aligned(1), may_alias));
};
template <>
struct VecOf<16> {
  typedef float Type __attribute__((vector_size(64), aligned(4), may_alias));
  typedef std::int32_t Int __attribute__((vector_size(64)));
  typedef std::uint32_t Bits __attribute__((vector_size(64)));
  typedef std::uint16_t Half __attribute__((vector_size(32), aligned(2), may_alias));
  typedef std::uint8_t Byte __attribute__((vector_size(16), aligned(1), may_alias));
};

/// To the nearest bf16 by integer arithmetic, ties to even, in the upper halves; NaN stays NaN.
template <int Block>
[[gnu::always_inline]] inline typename VecOf<Block>::Bits rounded_to_halves(const typename VecOf<Block>::Type& value) {
  using Bits = typename VecOf<Block>::Bits;
  const Bits bits = (Bits)value;
  const Bits rounded = bits + (0x7fffu + (bits >> 16 & 1u));
  return value == value ? rounded : bits | 0x400000u;
}

/// One plane in backward.
template <typename Element>
struct NormPlane {
  const Element* src;              ///< what was normalised
  const std::uint8_t* kept_signs;  ///< as normalise left them; read only where NormMask::kept
  Addends<Element> diff_dst;  ///< gradient of the result; its first addend is overwritten by the masked sum where keeps_masked
  Element* diff_src;          ///< may be diff_dst.first
  bool adds_to_diff_src;      ///< diff_src holds the gradient from other readers of src
  std::int64_t pixels;
};

/// Per channel of a block.
struct NormChannels {
  const float* mean;
  const float* scale;  ///< γ/σ
  const float* shift;  ///< β − mean·γ/σ
  float ceiling;       ///< of the ReLU behind, for all channels; infinite where it has none
};

/// Two accumulators per channel of a block.
struct NormSums {
  double* sums;
  double* products;
};

enum class NormMask {
  none,        ///< no ReLU
  recomputed,  ///< ReLU without residual: sign of src·scale + shift
  clipped,     ///< the same where the ReLU has a ceiling: src·scale + shift between 0 and the ceiling
  kept,        ///< ReLU behind a residual sum: a bit an element, kept by forward
};

/// Square windows over a plane; a window reaches beyond the plane where there is padding, and counts what is inside.
struct PoolWindow {
  std::int64_t src_height, src_width, dst_height, dst_width;
  std::int64_t kernel, stride, padding;
};

/// Position kept of a window without a positive value; others are row·kernel + column of the first maximum.
inline constexpr std::uint8_t kNoMaximum = 255;

/// One plane of a normalised, rectified and pooled tensor in backward.
template <typename Element>
struct PooledPlane {
  const Element* src;             ///< what was normalised, src_height·src_width pixels
  const std::uint8_t* positions;  ///< a byte an element of dst, as normalise_pooled left them
  Addends<Element> diff_dst;      ///< dst_height·dst_width pixels; the first addend is overwritten by the sum of several
  Element* diff_src;              ///< src_height·src_width pixels
};

/// Element: float or BFloat16; statistics and parameters are f32 either way.
template <typename Element>
struct NormKernels {
  /// Adds Σ(x − origin) and Σ(x − origin)² of every channel.
  void (*moments)(const Element* src, std::int64_t pixels, const Element* origin, NormSums to);
  /// dst = relu?(src·scale + shift (+ residual)). dst may be src or residual; with residual there is no ceiling. Where signs is
  /// not null, a bit an element, set where dst is positive: block/8 bytes a pixel.
  void (*normalise)(const Element* src, const Element* residual, const NormChannels& channels, bool relu, Element* dst,
                    std::uint8_t* signs, std::int64_t pixels);
  /// d = mask·(sum of diff_dst), stored to its first addend where keeps_masked; adds Σd and Σd·(x − mean).
  void (*backward_sums)(const NormPlane<Element>& plane, const NormChannels& channels, NormMask mask, bool keeps_masked,
                        NormSums to);
  /// diff_src = scale·d − offset − slope·(x − mean), added to it where adds_to_diff_src; d is the first addend, masked again
  /// unless `none`.
  void (*backward_data)(const NormPlane<Element>& plane, const NormChannels& channels, NormMask mask, const float* offset,
                        const float* slope);
  /// dst = max over each window of relu(src·scale + shift), without a ceiling; positions: a byte an element of dst, or null.
  void (*normalise_pooled)(const Element* src, const NormChannels& channels, const PoolWindow& window, Element* dst,
                           std::uint8_t* positions);
  /// d as the windows' gradients fall on src; adds Σd and Σd·(x − mean).
  void (*backward_sums_pooled)(const PooledPlane<Element>& plane, const NormChannels& channels, const PoolWindow& window,
                               NormSums to);
  /// diff_src = scale·d − offset − slope·(x − mean).
  void (*backward_data_pooled)(const PooledPlane<Element>& plane, const NormChannels& channels, const PoolWindow& window,
                               const float* offset, const float* slope);
};

/// Kernels for this CPU. block: 8 or 16.
template <typename Element>
const NormKernels<Element>& norm_kernels(int block);

}  // namespace dtrain::nn
