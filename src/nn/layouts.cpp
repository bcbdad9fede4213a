// oneDNN memory descriptors: making them, and translating between them and the Layout of parameter slots.
#include <array>
#include <optional>

#include "dtrain/error.hpp"
#include "src/nn/onednn.hpp"

namespace dtrain::nn {
namespace {

using Tag = dnnl::memory::format_tag;

/// Dimensions 0 and 1 of weights in groups as one: output channel g·(o per group) + o lies where group g begins, plus o.
void join_groups(Layout& layout) {
  std::vector<std::int64_t> joined;
  for (const std::int64_t group : layout.offsets[0]) {
    for (const std::int64_t channel : layout.offsets[1]) joined.push_back(group + channel);
  }
  layout.offsets.erase(layout.offsets.begin());
  layout.offsets[0] = std::move(joined);
}

}  // namespace

PrimitiveCall::PrimitiveCall(dnnl::primitive primitive, const std::vector<std::pair<int, dnnl::memory>>& arguments)
    : primitive_(std::move(primitive)) {
  for (const auto& [role, memory] : arguments) {
    memories_.push_back(memory);
    arguments_.push_back({role, memory.get()});
  }
}

void PrimitiveCall::run(const dnnl::stream& stream) const {
  dnnl::error::wrap_c_api(
      dnnl_primitive_execute(primitive_.get(), stream.get(), static_cast<int>(arguments_.size()), arguments_.data()),
      "could not execute a primitive");
}

dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

dnnl::memory unbound(const Desc& desc, const Device& device) { return dnnl::memory(desc, device.engine, nullptr); }

Desc any_desc(const Dims& dims, DataType type) { return Desc(dims, type, Tag::any); }

Desc plain_desc(const Dims& dims, DataType type) {
  constexpr std::array<Tag, 5> kTags{Tag::a, Tag::ab, Tag::abc, Tag::abcd, Tag::abcde};
  check(!dims.empty() && dims.size() <= kTags.size(), "plain_desc: 1 to 5 dimensions");
  return Desc(dims, type, kTags[dims.size() - 1]);
}

Desc channel_blocked_desc(const Dims& dims, int block, DataType type) {
  check(dims.size() == 4 && (block == 8 || block == 16), "channel_blocked_desc: (n, c, h, w) and block 8 or 16");
  return Desc(dims, type, block == 8 ? Tag::nChw8c : Tag::nChw16c);
}

int channel_block(const Desc& desc) {
  const Dims dims = dims_of(desc);
  if (dims.size() != 4 || !is_blocked(desc)) return 0;
  const Blocking blocking = blocking_of(desc);
  if (blocking.inner_dimensions != Dims{1}) return 0;
  const std::int64_t block = blocking.inner_sizes[0];
  if (block != 8 && block != 16) return 0;
  if (padded_dims_of(desc) != Dims{dims[0], (dims[1] + block - 1) / block * block, dims[2], dims[3]}) return 0;
  // Pictures may lie at any distance. The stride of a single row or column does not matter.
  const bool is_dense = blocking.strides[1] == dims[2] * dims[3] * block &&
                        (dims[2] == 1 || blocking.strides[2] == dims[3] * block) &&
                        (dims[3] == 1 || blocking.strides[3] == block);
  return is_dense ? static_cast<int>(block) : 0;
}

Desc channel_slice_desc(const Desc& whole, std::int64_t channels) {
  const int block = channel_block(whole);
  check(block != 0 || whole == plain_desc(dims_of(whole), type_of(whole)),
        "channel_slice_desc: pictures, row-major or in blocks of channels");
  check(block == 0 || channels % block == 0, "channel_slice_desc: whole blocks");
  const Dims dims = dims_of(whole);
  return whole.submemory_desc({dims[0], channels, dims[2], dims[3]}, {0, 0, 0, 0});
}

std::size_t channel_offset_bytes(const Desc& whole, std::int64_t channel) {
  const Dims dims = dims_of(whole);
  return static_cast<std::size_t>(channel * dims[2] * dims[3]) * dnnl::memory::data_type_size(type_of(whole));
}

std::int64_t picture_stride(const Desc& desc) { return blocking_of(desc).strides[0]; }

Layout layout_of(const Desc& desc) {
  check(is_blocked(desc), "layout_of: a blocked layout");
  const Blocking blocking = blocking_of(desc);
  const std::size_t blocks = blocking.inner_sizes.size();
  const Dims dims = dims_of(desc);

  Layout layout;
  layout.size = static_cast<std::int64_t>(desc.get_size() / dnnl::memory::data_type_size(type_of(desc)));
  layout.offsets.resize(dims.size());
  // Inner blocks are listed outermost first; the stride of each is the product of those after it.
  std::vector<std::int64_t> inner_strides(blocks, 1);
  for (std::size_t block = blocks; block-- > 1;) {
    inner_strides[block - 1] = inner_strides[block] * blocking.inner_sizes[block];
  }
  for (std::size_t d = 0; d < dims.size(); ++d) {
    layout.offsets[d].resize(static_cast<std::size_t>(dims[d]));
    for (std::int64_t index = 0; index < dims[d]; ++index) {
      // Peel the inner blocks of this dimension from the innermost outwards; what is left counts in outer strides.
      std::int64_t rest = index;
      std::int64_t offset = 0;
      for (std::size_t block = blocks; block-- > 0;) {
        if (blocking.inner_dimensions[block] != static_cast<std::int64_t>(d)) continue;
        offset += rest % blocking.inner_sizes[block] * inner_strides[block];
        rest /= blocking.inner_sizes[block];
      }
      layout.offsets[d][static_cast<std::size_t>(index)] = offset + rest * blocking.strides[d];
    }
  }
  if (dims.size() == 5) join_groups(layout);
  return layout;
}

Desc with_type(const Desc& desc, DataType type) {
  const std::optional<Desc> same = is_blocked(desc) ? desc_as(desc, type) : std::nullopt;
  return same ? *same : plain_desc(dims_of(desc), type);
}

Desc desc_of(const Layout& layout, const Dims& dims, const Desc& wish) {
  if (is_blocked(wish) && layout_of(wish) == layout) return wish;
  std::vector<Desc> candidates{plain_desc(dims)};
  const auto try_tags = [&](std::initializer_list<Tag> tags) {
    for (const Tag tag : tags) candidates.emplace_back(dims, kF32, tag);
  };
  if (dims.size() == 4) {
    try_tags({Tag::OIhw16i16o, Tag::OIhw16o16i, Tag::Ohwi16o, Tag::OIhw8i8o, Tag::OIhw8o8i, Tag::Ohwi8o, Tag::hwio, Tag::ohwi,
              Tag::Owhi16o, Tag::Oihw16o});
  } else if (dims.size() == 5) {
    try_tags({Tag::Goihw16g, Tag::Goihw8g, Tag::gOIhw16i16o, Tag::gOIhw16o16i, Tag::gOhwi16o, Tag::gOIhw8i8o, Tag::gOIhw8o8i,
              Tag::gOhwi8o, Tag::hwigo, Tag::gohwi, Tag::gOwhi16o, Tag::gOihw16o});
  } else if (dims.size() == 2) {
    try_tags({Tag::ba, Tag::OI16i16o, Tag::OI16i64o, Tag::OI16i32o});
  }
  for (const Desc& candidate : candidates) {
    if (layout_of(candidate) == layout) return candidate;
  }
  check(false, "desc_of: a slot's layout that no weights format matches");
  return wish;
}

float* floats(const dnnl::memory& memory) { return static_cast<float*>(memory.get_data_handle()); }

}  // namespace dtrain::nn
