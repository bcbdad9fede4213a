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

RingStep ring_step(int size, int rank, int step) {
  check(size > 0 && rank >= 0 && rank < size, "ring_step: 0 <= rank < size");
  check(step >= 0 && step < 2 * (size - 1), "ring_step: 0 <= step < 2 (size - 1)");
  const auto block = [&](int index) { return (index % size + size) % size; };
  // Reduce-scatter: from step to step one block back. All-gather: on from the block that was completed, rank+1.
  const bool reduces = step < size - 1;
  const int sent = reduces ? rank - step : rank + 1 - (step - (size - 1));
  return {.send_block = block(sent), .receive_block = block(sent - 1), .reduces = reduces};
}

std::vector<RingStep> plan_ring(int size, int rank) {
  check(size > 0 && rank >= 0 && rank < size, "plan_ring: 0 <= rank < size");
  std::vector<RingStep> steps;
  steps.reserve(2 * static_cast<std::size_t>(size - 1));
  for (int step = 0; step < 2 * (size - 1); ++step) steps.push_back(ring_step(size, rank, step));
  return steps;
}

ExchangeCost ring_cost(int size, int rank, std::int64_t elements) {
  check(elements >= 0, "ring_cost: elements >= 0");
  ExchangeCost cost;
  for (const RingStep& step : plan_ring(size, rank)) {
    const std::int64_t sent = split_range({0, elements}, size, step.send_block).size();
    const std::int64_t received = split_range({0, elements}, size, step.receive_block).size();
    cost.messages += sent > 0 ? 1 : 0;
    cost.bytes_sent += sent * static_cast<std::int64_t>(sizeof(float));
    cost.elements_reduced += step.reduces ? received : 0;
    ++cost.steps;
  }
  return cost;
}

}  // namespace dtrain
