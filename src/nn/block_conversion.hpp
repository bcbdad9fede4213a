// Convolution weights from master weights in blocks of 16 input × 16 output channels (8 × 8 likewise), the layout that forward
// and backward weights want in f32, to what other primitives want, just before they run:
//   f32, backward data    blocks of 16 output × 16 input channels
//   bf16, forward         8 × 16 × 2: pairs of input channels innermost
//   bf16, backward data   8 × 16 × 2: pairs of output channels innermost
// oneDNN 2.6's own reorder does the first at 2 GB/s on two cores, which would be 7 % of a ResNet-50 step; these are bound by
// memory.
#pragma once

#include <cstdint>
#include <optional>

#include "src/nn/onednn.hpp"

namespace dtrain::nn {

class BlockConversion {
 public:
  /// Empty unless the layouts are such a pair; outer strides are free on both sides.
  static std::optional<BlockConversion> between(const Desc& from, const Desc& to);

  /// to: of the type that its desc had. Cost: reads and writes every element once. Threads: all of the caller's OpenMP threads.
  void run(const float* from, void* to) const;

 private:
  struct Strides {
    std::int64_t o, i, h, w;  ///< of outer blocks, in elements
  };
  enum class Kind { transposed8, transposed16, pairs_of_inputs, pairs_of_outputs };

  void convert_block(const float* from, void* to, std::int64_t offset) const;

  Kind kind_ = Kind::transposed16;
  std::int64_t o_blocks_ = 0, i_blocks_ = 0, height_ = 0, width_ = 0;
  Strides from_{}, to_{};
};

}  // namespace dtrain::nn
