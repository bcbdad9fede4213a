// The average of the weights in the place of the weights, while they are judged or kept.
#pragma once

#include <functional>

#include "dtrain/optimizer.hpp"
#include "trainer/replica.hpp"

namespace dtrain {

/// Runs `action` with the weights' average, where the optimizer has one, in the place of the weights, which come back to the
/// bit afterwards; what it throws is for ending the run, and leaves the average there. Batch-norm's statistics are as they
/// are. The average is this replica's: with parameter servers, gathered before. Collective, also in `action`; weights are up
/// to date.
void with_averaged_weights(Replica& replica, const Optimizer& optimizer, const std::function<void()>& action);

}  // namespace dtrain
