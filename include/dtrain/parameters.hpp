// The parameters of a network in contiguous arenas: f32 master weights, their gradients, and batch-norm
// running statistics. Slots stand in the order in which backward finishes them, so that a bucket of
// gradients, an update, a norm or a broadcast is a loop over one slice.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dtrain/tensor.hpp"

namespace dtrain {

/// Where the elements of a slot lie. Every layout used here is separable: the element with logical index
/// (i0, i1, …) lies at offsets[0][i0] + offsets[1][i1] + …, blocked layouts included (each inner block
/// belongs to one dimension).
/// Example: OIhw16i16o, element (o, i, h, w): (o/16)·strideO + o%16  +  (i/16)·strideI + (i%16)·16  +  h·… + w·…
struct Layout {
  std::vector<std::vector<std::int64_t>> offsets;  ///< one table per dimension, as long as the extent
  std::int64_t size = 0;                           ///< elements with padding; padding holds zeros

  bool operator==(const Layout&) const = default;
};

/// Row-major layout of a shape, without padding.
Layout plain_layout(const Shape& shape);

/// Copies a tensor between its slot (laid out as `layout`) and row-major order. Padding in the slot is left alone.
/// slot: layout.size elements; plain: element_count(shape) elements.
void copy_to_plain(const Layout& layout, std::span<const float> slot, std::span<float> plain);
void copy_from_plain(const Layout& layout, std::span<const float> plain, std::span<float> slot);

/// What a layer says of one of its parameters (trained: weight, bias) or statistics (running_mean, running_var).
struct ParameterSpec {
  enum class Kind { conv_weight, linear_weight, bias, norm_weight, norm_bias, running_mean, running_var };
  std::string name;  ///< torchvision's: "layer1.0.conv1.weight"
  Shape shape;       ///< torchvision's: conv (oc, ic/groups, kh, kw), linear (out, in), others (c)
  Kind kind = Kind::conv_weight;

  bool is_trained() const { return kind != Kind::running_mean && kind != Kind::running_var; }
  /// Weight decay applies to convolution and linear weights only, never to biases or batch-norm.
  bool decays() const { return kind == Kind::conv_weight || kind == Kind::linear_weight; }

  bool operator==(const ParameterSpec&) const = default;
};

/// A parameter's place in its arena.
struct Slot {
  ParameterSpec spec;
  Layout layout;
  std::int64_t offset = 0;  ///< first element in the arena, a multiple of kSlotAlignment
  std::int64_t size = 0;    ///< layout.size
};

/// Slots begin at multiples of this many floats (one cache line).
inline constexpr std::int64_t kSlotAlignment = 16;

/// Arenas of one replica. Statistics (running_mean, running_var) have an arena of their own.
class ParameterStore {
 public:
  struct Entry {
    ParameterSpec spec;
    Layout layout;
  };
  /// entries: in the order in which backward finishes them. gradient_memory, weight_memory: at least
  /// `gradient_elements(entries)` floats each, zeros, that outlive the store (node-shared windows), or empty: then the store
  /// owns them.
  explicit ParameterStore(std::vector<Entry> entries, std::span<float> gradient_memory = {},
                          std::span<float> weight_memory = {});
  ParameterStore(ParameterStore&&) = default;

  /// Length of the weight and the gradient arena, slots aligned, statistics left out.
  static std::int64_t gradient_elements(const std::vector<Entry>& entries);

  std::span<float> weights() const { return weights_; }
  std::span<float> gradients() const { return gradients_; }
  std::span<float> statistics() const { return statistics_.floats().first(static_cast<std::size_t>(statistics_size_)); }
  const std::vector<Slot>& trained_slots() const { return trained_slots_; }
  const std::vector<Slot>& statistics_slots() const { return statistics_slots_; }

  /// The slot with this name, trained or statistics; nullptr if there is none.
  const Slot* find(std::string_view name) const;
  /// A slot's elements in the weight arena (trained) or the statistics arena.
  std::span<float> values(const Slot& slot) const;
  std::span<float> gradient(const Slot& slot) const;

  /// Steps whose batches entered the running statistics (torchvision's num_batches_tracked).
  std::int64_t batches_tracked = 0;

  /// Trained parameters, padding not counted: the number papers print.
  std::int64_t parameter_count() const;
  /// 64-bit hash over the names and row-major trained weights, in name order: equal for equal weights in any layout
  /// and any order of slots.
  std::uint64_t fingerprint() const;
  /// 64-bit hash over names, shapes and layouts; ranks with equal digests may add their arenas.
  std::uint64_t layout_digest() const;

 private:
  std::vector<Slot> trained_slots_;
  std::vector<Slot> statistics_slots_;
  std::int64_t trained_size_ = 0;
  std::int64_t statistics_size_ = 0;
  AlignedMemory own_weights_;
  AlignedMemory own_gradients_;
  AlignedMemory statistics_;
  std::span<float> weights_, gradients_;
};

/// 64-bit hash of bytes, chained through `seed` (checksums and digests; not cryptographic). Inputs of equal length that
/// differ within one aligned 8-byte word always differ in their hash. Defined in src/parameters.cpp, stable across
/// versions: files rely on it. Cost: reads each byte once, more than 5 GB/s.
std::uint64_t hash_bytes(std::span<const std::byte> bytes, std::uint64_t seed = 0);

}  // namespace dtrain
