// Transposition of weight blocks; see block_transpose.hpp.
#include "src/nn/block_transpose.hpp"

namespace dtrain::nn {
namespace {

template <int Block>
void transpose_block(const float* __restrict from, float* __restrict to) {
  for (int row = 0; row < Block; ++row) {
    for (int column = 0; column < Block; ++column) to[row * Block + column] = from[column * Block + row];
  }
}

}  // namespace

std::optional<BlockTranspose::Strides> BlockTranspose::strides_of(const Desc& desc, const char* inner_order, int& block) {
  const auto& data = desc.data;
  const auto& blocking = data.format_desc.blocking;
  if (!is_blocked(desc) || desc.data_type() != kF32 || data.ndims != 4 || blocking.inner_nblks != 2) return std::nullopt;
  const auto dimension_of = [](char letter) { return letter == 'o' ? 0 : 1; };
  for (int k = 0; k < 2; ++k) {
    if (blocking.inner_idxs[k] != dimension_of(inner_order[k])) return std::nullopt;
  }
  if (blocking.inner_blks[0] != blocking.inner_blks[1]) return std::nullopt;
  block = static_cast<int>(blocking.inner_blks[0]);
  if (block != 8 && block != 16) return std::nullopt;
  return Strides{blocking.strides[0], blocking.strides[1], blocking.strides[2], blocking.strides[3]};
}

std::optional<BlockTranspose> BlockTranspose::between(const Desc& from, const Desc& to) {
  int from_block = 0;
  int to_block = 0;
  const auto from_strides = strides_of(from, "io", from_block);
  const auto to_strides = strides_of(to, "oi", to_block);
  if (!from_strides || !to_strides || from_block != to_block || from.dims() != to.dims()) return std::nullopt;
  const Dims dims = from.dims();
  BlockTranspose transpose;
  transpose.block_ = from_block;
  transpose.o_blocks_ = (dims[0] + from_block - 1) / from_block;
  transpose.i_blocks_ = (dims[1] + from_block - 1) / from_block;
  transpose.height_ = dims[2];
  transpose.width_ = dims[3];
  transpose.from_ = *from_strides;
  transpose.to_ = *to_strides;
  return transpose;
}

void BlockTranspose::run(const float* from, float* to) const {
#pragma omp parallel for collapse(2) schedule(static)
  for (std::int64_t i = 0; i < i_blocks_; ++i) {
    for (std::int64_t o = 0; o < o_blocks_; ++o) {
      for (std::int64_t h = 0; h < height_; ++h) {
        for (std::int64_t w = 0; w < width_; ++w) {
          const float* src = from + o * from_.o + i * from_.i + h * from_.h + w * from_.w;
          float* dst = to + o * to_.o + i * to_.i + h * to_.h + w * to_.w;
          block_ == 16 ? transpose_block<16>(src, dst) : transpose_block<8>(src, dst);
        }
      }
    }
  }
}

}  // namespace dtrain::nn
