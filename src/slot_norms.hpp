// Sums of squares over slots, in parts that different threads and ranks make: Note [Norms are measured before the first weight
// changes] in optimizer.hpp.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dtrain/optimizer.hpp"
#include "dtrain/parameters.hpp"

namespace dtrain {

/// Sums of squares of weights, and of what they are compared with: gradients, or directions.
struct Squares {
  double weights = 0.0;
  double others = 0.0;
};

/// A chunk is a piece of a slot, cut at multiples of kNormChunkElements of the arena:
///
///   slots   |a...............|b.....|c........|
///   cuts    ^         ^         ^         ^
///   chunks  |a........|a.....|b.|b..|c....|c..|
class SlotNorms {
 public:
  /// Most chunks that so many weights in so many slots have.
  static std::int64_t most_chunks(std::int64_t weights, std::int64_t slots);

  /// partial_sums: most_chunks of them, which may be shared between ranks; outlives this.
  SlotNorms(const ParameterStore& parameters, std::span<Squares> partial_sums);

  /// For each chunk of a slice, sum(Slice chunk) by some thread. slice: cut as optimizer.hpp says.
  template <typename Sum>
  void measure(Slice slice, const Sum& sum) {
    const std::int64_t first = chunk_at(slice.begin);
    const std::int64_t count = chunk_at(slice.end) - first;
#pragma omp parallel for schedule(static) if (count >= kParallelFromChunks)
    for (std::int64_t number = first; number < first + count; ++number) {
      partial_sums_[static_cast<std::size_t>(number)] = sum(chunk(number));
    }
  }

  /// When all chunks have been measured: adds them up, slot by slot. Cost: a few additions a chunk.
  void add_up();
  /// After that.
  const Squares& of_slot(std::size_t slot) const { return sums_[slot]; }
  const Squares& of_all() const { return total_; }

 private:
  static constexpr std::int64_t kParallelFromChunks = 16;

  /// With the zeros behind it, up to the next slot.
  struct ChunkedSlot {
    std::int64_t begin, end;
    std::int64_t first_chunk;
  };
  Slice chunk(std::int64_t number) const;
  /// The first chunk that begins at this element, which is a cut, or behind it.
  std::int64_t chunk_at(std::int64_t element) const;

  std::int64_t size_;
  std::int64_t chunks_ = 0;
  std::vector<ChunkedSlot> slots_;
  std::span<Squares> partial_sums_;
  std::vector<Squares> sums_;
  Squares total_;
};

}  // namespace dtrain
