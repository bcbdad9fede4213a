// Stages as text: "NAME: key=value key=value; NAME: …".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "schedules/stages.hpp"

namespace dtrain {

/// What the text of a stage leaves out.
struct StageContext {
  Stage defaults;
  std::int64_t global_batch = 256;  ///< for base-lr
  BatchScaling scaling = BatchScaling::linear;
};

/// Keys: epochs or steps; lr or base-lr (per 256 pictures); schedule; warmup-epochs, warmup-start-lr; weight-decay,
/// weight-decay-schedule; momentum, momentum-schedule; label-smoothing; augment; crop; keep-momentum, keep-statistics, branch
/// (on|off). Example: "main: epochs=85 lr=4.8 schedule=poly warmup-epochs=5; collapse: epochs=5 lr=0.25 schedule=poly:power=2".
/// Errors: ConfigError: every fault of the text in one message.
std::vector<Stage> parse_stages(std::string_view text, const StageContext& context);

/// A text without the keys that have the value of a plain Stage; parse_stages of it in a plain context gives the same stages,
/// but for a start rate of no warm-up.
std::string to_text(const std::vector<Stage>& stages);

}  // namespace dtrain
