// Between two stages; see stage_change.hpp.
#include "trainer/stage_change.hpp"

#include "trainer/averaged_statistics.hpp"
#include "trainer/averaged_weights.hpp"

namespace dtrain {

void end_stage(const PlannedStage& stage, Replica& replica, Optimizer& optimizer, const CheckpointKeeper& keeper,
               const Communicator& communicator) {
  if (!stage.stage.is_branch) return;
  {
    const AveragedStatistics average(replica, communicator);
    with_averaged_weights(replica, optimizer, [&] { keeper.keep_member(replica, stage); });
  }
  keeper.restore_trunk(replica, optimizer, stage.begin);
}

void begin_stage(const PlannedStage& stage, Replica& replica, Optimizer& optimizer, const Communicator& communicator) {
  if (!stage.stage.keeps_statistics) replica.reset_statistics();
  const bool keeps_state = stage.stage.keeps_momentum && stage.begin > 0;  // before the first step there is none
  if (keeps_state) return;
  communicator.barrier();  // ranks of a node may have one copy, which others still read
  optimizer.zero_state();
  optimizer.begin_average(replica.parameters().weights());
  communicator.barrier();
}

}  // namespace dtrain
