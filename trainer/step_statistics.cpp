// Sums and samples of steps; see step_statistics.hpp.
#include "trainer/step_statistics.hpp"

#include <algorithm>
#include <cmath>

#include "dtrain/random.hpp"

namespace dtrain {

void StepTotals::add(const StepReport& step) {
  ++steps;
  seconds += step.step_s;
  samples += step.samples;
  phases.data += step.phases.data, phases.forward += step.phases.forward, phases.backward += step.phases.backward;
  phases.exchange += step.phases.exchange, phases.update += step.phases.update;
}

void StepStatistics::add(const StepReport& step) {
  const auto is_sampled = [&](std::int64_t index) { return (mix_bits(static_cast<std::uint64_t>(index)) & mask_) == 0; };
  const std::int64_t index = totals_.steps;
  totals_.add(step);
  if (index < most_warmup_) early_.add(step);
  if (!is_sampled(index)) return;
  while (kept_.size() >= kMostKept) {
    mask_ = 2 * mask_ + 1;
    std::erase_if(kept_, [&](const KeptStep& kept) { return !is_sampled(kept.index); });
  }
  if (is_sampled(index)) kept_.push_back({.index = index, .samples = step.samples, .step_s = step.step_s});
}

Throughput StepStatistics::throughput() const {
  const std::int64_t warmup = std::min(most_warmup_, warmup_steps_of(totals_.steps));
  std::vector<StepReport> measured;
  for (const KeptStep& kept : kept_) {
    if (kept.index >= warmup) measured.push_back({.samples = kept.samples, .step_s = kept.step_s});
  }
  Throughput throughput = throughput_of(measured);
  if (mask_ == 0) return throughput;
  // A run of which only a sample is kept is long: its warm-up is most_warmup_ steps.
  throughput.mean = static_cast<double>(totals_.samples - early_.samples) / (totals_.seconds - early_.seconds);
  throughput.uncertainty *= std::sqrt(static_cast<double>(measured.size()) / static_cast<double>(totals_.steps - warmup));
  return throughput;
}

}  // namespace dtrain
