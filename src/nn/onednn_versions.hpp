// Where oneDNN's APIs v2 (2.6 and 2.7) and v3 differ: the same small functions for both, so that nobody else asks which version
// it is. The layout of a memory descriptor is read here, primitives are described here. v2 keeps a descriptor in a C structure
// and describes an operation before its primitive; v3 answers queries, and takes all that describes a primitive at once.
#pragma once

#include <array>
#include <cstdint>
#include <dnnl.hpp>
#include <optional>
#include <utility>

namespace dtrain::nn {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using DataType = dnnl::memory::data_type;

/// How elements of a blocked layout lie: outer strides in elements, one per dimension; inner blocks outermost first, each with
/// its dimension and size.
struct Blocking {
  Dims strides, inner_dimensions, inner_sizes;
};

/// Of all primitives alike: where they run, and their attributes.
struct PrimitiveContext {
  const dnnl::engine& engine;
  const dnnl::primitive_attr& attributes;
};

/// Pooling over height and width.
struct PoolingWindows {
  dnnl::algorithm kind = dnnl::algorithm::pooling_max;
  Dims kernel, strides, front, behind;
};

#if DNNL_VERSION_MAJOR < 3

/// Dimensions, and what was rounded up to whole blocks.
inline Dims dims_of(const Desc& desc) { return desc.dims(); }
inline Dims padded_dims_of(const Desc& desc) { return Dims(desc.data.padded_dims, desc.data.padded_dims + desc.data.ndims); }
inline DataType type_of(const Desc& desc) { return desc.data_type(); }

/// Whether a layout is made of strides and inner blocks, so that Layout can express it.
inline bool is_blocked(const Desc& desc) {
  return desc.data.format_kind == dnnl_blocked && desc.data.extra.flags == dnnl_memory_extra_flag_none &&
         desc.data.offset0 == 0;
}

/// Of a blocked layout.
inline Blocking blocking_of(const Desc& desc) {
  const dnnl_blocking_desc_t& blocking = desc.data.format_desc.blocking;
  return {.strides = Dims(blocking.strides, blocking.strides + desc.data.ndims),
          .inner_dimensions = Dims(blocking.inner_idxs, blocking.inner_idxs + blocking.inner_nblks),
          .inner_sizes = Dims(blocking.inner_blks, blocking.inner_blks + blocking.inner_nblks)};
}

/// The same blocked layout for elements of another type; empty where oneDNN cannot say so.
inline std::optional<Desc> desc_as(const Desc& desc, DataType type) {
  Desc other = desc;
  other.data.data_type = dnnl::memory::convert_to_c(type);
  return other;
}

inline void append_relu(dnnl::post_ops& operations) {
  operations.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
}

/// what: as v3's primitive_desc takes it, between engine and attributes. Errors: dnnl::error, unimplemented where there is
/// none.
template <typename Primitive, typename... What>
typename Primitive::primitive_desc describe_primitive(const PrimitiveContext& context, const What&... what) {
  return typename Primitive::primitive_desc(typename Primitive::desc(what...), context.attributes, context.engine);
}

/// Likewise, for the backward pass of `forward`.
template <typename Primitive, typename Forward, typename... What>
typename Primitive::primitive_desc describe_backward(const PrimitiveContext& context, const Forward& forward,
                                                     const What&... what) {
  return typename Primitive::primitive_desc(typename Primitive::desc(what...), context.attributes, context.engine, forward);
}

inline dnnl::pooling_forward::primitive_desc describe_pooling(const PrimitiveContext& context, dnnl::prop_kind kind,
                                                              const PoolingWindows& windows, const Desc& src, const Desc& dst) {
  return describe_primitive<dnnl::pooling_forward>(context, kind, windows.kind, src, dst, windows.strides, windows.kernel,
                                                   windows.front, windows.behind);
}

inline dnnl::pooling_backward::primitive_desc describe_pooling_backward(const PrimitiveContext& context,
                                                                        const dnnl::pooling_forward::primitive_desc& forward,
                                                                        const PoolingWindows& windows, const Desc& diff_src,
                                                                        const Desc& diff_dst) {
  return describe_backward<dnnl::pooling_backward>(context, forward, windows.kind, diff_src, diff_dst, windows.strides,
                                                   windows.kernel, windows.front, windows.behind);
}

/// Instruction sets of x86, as ONEDNN_MAX_CPU_ISA spells them. A set contains another when its mask does.
inline constexpr std::array<std::pair<const char*, dnnl::cpu_isa>, 8> kInstructionSets{{
    {"SSE41", dnnl::cpu_isa::sse41},
    {"AVX", dnnl::cpu_isa::avx},
    {"AVX2", dnnl::cpu_isa::avx2},
    {"AVX2_VNNI", dnnl::cpu_isa::avx2_vnni},
    {"AVX512_CORE", dnnl::cpu_isa::avx512_core},
    {"AVX512_CORE_VNNI", dnnl::cpu_isa::avx512_core_vnni},
    {"AVX512_CORE_BF16", dnnl::cpu_isa::avx512_core_bf16},
    {"AVX512_CORE_AMX", dnnl::cpu_isa::avx512_core_amx},
}};

#else

inline Dims dims_of(const Desc& desc) { return desc.get_dims(); }
inline Dims padded_dims_of(const Desc& desc) { return desc.get_padded_dims(); }
inline DataType type_of(const Desc& desc) { return desc.get_data_type(); }

inline bool is_blocked(const Desc& desc) {
  return desc.get_format_kind() == dnnl::memory::format_kind::blocked && desc.get_submemory_offset() == 0;
}

inline Blocking blocking_of(const Desc& desc) {
  return {.strides = desc.get_strides(), .inner_dimensions = desc.get_inner_idxs(), .inner_sizes = desc.get_inner_blks()};
}

inline std::optional<Desc> desc_as(const Desc& desc, DataType type) {
  // v3 changes no descriptor's type, but names the layouts that it has.
  const Dims dims = dims_of(desc);
  for (int number = dnnl_format_tag_any + 1; number < dnnl_format_tag_last; ++number) {
    const auto tag = static_cast<dnnl::memory::format_tag>(number);
    const Desc named(dims, type_of(desc), tag, true);  // empty where the tag is not of as many dimensions
    if (named.get(true) != nullptr && named == desc) return Desc(dims, type, tag);
  }
  return std::nullopt;
}

inline void append_relu(dnnl::post_ops& operations) { operations.append_eltwise(dnnl::algorithm::eltwise_relu, 0.0f, 0.0f); }

template <typename Primitive, typename... What>
typename Primitive::primitive_desc describe_primitive(const PrimitiveContext& context, const What&... what) {
  return typename Primitive::primitive_desc(context.engine, what..., context.attributes);
}

template <typename Primitive, typename Forward, typename... What>
typename Primitive::primitive_desc describe_backward(const PrimitiveContext& context, const Forward& forward,
                                                     const What&... what) {
  return typename Primitive::primitive_desc(context.engine, what..., forward, context.attributes);
}

inline dnnl::pooling_forward::primitive_desc describe_pooling(const PrimitiveContext& context, dnnl::prop_kind kind,
                                                              const PoolingWindows& windows, const Desc& src, const Desc& dst) {
  return describe_primitive<dnnl::pooling_forward>(context, kind, windows.kind, src, dst, windows.strides, windows.kernel,
                                                   Dims{0, 0}, windows.front, windows.behind);
}

inline dnnl::pooling_backward::primitive_desc describe_pooling_backward(const PrimitiveContext& context,
                                                                        const dnnl::pooling_forward::primitive_desc& forward,
                                                                        const PoolingWindows& windows, const Desc& diff_src,
                                                                        const Desc& diff_dst) {
  return describe_backward<dnnl::pooling_backward>(context, forward, windows.kind, diff_src, diff_dst, windows.strides,
                                                   windows.kernel, Dims{0, 0}, windows.front, windows.behind);
}

inline constexpr std::array<std::pair<const char*, dnnl::cpu_isa>, 11> kInstructionSets{{
    {"SSE41", dnnl::cpu_isa::sse41},
    {"AVX", dnnl::cpu_isa::avx},
    {"AVX2", dnnl::cpu_isa::avx2},
    {"AVX2_VNNI", dnnl::cpu_isa::avx2_vnni},
    {"AVX2_VNNI_2", dnnl::cpu_isa::avx2_vnni_2},
    {"AVX512_CORE", dnnl::cpu_isa::avx512_core},
    {"AVX512_CORE_VNNI", dnnl::cpu_isa::avx512_core_vnni},
    {"AVX512_CORE_BF16", dnnl::cpu_isa::avx512_core_bf16},
    {"AVX512_CORE_FP16", dnnl::cpu_isa::avx512_core_fp16},
    {"AVX512_CORE_AMX", dnnl::cpu_isa::avx512_core_amx},
    {"AVX512_CORE_AMX_FP16", dnnl::cpu_isa::avx512_core_amx_fp16},
}};

#endif

}  // namespace dtrain::nn
