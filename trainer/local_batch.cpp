// Searching for a batch that fits; see local_batch.hpp.
#include "trainer/local_batch.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

[[noreturn]] void refuse(const BatchExcess& excess) {
  throw ConfigError(
      Fault{.doing = "planning the memory of a rank for --local-batch " + std::to_string(excess.batch),
            .expected = "at most " + gigabytes_text(excess.available_bytes) + ", the rank's share of the node's free memory",
            .found = gigabytes_text(excess.planned_bytes) + " planned",
            .remedy = excess.largest > 0 ? "--local-batch " + std::to_string(excess.largest) + ", the largest that fits"
                                         : "fewer ranks on a node, or a smaller network"});
}

std::size_t available_bytes(const LocalBatchQuestion& question) {
  return question.available_bytes > 0 ? question.available_bytes : std::numeric_limits<std::size_t>::max();
}

BytesOfBatch bytes_of(const LocalBatchQuestion& question) {
  return [&question](std::int64_t batch) { return question.memory(batch).total_bytes(); };
}

/// Ranks differ in memory and, by a picture, in their share. What fits on the poorest fits on all of them.
template <typename Count>
Count smallest(const Communicator& communicator, Count own) {
  return static_cast<Count>(communicator.min(static_cast<double>(own)));
}

}  // namespace

std::int64_t halve_until_it_fits(std::int64_t first, const BytesOfBatch& bytes, std::size_t available_bytes) {
  std::int64_t batch = first;
  while (batch > 0 && bytes(batch) > available_bytes) batch /= 2;
  return batch;
}

// The answer stays in [fits, too_large). Two of three probes go where a straight line through both ends meets what is
// available: when bytes are linear, the first of them hits the answer and the second the batch above it. Every third one goes
// to the middle, which bounds their number.
std::int64_t largest_that_fits(std::int64_t too_large, const BytesOfBatch& bytes, std::size_t available_bytes) {
  if (too_large <= 1) return 0;
  std::int64_t fits = 1;
  const auto available = static_cast<double>(available_bytes);
  auto fitting_bytes = static_cast<double>(bytes(fits));
  if (fitting_bytes > available) return 0;
  auto excessive_bytes = static_cast<double>(bytes(too_large));
  for (int probes = 0; too_large - fits > 1; ++probes) {
    const double slope = (excessive_bytes - fitting_bytes) / static_cast<double>(too_large - fits);
    const std::int64_t middle = fits + (too_large - fits) / 2;
    const std::int64_t on_line = slope > 0.0 ? fits + static_cast<std::int64_t>((available - fitting_bytes) / slope) : middle;
    const std::int64_t probe = std::clamp(probes % 3 == 2 ? middle : on_line, fits + 1, too_large - 1);
    const auto probed_bytes = static_cast<double>(bytes(probe));
    (probed_bytes > available ? too_large : fits) = probe;
    (probed_bytes > available ? excessive_bytes : fitting_bytes) = probed_bytes;
  }
  return fits;
}

std::optional<BatchExcess> find_excess(const LocalBatchQuestion& question, const Communicator& communicator) {
  const std::size_t available = available_bytes(question);
  const BytesOfBatch bytes = bytes_of(question);
  const std::size_t planned = bytes(question.asked);
  const bool fits = planned <= available;
  if (communicator.all(fits)) return std::nullopt;
  const std::int64_t largest = fits ? question.asked : largest_that_fits(question.asked, bytes, available);
  return BatchExcess{.batch = question.asked,
                     .planned_bytes = static_cast<std::size_t>(communicator.max(static_cast<double>(planned))),
                     .available_bytes = smallest(communicator, available),
                     .largest = smallest(communicator, largest)};
}

std::int64_t choose_local_batch(const LocalBatchQuestion& question, const Communicator& communicator) {
  if (question.asked > 0) {
    if (const auto excess = find_excess(question, communicator)) refuse(*excess);
    return question.asked;
  }
  const std::size_t available = available_bytes(question);
  const BytesOfBatch bytes = bytes_of(question);
  const std::int64_t halved = smallest(communicator, halve_until_it_fits(question.usual, bytes, available));
  if (halved > 0) return halved;
  refuse({.batch = 1, .planned_bytes = bytes(1), .available_bytes = smallest(communicator, available), .largest = 0});
}

}  // namespace dtrain
