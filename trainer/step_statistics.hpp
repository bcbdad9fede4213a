// What the steps of a run add up to, in room that does not grow with their number.
#pragma once

#include <cstdint>
#include <vector>

#include "trainer/metrics.hpp"
#include "trainer/trainer.hpp"

namespace dtrain {

/// Sums over steps.
struct StepTotals {
  std::int64_t steps = 0;
  double seconds = 0.0;
  std::int64_t samples = 0;
  StepPhases phases;

  void add(const StepReport& step);
};

/// Throughput of a run. Quantiles and spread are those of all its steps up to kMostKept of them, then of a sample of these
/// steps: of at least half as many, which a hash of their numbers chooses, so that the sample has no period and is always the
/// same.
class StepStatistics {
 public:
  static constexpr std::size_t kMostKept = 8192;

  /// most_warmup: so many of the first steps are left out of a throughput at most.
  explicit StepStatistics(std::int64_t most_warmup = kMostWarmupSteps) : most_warmup_(most_warmup) {}

  void add(const StepReport& step);
  /// Of all steps.
  const StepTotals& totals() const { return totals_; }
  /// Of the steps after the warm-up, warmup_steps_of() their number; zeros where there are none.
  Throughput throughput() const;

 private:
  struct KeptStep {
    std::int64_t index;
    std::int64_t samples;
    double step_s;
  };

  std::int64_t most_warmup_;
  StepTotals totals_;
  StepTotals early_;  ///< of the first most_warmup_ steps
  std::vector<KeptStep> kept_;
  std::uint64_t mask_ = 0;  ///< bits that are zero in the hash of every step that is kept
};

}  // namespace dtrain
