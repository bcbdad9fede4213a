// How many pictures a rank computes on at once, so that what they take fits its memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

#include "collectives/communicator.hpp"
#include "trainer/rank_memory.hpp"

namespace dtrain {

/// Bytes that a local batch takes; never fewer than for a smaller one.
using BytesOfBatch = std::function<std::size_t(std::int64_t local_batch)>;

/// `first`, halved (rounded down) until it takes at most `available_bytes`; 0: not even one picture fits.
std::int64_t halve_until_it_fits(std::int64_t first, const BytesOfBatch& bytes, std::size_t available_bytes);

/// Largest local batch below `too_large` that takes at most `available_bytes`; 0: none. Cost: bytes are nearly linear in the
/// batch, so a handful of calls as a rule, 3·log2(too_large) at most.
std::int64_t largest_that_fits(std::int64_t too_large, const BytesOfBatch& bytes, std::size_t available_bytes);

struct LocalBatchQuestion {
  std::int64_t asked = 0;                                      ///< --local-batch; 0: not given
  std::int64_t usual = 0;                                      ///< where it is not given, if it fits
  std::size_t available_bytes = 0;                             ///< to this rank, what it holds already included; 0: not known
  std::function<RankMemory(std::int64_t local_batch)> memory;  ///< of this rank; pure
};

/// What a local batch takes that does not fit.
struct BatchExcess {
  std::int64_t batch = 0;
  std::size_t planned_bytes = 0;    ///< on the rank that plans most
  std::size_t available_bytes = 0;  ///< on the rank that has least
  std::int64_t largest = 0;         ///< local batch that fits on all ranks; 0: none
};

/// Why the local batch that was asked for does not fit on every rank; none: it does. Collective, and equal on all ranks.
std::optional<BatchExcess> find_excess(const LocalBatchQuestion& question, const Communicator& communicator);

/// The local batch of all ranks: the one that was asked for, or the largest of the usual one, its half, its quarter … that fits
/// on every rank. Collective. Errors: ConfigError on all ranks, when what was asked for does not fit on one of them, or nothing
/// does; names planned and available bytes and the largest local batch that fits everywhere.
std::int64_t choose_local_batch(const LocalBatchQuestion& question, const Communicator& communicator);

}  // namespace dtrain
