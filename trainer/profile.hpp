// Where the time of a step goes: by layer and direction, and by kind of work.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "trainer/run_plan.hpp"
#include "trainer/step_statistics.hpp"

namespace dtrain {

struct StepProfile {
  MachinePeaks peaks;
  std::vector<InstructionProfile> instructions;  ///< in execution order, over all profiled steps
  StepTotals steps;                              ///< those that were profiled
};

/// Seconds a step and what they were spent on; flops and bytes a step, 0 where they do not apply.
struct ProfileShare {
  std::string kind;  ///< "convolution forward", "batch-norm", "update", …
  double seconds = 0.0;
  double flops = 0.0;
  double bytes = 0.0;
};

/// All of a step, largest first: convolutions by direction, other layers by kind, bringing weights into working layout, loss
/// and calls in between, waiting for data and for the exchange, update. Pure.
std::vector<ProfileShare> profile_shares(const StepProfile& profile);

/// A table for people, by kind.
std::string profile_text(const StepProfile& profile);

/// One JSON object: peaks, totals by kind, and every layer's directions with ms a step, share, GFLOP/s and GB/s, as numbers and
/// relative to the peaks. Errors: DataError.
void write_profile(const std::filesystem::path& path, const RunPlan& plan, int threads, const StepProfile& profile);

}  // namespace dtrain
