// Aligned memory and row-major tensors. Large blocks come straight from mmap, aligned for huge pages and
// untouched, so that whoever writes a page first decides its NUMA domain.
#include "dtrain/tensor.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
constexpr std::size_t kMappedFromBytes = std::size_t{4} << 20;
constexpr std::size_t kCacheLineBytes = 64;

std::size_t round_up(std::size_t value, std::size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

/// Maps `size_bytes` (a multiple of a huge page) at an address aligned to a huge page; what is mapped too much
/// before and behind is given back.
std::byte* map_aligned(std::size_t size_bytes) {
  const std::size_t wide_bytes = size_bytes + kHugePageBytes;
  if (wide_bytes < size_bytes) throw std::bad_alloc();
  void* const wide = mmap(nullptr, wide_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (wide == MAP_FAILED) throw std::bad_alloc();

  const auto address = reinterpret_cast<std::uintptr_t>(wide);
  const std::size_t before = round_up(address, kHugePageBytes) - address;
  const std::size_t behind = kHugePageBytes - before;
  std::byte* const data = static_cast<std::byte*>(wide) + before;
  if (before != 0) munmap(wide, before);
  if (behind != 0) munmap(data + size_bytes, behind);
  // Advice only: where transparent huge pages are off, ordinary pages serve as well.
  (void)madvise(data, size_bytes, MADV_HUGEPAGE);
  return data;
}

}  // namespace

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

bool all_finite(std::span<const float> values) {
  float zero = 0.0f;  // remains so: ∞·0 and NaN·0 are NaN
#pragma omp simd reduction(+ : zero)
  for (std::size_t i = 0; i < values.size(); ++i) zero += values[i] * 0.0f;
  return zero == 0.0f;
}

std::string to_text(const Shape& shape) {
  std::string text = "(";
  for (std::size_t d = 0; d < shape.size(); ++d) text += (d == 0 ? "" : ", ") + std::to_string(shape[d]);
  return text + ")";
}

AlignedMemory::AlignedMemory(std::size_t size_bytes) : size_bytes_(size_bytes) {
  if (size_bytes == 0) return;
  if (size_bytes > SIZE_MAX / 2) throw std::bad_alloc();
  if (size_bytes >= kMappedFromBytes) {
    mapped_bytes_ = round_up(size_bytes, kHugePageBytes);
    data_ = map_aligned(mapped_bytes_);
    return;
  }
  const std::size_t allocated_bytes = round_up(size_bytes, kCacheLineBytes);
  data_ = static_cast<std::byte*>(std::aligned_alloc(kCacheLineBytes, allocated_bytes));
  if (data_ == nullptr) throw std::bad_alloc();
  std::memset(data_, 0, allocated_bytes);
}

AlignedMemory::AlignedMemory(AlignedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      mapped_bytes_(std::exchange(other.mapped_bytes_, 0)) {}

AlignedMemory& AlignedMemory::operator=(AlignedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  return *this;
}

AlignedMemory::~AlignedMemory() {
  if (mapped_bytes_ != 0) {
    munmap(data_, mapped_bytes_);
  } else {
    std::free(data_);
  }
}

Tensor::Tensor(Shape shape) : shape_(std::move(shape)), size_(element_count(shape_)) {
  for (const std::int64_t extent : shape_) check(extent >= 0, "a tensor has no negative extents");
  memory_ = AlignedMemory(static_cast<std::size_t>(size_) * sizeof(float));
}

}  // namespace dtrain
