// The ring all-reduce as a list of block transfers.
//
//   size 3, reduce-scatter            all-gather (a capital block is the full sum)
//   rank 0  sends 0, adds 2           sends B, takes A     step 3: sends A, takes C
//   rank 1  sends 1, adds 0           sends C, takes B             sends B, takes A
//   rank 2  sends 2, adds 1           sends A, takes C             sends C, takes B
// After the reduce-scatter rank r holds the sum of block r+1; each block then travels on around the ring.
#include "schedules/ring.hpp"

#include "dtrain/error.hpp"

namespace dtrain {

std::vector<ExchangeStep> ring_steps(int size, int rank, Range whole) {
  check(size > 0 && rank >= 0 && rank < size, "ring_steps: 0 <= rank < size");
  const auto block = [&](int index) { return split_range(whole, size, (index % size + size) % size); };
  std::vector<ExchangeStep> steps;
  steps.reserve(2 * static_cast<std::size_t>(size - 1));
  for (int step = 0; step < 2 * (size - 1); ++step) {
    // Reduce-scatter: from step to step one block back. All-gather: on from the block that was completed, rank+1.
    const bool reduces = step < size - 1;
    const int sent = reduces ? rank - step : rank + 1 - (step - (size - 1));
    steps.push_back({.send_peer = (rank + 1) % size,
                     .send = block(sent),
                     .receive_peer = (rank + size - 1) % size,
                     .receive = block(sent - 1),
                     .reduces = reduces});
  }
  return steps;
}

}  // namespace dtrain
