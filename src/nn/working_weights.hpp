// Between the parameter arenas and the primitives: weights are brought into the layout and type that a primitive wants just
// before it runs, gradients are reordered or added into their slots. Where all agree, nothing is copied.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "src/nn/block_conversion.hpp"
#include "src/nn/onednn.hpp"

namespace dtrain::nn {

/// Views into the graph's scratch memory, whose address is known late.
class ScratchViews {
 public:
  dnnl::memory add(const Desc& desc, std::size_t offset, const Device& device);
  /// scratch: unset when no view has a byte.
  void bind(const dnnl::memory& scratch) const;

 private:
  std::vector<std::pair<dnnl::memory, std::size_t>> views_;
};

/// Master weights → weights of one primitive.
//
// Note [Working weights live in scratch]: a resident copy for every layer would cost ResNet-50 another 61 MB in f32 and 102 MB
// in bf16, and is not faster: what was just written to scratch is still in the cache when the primitive reads it.
class WorkingWeights {
 public:
  WorkingWeights() = default;
  /// scratch_offset: of scratch_bytes(master, wanted), unused when master and wanted agree.
  WorkingWeights(const dnnl::memory& master, const Desc& wanted, std::size_t scratch_offset, ScratchViews& scratch,
                 const Device& device);
  static std::size_t scratch_bytes(const Desc& master, const Desc& wanted);

  const dnnl::memory& memory() const { return memory_; }
  /// Called right before the primitive: other layers use the same scratch.
  void bring(const dnnl::stream& stream) const;

 private:
  dnnl::memory master_, memory_;
  std::optional<BlockConversion> conversion_;
  PrimitiveCall reorder_;
};

/// A parameter's gradient: its slot, and scratch in the layout of the primitive that computes it.
struct GradientPlace {
  dnnl::memory slot;
  dnnl::memory scratch;
};

/// The primitive that computes the gradients of weights (and bias): writes straight into the slots where it can, else through
/// scratch.
class BackwardWeights {
 public:
  BackwardWeights() = default;
  /// arguments: all but DIFF_WEIGHTS and DIFF_BIAS. accumulates: micro-batches may add up their gradients.
  BackwardWeights(const dnnl::primitive& primitive, std::vector<std::pair<int, dnnl::memory>> arguments,
                  const GradientPlace& weights, const std::optional<GradientPlace>& bias, bool accumulates,
                  const Device& device);
  /// Bytes of scratch for gradients of these layouts: weights at offset 0, bias at bias_offset(weights). None are needed where
  /// gradients go straight to their slots. bias: empty where there is none.
  static std::size_t bias_offset(const Desc& weights);
  static std::size_t scratch_bytes(const Desc& master, const Desc& weights, const std::optional<Desc>& bias, bool accumulates);

  void run(bool accumulate, const dnnl::stream& stream) const;

 private:
  PrimitiveCall direct_;  ///< into the slots; empty where the layouts differ
  PrimitiveCall to_scratch_;
  std::vector<PrimitiveCall> replace_, add_;
};

}  // namespace dtrain::nn
