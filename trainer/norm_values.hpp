// Batch-norms that would take their statistics over a single value: an image of one pixel. They train nothing then, their
// result being β, and running statistics leave such micro-batches out (src/nn/channel_norm.cpp). Found before the run begins.
#pragma once

#include <optional>
#include <string>

#include "trainer/run_plan.hpp"

namespace dtrain {

/// A batch-norm whose statistics are of a single value in some micro-batches.
struct SingleValueNorm {
  std::string layer;        ///< the first such one: "layer4.0.bn1"
  std::int64_t layers = 0;  ///< how many there are
  std::int64_t crop = 0;    ///< side of the images
  bool always = false;      ///< of a rank that has no other micro-batches in a full step
};

/// Looks at every size of image and micro-batch of the run, those of all ranks together with --bn sync. Pure.
std::optional<SingleValueNorm> find_single_value_norm(const RunPlan& plan, int ranks);

/// Errors: ConfigError: a rank's running statistics would never be those of its images; names the smallest --local-batch and
/// --crop that work. Result: the warning of a run in which only some micro-batches are so; else empty. Pure.
std::string require_norms_of_several_values(const RunPlan& plan, int ranks);

}  // namespace dtrain
