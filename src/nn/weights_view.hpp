// Between the parameter arenas and the primitives: weights are reordered into the layout a primitive wants when they have
// changed, gradients are reordered or added into their slots. Where the layouts agree, nothing is copied.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "src/nn/onednn.hpp"

namespace dtrain::nn {

/// Master weights → weights of one primitive.
class WeightsView {
 public:
  WeightsView() = default;
  /// copy: at least copy_bytes(master, wanted), unused when the layouts agree.
  WeightsView(const dnnl::memory& master, const Desc& wanted, std::byte* copy, const Device& device);
  static std::size_t copy_bytes(const Desc& master, const Desc& wanted);

  const dnnl::memory& memory() const { return memory_; }
  void renew(const dnnl::stream& stream) const;

 private:
  dnnl::memory master_, memory_;
  PrimitiveCall reorder_;
};

/// Views into the graph's scratch memory, whose address is known late.
class ScratchViews {
 public:
  dnnl::memory add(const Desc& desc, std::size_t offset, const Device& device);
  void bind(std::byte* base) const;

 private:
  std::vector<std::pair<dnnl::memory, std::size_t>> views_;
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
  /// arguments: all but DIFF_WEIGHTS and DIFF_BIAS.
  BackwardWeights(const dnnl::primitive& primitive, std::vector<std::pair<int, dnnl::memory>> arguments,
                  const GradientPlace& weights, const std::optional<GradientPlace>& bias, const Device& device);
  /// Bytes of scratch for gradients of these layouts: weights at offset 0, bias at bias_offset(weights).
  static std::size_t bias_offset(const Desc& weights);
  static std::size_t scratch_bytes(const Desc& weights, bool has_bias, const Desc& bias);

  void run(bool accumulate, const dnnl::stream& stream) const;

 private:
  PrimitiveCall direct_;  ///< into the slots; empty where the layouts differ
  PrimitiveCall to_scratch_;
  std::vector<PrimitiveCall> replace_, add_;
};

}  // namespace dtrain::nn
