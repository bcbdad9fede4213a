// Convolution weights from blocks of 16 input × 16 output channels to blocks of 16 output × 16 input channels (8 × 8 likewise):
// from the layout that forward and backward weights want to the one that backward data wants, just before it runs. oneDNN 2.6's
// own reorder between the two moves 2 GB/s on two cores, which would be 7 % of a ResNet-50 step; this one is bound by memory.
#pragma once

#include <cstdint>
#include <optional>

#include "src/nn/onednn.hpp"

namespace dtrain::nn {

class BlockTranspose {
 public:
  /// Empty unless `from` is (O)(I)hw with inner blocks Bi·Bo, `to` the same shape with inner blocks Bo·Bi, B = 8 or 16; outer
  /// strides are free on both sides.
  static std::optional<BlockTranspose> between(const Desc& from, const Desc& to);

  /// Cost: reads and writes every element once. Threads: all of the caller's OpenMP threads.
  void run(const float* from, float* to) const;

 private:
  struct Strides {
    std::int64_t o, i, h, w;  ///< of outer blocks, in elements
  };
  static std::optional<Strides> strides_of(const Desc& desc, const char* inner_order, int& block);

  int block_ = 16;
  std::int64_t o_blocks_ = 0, i_blocks_ = 0, height_ = 0, width_ = 0;
  Strides from_{}, to_{};
};

}  // namespace dtrain::nn
