// The little that all layers need of oneDNN: engine and stream, memory with a late address, and primitives with their
// arguments fixed. What differs between oneDNN's APIs is in onednn_versions.hpp.
#pragma once

#include <utility>
#include <vector>

#include "dtrain/layers.hpp"
#include "dtrain/parameters.hpp"
#include "src/nn/onednn_versions.hpp"

namespace dtrain::nn {

/// CPU engine and an in-order stream.
struct Device {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
};

/// A primitive with its arguments; running it looks nothing up.
class PrimitiveCall {
 public:
  PrimitiveCall() = default;
  PrimitiveCall(dnnl::primitive primitive, const std::vector<std::pair<int, dnnl::memory>>& arguments);

  explicit operator bool() const { return !arguments_.empty(); }
  /// Errors: dnnl::error.
  void run(const dnnl::stream& stream) const;

 private:
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;  // keeps the handles in arguments_ alive
  std::vector<dnnl_exec_arg_t> arguments_;
};

/// Attributes of every primitive: scratchpad given by the graph.
dnnl::primitive_attr user_scratchpad();

/// Memory whose address is set when the graph is bound.
dnnl::memory unbound(const Desc& desc, const Device& device);

inline constexpr DataType kF32 = DataType::f32;
inline constexpr DataType kBf16 = DataType::bf16;

Desc any_desc(const Dims& dims, DataType type = kF32);    ///< layout left to the primitive
Desc plain_desc(const Dims& dims, DataType type = kF32);  ///< row-major, 1–5 dimensions
/// (n, c, h, w) with `block` channels innermost (8 or 16): nChw8c, nChw16c.
Desc channel_blocked_desc(const Dims& dims, int block, DataType type = kF32);
/// The block of such a layout, or of a slice of its channels; 0 for any other.
int channel_block(const Desc& desc);

/// `channels` of a picture tensor (row-major or in blocks of channels), whose memory begins at channel_offset_bytes: pictures
/// keep their distance.
Desc channel_slice_desc(const Desc& whole, std::int64_t channels);
/// Where channel `channel` (the first of a block) begins in a picture.
std::size_t channel_offset_bytes(const Desc& whole, std::int64_t channel);
/// Elements from a picture to the next.
std::int64_t picture_stride(const Desc& desc);

/// Offsets of a blocked desc's elements. Weights in groups (g, o, i, h, w) are laid out as the tensor (g·o, i, h, w) that files
/// hold.
Layout layout_of(const Desc& desc);
/// The same elements as another type in the same layout, or row-major where that is none of strides and blocks.
Desc with_type(const Desc& desc, DataType type);
/// The desc of a parameter's slot; `wish` is tried first, then the layouts that oneDNN uses for weights.
/// Errors: std::logic_error when nothing fits.
Desc desc_of(const Layout& layout, const Dims& dims, const Desc& wish);

float* floats(const dnnl::memory& memory);

}  // namespace dtrain::nn
