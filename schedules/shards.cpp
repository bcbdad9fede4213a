// Positions of an epoch shared out over steps, ranks and micro-batches (see Note [A batch is a range of the epoch's order]).
#include "schedules/shards.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "dtrain/error.hpp"
#include "dtrain/random.hpp"

namespace dtrain {

Range split_range(Range whole, std::int64_t count, std::int64_t index) {
  check(count > 0 && index >= 0 && index < count, "split_range: 0 <= index < count");
  check(whole.size() >= 0, "split_range: a range does not end before it begins");
  const std::int64_t smaller = whole.size() / count;
  const std::int64_t larger_parts = whole.size() % count;
  const std::int64_t begin = whole.begin + index * smaller + std::min(index, larger_parts);
  return {begin, begin + smaller + (index < larger_parts ? 1 : 0)};
}

std::vector<std::int64_t> epoch_order(std::int64_t samples, std::uint64_t seed, std::int64_t epoch, bool shuffle) {
  check(samples >= 0 && epoch >= 0, "epoch_order: samples and epoch are not negative");
  std::vector<std::int64_t> order(static_cast<std::size_t>(samples));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (!shuffle) return order;
  // Fisher–Yates, from the end.
  Random random(seed, RandomPurpose::sample_order, {static_cast<std::uint64_t>(epoch)});
  for (std::int64_t last = samples - 1; last > 0; --last) {
    std::swap(order[static_cast<std::size_t>(last)], order[static_cast<std::size_t>(random.below(last + 1))]);
  }
  return order;
}

std::int64_t steps_per_epoch(std::int64_t samples, std::int64_t global_batch) {
  check(samples >= 0 && global_batch > 0, "steps_per_epoch: samples >= 0, global_batch > 0");
  return (samples + global_batch - 1) / global_batch;
}

StepPosition step_position(std::int64_t step, std::int64_t samples, std::int64_t global_batch) {
  check(step >= 0 && samples > 0, "step_position: step >= 0, samples > 0");
  const std::int64_t steps = steps_per_epoch(samples, global_batch);
  const std::int64_t begin = step % steps * global_batch;
  return {.epoch = step / steps, .positions = {begin, std::min(begin + global_batch, samples)}};
}

// The micro-batches of a share are as even as the shares of ranks are, so that one rank with micro-batches of at most n cuts a
// step exactly as ⌈B/n⌉ ranks do. Example: 10 samples in micro-batches of at most 3: 3 3 2 2, as over four ranks.
StepShare step_share(const StepPosition& step, int ranks, int rank, std::int64_t local_batch) {
  check(local_batch > 0, "step_share: local_batch > 0");
  StepShare share{.positions = split_range(step.positions, ranks, rank), .micro_batches = {}};
  const std::int64_t count = std::max<std::int64_t>(1, (share.positions.size() + local_batch - 1) / local_batch);
  share.micro_batches.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) share.micro_batches.push_back(split_range(share.positions, count, i));
  return share;
}

// Shares come in two sizes: those of the first ranks, as rank 0's, and one picture less. Example: 5 samples on 3 ranks in
// micro-batches of 1: ranks 0 and 1 have two, rank 2 has one and waits in the first round: 2 3.
std::vector<std::int64_t> pictures_by_round(const StepPosition& step, int ranks, std::int64_t local_batch) {
  const std::int64_t larger_shares = step.positions.size() % ranks;
  const StepShare first = step_share(step, ranks, 0, local_batch);
  const StepShare last = step_share(step, ranks, ranks - 1, local_batch);
  const std::int64_t as_first = larger_shares > 0 ? larger_shares : ranks;
  const std::size_t rounds = first.micro_batches.size();
  const std::size_t begin_of_last = rounds - last.micro_batches.size();
  std::vector<std::int64_t> pictures(rounds);
  for (std::size_t round = 0; round < rounds; ++round) {
    pictures[round] = as_first * first.micro_batches[round].size();
    if (round >= begin_of_last) pictures[round] += (ranks - as_first) * last.micro_batches[round - begin_of_last].size();
  }
  return pictures;
}

std::vector<std::int64_t> micro_batch_sizes(std::int64_t samples, std::int64_t global_batch, int ranks, int rank,
                                            std::int64_t local_batch, std::int64_t steps) {
  // All steps of an epoch but the last are alike.
  std::vector<std::int64_t> sizes;
  const auto collect = [&](std::int64_t step) {
    for (const Range& micro_batch :
         step_share(step_position(step, samples, global_batch), ranks, rank, local_batch).micro_batches) {
      if (micro_batch.size() > 0) sizes.push_back(micro_batch.size());
    }
  };
  const std::int64_t in_epoch = steps_per_epoch(samples, global_batch);
  if (steps > 0) collect(0);
  if (in_epoch > 0 && steps >= in_epoch) collect(in_epoch - 1);
  std::sort(sizes.begin(), sizes.end(), std::greater<>());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

}  // namespace dtrain
