// What happens to a rank's weights and state where one stage of a run ends and the next begins.
#pragma once

#include "collectives/communicator.hpp"
#include "dtrain/optimizer.hpp"
#include "schedules/stages.hpp"
#include "trainer/checkpoint_keeper.hpp"
#include "trainer/replica.hpp"

namespace dtrain {

/// The stage's last step is done, and its weights are up to date. A branch's weights, their average where there is one,
/// are kept as a member, and the trunk is what it was when the branch began. Collective. Errors: DataError.
void end_stage(const PlannedStage& stage, Replica& replica, Optimizer& optimizer, const CheckpointKeeper& keeper,
               const Communicator& communicator);

/// Zeroes and keeps what the stage says, before its first step; where the optimizer's state is zeroed, the weights' average
/// begins at the present weights. Collective.
void begin_stage(const PlannedStage& stage, Replica& replica, Optimizer& optimizer, const Communicator& communicator);

}  // namespace dtrain
