// Between two stages; see stage_change.hpp.
#include "trainer/stage_change.hpp"

namespace dtrain {

void end_stage(const PlannedStage& stage, Replica& replica, Optimizer& optimizer, const CheckpointKeeper& keeper) {
  if (!stage.stage.is_branch) return;
  replica.average_statistics();
  keeper.keep_member(replica, stage.stage.name);
  keeper.restore_trunk(replica, optimizer, stage.begin);
}

void begin_stage(const PlannedStage& stage, Replica& replica, Optimizer& optimizer, const Communicator& communicator) {
  if (!stage.stage.keeps_statistics) replica.reset_statistics();
  if (stage.stage.keeps_momentum) return;
  communicator.barrier();  // ranks of a node may have one copy, which others still read
  optimizer.zero_state();
  communicator.barrier();
}

}  // namespace dtrain
