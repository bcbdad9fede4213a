// Which sample goes to which rank, and in which micro-batch: pure functions of integers.
// Note [A batch is a range of the epoch's order]: step s of an epoch takes positions [s·B, min((s+1)·B, samples)) of a
// permutation that depends on (seed, epoch) alone; ranks take consecutive sub-ranges, sizes differing by at most one. So P
// ranks × n samples see what one rank sees in P micro-batches of n.
#pragma once

#include <cstdint>
#include <vector>

namespace dtrain {

/// Half-open range of positions.
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

/// Part `index` of `count` of a range: consecutive, sizes differ by at most one, larger parts first.
Range split_range(Range whole, std::int64_t count, std::int64_t index);

/// Order of an epoch's samples: entry at position i is the sample. shuffle false: identity.
std::vector<std::int64_t> epoch_order(std::int64_t samples, std::uint64_t seed, std::int64_t epoch, bool shuffle);

std::int64_t steps_per_epoch(std::int64_t samples, std::int64_t global_batch);

/// Where step `step` (from 0, over the whole run) lies.
struct StepPosition {
  std::int64_t epoch = 0;
  Range positions;  ///< of the epoch's order; shorter than global_batch in an epoch's last step
};
StepPosition step_position(std::int64_t step, std::int64_t samples, std::int64_t global_batch);

/// A rank's micro-batches in one step.
struct StepShare {
  Range positions;                   ///< the rank's part of the step
  std::vector<Range> micro_batches;  ///< of at most local_batch, sizes differing by at most one, as few as possible; at least
                                     ///< one, which may be empty when the rank has no sample
};
StepShare step_share(const StepPosition& step, int ranks, int rank, std::int64_t local_batch);

/// A step in which all ranks keep step: in every round each rank does a micro-batch, the k-th last in the k-th last round.
/// Ranks that have fewer micro-batches than others have nothing to do in the first rounds. Result: pictures of all ranks
/// together, for each round; of the first one at least one.
std::vector<std::int64_t> pictures_by_round(const StepPosition& step, int ranks, std::int64_t local_batch);

/// Distinct sizes > 0 of micro-batches that a rank meets in a run of `steps` steps, largest first: the graphs to compile.
std::vector<std::int64_t> micro_batch_sizes(std::int64_t samples, std::int64_t global_batch, int ranks, int rank,
                                            std::int64_t local_batch, std::int64_t steps);

}  // namespace dtrain
