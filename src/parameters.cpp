// Slots and arenas of a replica's parameters, and the hashes by which ranks and files compare them.
#include "dtrain/parameters.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "dtrain/error.hpp"
#include "dtrain/random.hpp"
#include "src/running_hash.hpp"

namespace dtrain {
namespace {

/// Tensors smaller than this (about a millisecond of copying) are not worth waking threads for: where ranks outnumber cores,
/// waiting for the last thread costs more than it saves.
constexpr std::int64_t kParallelFromElements = 1 << 20;

std::int64_t align_slot(std::int64_t elements) { return (elements + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment; }

std::int64_t outer_extent(const Layout& layout) {
  return layout.offsets.empty() ? 1 : static_cast<std::int64_t>(layout.offsets.front().size());
}

/// Offsets of all elements that share the first index, row-major: the sums of the other dimensions' tables.
std::vector<std::int64_t> inner_offsets(const Layout& layout) {
  std::vector<std::int64_t> sums{0};
  for (std::size_t d = 1; d < layout.offsets.size(); ++d) {
    std::vector<std::int64_t> next;
    next.reserve(sums.size() * layout.offsets[d].size());
    for (const std::int64_t sum : sums) {
      for (const std::int64_t offset : layout.offsets[d]) next.push_back(sum + offset);
    }
    sums = std::move(next);
  }
  return sums;
}

/// Values begin ≤ i < end of a tensor's first index.
struct Rows {
  std::int64_t begin;
  std::int64_t end;
};

/// Calls copy(slot offset of the row's first element, inner offsets, position of the row among `rows` in row-major order) for
/// each of the rows, in parallel.
template <typename CopyRow>
void for_each_row(const Layout& layout, Rows rows, const CopyRow& copy) {
  const std::vector<std::int64_t> inner = inner_offsets(layout);
  const auto row_size = static_cast<std::int64_t>(inner.size());
#pragma omp parallel for schedule(static) if ((rows.end - rows.begin) * row_size >= kParallelFromElements)
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    const std::int64_t first = layout.offsets.empty() ? 0 : layout.offsets.front()[static_cast<std::size_t>(row)];
    copy(first, inner, (row - rows.begin) * row_size);
  }
}

void copy_rows_to_plain(const Layout& layout, Rows rows, std::span<const float> slot, std::span<float> plain) {
  for_each_row(layout, rows, [&](std::int64_t first, const std::vector<std::int64_t>& inner, std::int64_t position) {
    const float* const src = slot.data() + first;
    float* const dst = plain.data() + position;
    for (std::size_t i = 0; i < inner.size(); ++i) dst[i] = src[inner[i]];
  });
}

void check_copy_sizes(const Layout& layout, std::size_t slot, std::size_t plain) {
  std::size_t elements = 1;
  for (const auto& table : layout.offsets) elements *= table.size();
  check(slot == static_cast<std::size_t>(layout.size), "a slot has as many elements as its layout");
  check(plain == elements, "a row-major tensor has as many elements as its layout has indices");
}

/// Hash of a slot's elements in row-major order, taken in blocks of rows: a copy of the largest tensor (411 MB in VGG-16) would
/// be the peak of a run's memory.
std::uint64_t hash_row_major(const Layout& layout, std::span<const float> slot, std::uint64_t seed) {
  constexpr std::int64_t kRowsInStrides = RunningHash::kStride_bytes / sizeof(float);  // these end at a stride, however long
  const std::int64_t rows = outer_extent(layout);
  const auto row_size = static_cast<std::int64_t>(inner_offsets(layout).size());
  const std::int64_t block = std::max(kParallelFromElements / row_size / kRowsInStrides, std::int64_t{1}) * kRowsInStrides;
  std::vector<float> plain(static_cast<std::size_t>(std::min(block, rows) * row_size));
  RunningHash hash;
  for (std::int64_t begin = 0; begin < rows; begin += block) {
    const Rows part{begin, std::min(begin + block, rows)};
    copy_rows_to_plain(layout, part, slot, plain);
    hash.absorb(std::as_bytes(std::span(plain).first(static_cast<std::size_t>((part.end - part.begin) * row_size))));
  }
  return hash.value(seed);
}

template <typename T>
std::uint64_t hash_value(const T& value, std::uint64_t seed) {
  return hash_bytes(std::as_bytes(std::span(&value, 1)), seed);
}

std::uint64_t hash_text(const std::string& text, std::uint64_t seed) {
  return hash_bytes(std::as_bytes(std::span(text)), seed);
}

std::uint64_t hash_layout(const Slot& slot, std::uint64_t seed) {
  std::uint64_t hash = hash_text(slot.spec.name, seed);
  hash = hash_bytes(std::as_bytes(std::span(slot.spec.shape)), hash);
  hash = hash_value(slot.spec.kind, hash);
  hash = hash_value(slot.offset, hash);
  hash = hash_value(slot.size, hash);
  for (const auto& table : slot.layout.offsets) hash = hash_bytes(std::as_bytes(std::span(table)), hash);
  return hash;
}

}  // namespace

Layout plain_layout(const Shape& shape) {
  Layout layout;
  layout.size = element_count(shape);
  layout.offsets.resize(shape.size());
  std::int64_t stride = 1;
  for (std::size_t d = shape.size(); d-- > 0;) {
    layout.offsets[d].resize(static_cast<std::size_t>(shape[d]));
    for (std::int64_t i = 0; i < shape[d]; ++i) layout.offsets[d][static_cast<std::size_t>(i)] = i * stride;
    stride *= shape[d];
  }
  return layout;
}

void copy_to_plain(const Layout& layout, std::span<const float> slot, std::span<float> plain) {
  check_copy_sizes(layout, slot.size(), plain.size());
  copy_rows_to_plain(layout, {0, outer_extent(layout)}, slot, plain);
}

void copy_from_plain(const Layout& layout, std::span<const float> plain, std::span<float> slot) {
  check_copy_sizes(layout, slot.size(), plain.size());
  const Rows all{0, outer_extent(layout)};
  for_each_row(layout, all, [&](std::int64_t first, const std::vector<std::int64_t>& inner, std::int64_t position) {
    const float* const src = plain.data() + position;
    float* const dst = slot.data() + first;
    for (std::size_t i = 0; i < inner.size(); ++i) dst[inner[i]] = src[i];
  });
}

ParameterStore::ParameterStore(std::vector<Entry> entries, std::span<float> gradient_memory, std::span<float> weight_memory) {
  std::set<std::string, std::less<>> names;
  for (Entry& entry : entries) {
    check(names.insert(entry.spec.name).second, "every parameter has a name of its own: " + entry.spec.name);
    const bool is_trained = entry.spec.is_trained();
    std::int64_t& end = is_trained ? trained_size_ : statistics_size_;
    Slot slot{.spec = std::move(entry.spec), .layout = std::move(entry.layout), .offset = end, .size = 0};
    slot.size = slot.layout.size;
    end += align_slot(slot.size);
    (is_trained ? trained_slots_ : statistics_slots_).push_back(std::move(slot));
  }

  const std::size_t trained_bytes = static_cast<std::size_t>(trained_size_) * sizeof(float);
  statistics_ = AlignedMemory(static_cast<std::size_t>(statistics_size_) * sizeof(float));
  const auto arena = [&](AlignedMemory& own, std::span<float> given, const char* what) {
    if (given.empty()) {
      own = AlignedMemory(trained_bytes);
      given = own.floats();
    }
    check(given.size() >= static_cast<std::size_t>(trained_size_), std::string("room for every parameter's ") + what);
    return given.first(static_cast<std::size_t>(trained_size_));
  };
  weights_ = arena(own_weights_, weight_memory, "weights");
  gradients_ = arena(own_gradients_, gradient_memory, "gradients");
}

std::int64_t ParameterStore::gradient_elements(const std::vector<Entry>& entries) {
  std::int64_t elements = 0;
  for (const Entry& entry : entries) {
    if (entry.spec.is_trained()) elements += align_slot(entry.layout.size);
  }
  return elements;
}

const Slot* ParameterStore::find(std::string_view name) const {
  for (const auto* slots : {&trained_slots_, &statistics_slots_}) {
    const auto slot = std::find_if(slots->begin(), slots->end(), [&](const Slot& s) { return s.spec.name == name; });
    if (slot != slots->end()) return &*slot;
  }
  return nullptr;
}

std::span<float> ParameterStore::values(const Slot& slot) const {
  const std::span<float> arena = slot.spec.is_trained() ? weights() : statistics();
  return arena.subspan(static_cast<std::size_t>(slot.offset), static_cast<std::size_t>(slot.size));
}

std::span<float> ParameterStore::gradient(const Slot& slot) const {
  check(slot.spec.is_trained(), "statistics have no gradient");
  return gradients_.subspan(static_cast<std::size_t>(slot.offset), static_cast<std::size_t>(slot.size));
}

std::int64_t ParameterStore::parameter_count() const {
  std::int64_t count = 0;
  for (const Slot& slot : trained_slots_) count += element_count(slot.spec.shape);
  return count;
}

std::uint64_t ParameterStore::fingerprint() const {
  std::vector<const Slot*> by_name;
  for (const Slot& slot : trained_slots_) by_name.push_back(&slot);
  std::sort(by_name.begin(), by_name.end(), [](const Slot* a, const Slot* b) { return a->spec.name < b->spec.name; });

  std::uint64_t hash = 0;
  for (const Slot* slot : by_name) hash = hash_row_major(slot->layout, values(*slot), hash_text(slot->spec.name, hash));
  return hash;
}

std::uint64_t ParameterStore::layout_digest() const {
  std::uint64_t hash = 0;
  for (const Slot& slot : trained_slots_) hash = hash_layout(slot, hash);
  for (const Slot& slot : statistics_slots_) hash = hash_layout(slot, hash);
  return hash;
}

std::uint64_t hash_bytes(std::span<const std::byte> bytes, std::uint64_t seed) {
  RunningHash hash;
  hash.absorb(bytes);
  return hash.value(seed);
}

}  // namespace dtrain
