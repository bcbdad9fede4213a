// Plain f32 tensors in row-major order and the aligned memory under them.
// Blocked layouts exist only inside src/nn and in the parameter arenas (parameters.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace dtrain {

using Shape = std::vector<std::int64_t>;

/// Product of the extents; 1 for a scalar (empty shape).
std::int64_t element_count(const Shape& shape);

/// Whether no value is infinite or NaN.
bool all_finite(std::span<const float> values);

/// "(64, 3, 7, 7)".
std::string to_text(const Shape& shape);

/// Owns bytes at an address aligned to 2 MiB when large and to 64 bytes otherwise. Fresh pages: zero, not yet
/// touched, so the first writer decides their NUMA domain. Movable.
class AlignedMemory {
 public:
  AlignedMemory() = default;
  explicit AlignedMemory(std::size_t size_bytes);
  AlignedMemory(AlignedMemory&& other) noexcept;
  AlignedMemory& operator=(AlignedMemory&& other) noexcept;
  AlignedMemory(const AlignedMemory&) = delete;
  AlignedMemory& operator=(const AlignedMemory&) = delete;
  ~AlignedMemory();

  std::byte* data() const { return data_; }
  std::size_t size_bytes() const { return size_bytes_; }
  /// The memory as floats (size_bytes / 4 of them).
  std::span<float> floats() const { return {reinterpret_cast<float*>(data_), size_bytes_ / sizeof(float)}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_bytes_ = 0;
  std::size_t mapped_bytes_ = 0;
};

/// A row-major f32 tensor that owns its elements, all 0 at first.
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Shape shape);

  const Shape& shape() const { return shape_; }
  std::int64_t size() const { return size_; }
  std::span<float> values() { return memory_.floats().first(static_cast<std::size_t>(size_)); }
  std::span<const float> values() const { return memory_.floats().first(static_cast<std::size_t>(size_)); }

 private:
  Shape shape_;
  std::int64_t size_ = 0;
  AlignedMemory memory_;
};

}  // namespace dtrain
