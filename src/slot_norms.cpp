// Where chunks lie, and their sums; see slot_norms.hpp.
#include "src/slot_norms.hpp"

#include <algorithm>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

std::int64_t chunk_row(std::int64_t element) { return element / kNormChunkElements; }

}  // namespace

std::int64_t SlotNorms::most_chunks(std::int64_t weights, std::int64_t slots) {
  return (weights + kNormChunkElements - 1) / kNormChunkElements + slots;  // a chunk begins at a cut or at a slot
}

SlotNorms::SlotNorms(const ParameterStore& parameters, std::span<Squares> partial_sums)
    : size_(std::ssize(parameters.weights())), partial_sums_(partial_sums) {
  const std::vector<Slot>& slots = parameters.trained_slots();
  for (std::size_t s = 0; s < slots.size(); ++s) {
    const std::int64_t begin = slots[s].offset;
    const std::int64_t end = s + 1 < slots.size() ? slots[s + 1].offset : size_;
    slots_.push_back({.begin = begin, .end = end, .first_chunk = chunks_});
    if (end > begin) chunks_ += chunk_row(end - 1) - chunk_row(begin) + 1;
  }
  sums_.resize(slots_.size());
  check(std::ssize(partial_sums_) >= chunks_, "room for a partial sum of each chunk");
}

Slice SlotNorms::chunk(std::int64_t number) const {
  const auto slot = std::ranges::upper_bound(slots_, number, {}, &ChunkedSlot::first_chunk) - 1;
  const std::int64_t row = chunk_row(slot->begin) + number - slot->first_chunk;
  return {.begin = std::max(slot->begin, row * kNormChunkElements), .end = std::min(slot->end, (row + 1) * kNormChunkElements)};
}

std::int64_t SlotNorms::chunk_at(std::int64_t element) const {
  check(element == size_ || element % kNormChunkElements == 0, "slices that are measured are cut where chunks are");
  if (element == size_ || slots_.empty()) return chunks_;
  const auto slot = std::ranges::upper_bound(slots_, element, {}, &ChunkedSlot::begin) - 1;
  return slot->first_chunk + chunk_row(element) - chunk_row(slot->begin);
}

void SlotNorms::add_up() {
  total_ = {};
  for (std::size_t s = 0; s < slots_.size(); ++s) {
    const std::int64_t end = s + 1 < slots_.size() ? slots_[s + 1].first_chunk : chunks_;
    sums_[s] = {};
    for (std::int64_t number = slots_[s].first_chunk; number < end; ++number) {
      const Squares& partial = partial_sums_[static_cast<std::size_t>(number)];
      sums_[s].weights += partial.weights;
      sums_[s].others += partial.others;
    }
    total_.weights += sums_[s].weights;
    total_.others += sums_[s].others;
  }
}

}  // namespace dtrain
