// Conversion of weight blocks; see block_conversion.hpp.
#include "src/nn/block_conversion.hpp"

#include <emmintrin.h>

#include <array>
#include <initializer_list>

#include "src/nn/clones.hpp"
#include "src/nn/element.hpp"

namespace dtrain::nn {
namespace {

constexpr int kOutput = 0;  // dimensions of (o, i, h, w)
constexpr int kInput = 1;
constexpr int kPairs = 8;

struct InnerBlock {
  int dimension, size;
};

/// Whether a weights layout has these inner blocks, outermost first.
bool has_blocks(const Desc& desc, DataType type, std::initializer_list<InnerBlock> blocks) {
  if (!is_blocked(desc) || type_of(desc) != type || dims_of(desc).size() != 4) return false;
  const Blocking blocking = blocking_of(desc);
  if (blocking.inner_sizes.size() != blocks.size()) return false;
  std::size_t k = 0;
  for (const InnerBlock& block : blocks) {
    if (blocking.inner_dimensions[k] != block.dimension || blocking.inner_sizes[k] != block.size) return false;
    ++k;
  }
  return true;
}

template <int Block>
void transpose_block(const float* __restrict from, float* __restrict to) {
  for (int row = 0; row < Block; ++row) {
    for (int column = 0; column < Block; ++column) to[row * Block + column] = from[column * Block + row];
  }
}

/// from[i][o] → to[i/2][o][i%2].
[[gnu::target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")]] void pair_inputs(const float* __restrict from,
                                                                                       BFloat16* __restrict to) {
  for (int pair = 0; pair < kPairs; ++pair) {
    for (int o = 0; o < 16; ++o) {
      assign(to[(pair * 16 + o) * 2], from[2 * pair * 16 + o]);
      assign(to[(pair * 16 + o) * 2 + 1], from[(2 * pair + 1) * 16 + o]);
    }
  }
}

DTRAIN_CLONES void round_block(const float* __restrict from, BFloat16* __restrict to) {
  for (int k = 0; k < 256; ++k) assign(to[k], from[k]);
}

/// from[i][o] → to[o/2][i][o%2]: a transposition of 16 × 8 pairs, four by four.
void pair_outputs(const float* from, BFloat16* to) {
  alignas(64) std::array<BFloat16, 256> rounded;  // [i][o]
  round_block(from, rounded.data());
  const auto row = [&](int i, int pair) { return reinterpret_cast<const __m128i*>(rounded.data() + i * 16 + pair * 2); };
  const auto put = [&](int pair, int i, __m128i values) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + (pair * 16 + i) * 2), values);
  };
  for (int i = 0; i < 16; i += 4) {
    for (int pair = 0; pair < kPairs; pair += 4) {
      const __m128i a = *row(i, pair), b = *row(i + 1, pair), c = *row(i + 2, pair), d = *row(i + 3, pair);
      const __m128i ab_low = _mm_unpacklo_epi32(a, b), ab_high = _mm_unpackhi_epi32(a, b);
      const __m128i cd_low = _mm_unpacklo_epi32(c, d), cd_high = _mm_unpackhi_epi32(c, d);
      put(pair, i, _mm_unpacklo_epi64(ab_low, cd_low));
      put(pair + 1, i, _mm_unpackhi_epi64(ab_low, cd_low));
      put(pair + 2, i, _mm_unpacklo_epi64(ab_high, cd_high));
      put(pair + 3, i, _mm_unpackhi_epi64(ab_high, cd_high));
    }
  }
}

}  // namespace

std::optional<BlockConversion> BlockConversion::between(const Desc& from, const Desc& to) {
  if (dims_of(from) != dims_of(to)) return std::nullopt;
  BlockConversion conversion;
  int block = 16;
  if (has_blocks(from, kF32, {{kInput, 8}, {kOutput, 8}}) && has_blocks(to, kF32, {{kOutput, 8}, {kInput, 8}})) {
    conversion.kind_ = Kind::transposed8;
    block = 8;
  } else if (!has_blocks(from, kF32, {{kInput, 16}, {kOutput, 16}})) {
    return std::nullopt;
  } else if (has_blocks(to, kF32, {{kOutput, 16}, {kInput, 16}})) {
    conversion.kind_ = Kind::transposed16;
  } else if (has_blocks(to, kBf16, {{kInput, kPairs}, {kOutput, 16}, {kInput, 2}})) {
    conversion.kind_ = Kind::pairs_of_inputs;
  } else if (has_blocks(to, kBf16, {{kOutput, kPairs}, {kInput, 16}, {kOutput, 2}})) {
    conversion.kind_ = Kind::pairs_of_outputs;
  } else {
    return std::nullopt;
  }
  const auto strides = [](const Desc& desc) {
    const Dims outer = blocking_of(desc).strides;
    return Strides{outer[0], outer[1], outer[2], outer[3]};
  };
  const Dims dims = dims_of(from);
  conversion.o_blocks_ = (dims[0] + block - 1) / block;
  conversion.i_blocks_ = (dims[1] + block - 1) / block;
  conversion.height_ = dims[2];
  conversion.width_ = dims[3];
  conversion.from_ = strides(from);
  conversion.to_ = strides(to);
  return conversion;
}

void BlockConversion::convert_block(const float* from, void* to, std::int64_t offset) const {
  switch (kind_) {
    case Kind::transposed8:
      return transpose_block<8>(from, static_cast<float*>(to) + offset);
    case Kind::transposed16:
      return transpose_block<16>(from, static_cast<float*>(to) + offset);
    case Kind::pairs_of_inputs:
      return pair_inputs(from, static_cast<BFloat16*>(to) + offset);
    case Kind::pairs_of_outputs:
      return pair_outputs(from, static_cast<BFloat16*>(to) + offset);
  }
}

void BlockConversion::run(const float* from, void* to) const {
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t i = 0; i < i_blocks_; ++i) {
    for (std::int64_t o = 0; o < o_blocks_; ++o) {
      for (std::int64_t h = 0; h < height_; ++h) {
        for (std::int64_t w = 0; w < width_; ++w) {
          convert_block(from + o * from_.o + i * from_.i + h * from_.h + w * from_.w, to,
                        o * to_.o + i * to_.i + h * to_.h + w * to_.w);
        }
      }
    }
  }
}

}  // namespace dtrain::nn
