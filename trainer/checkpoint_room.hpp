// How much of a disk the files of weights of a run take when they take most.
#pragma once

#include <cstdint>

#include "dtrain/checkpoint.hpp"
#include "trainer/run_plan.hpp"

namespace dtrain {

/// Elements of what a run saves; all are floats on the disk.
struct SavedElements {
  std::int64_t weights = 0;     ///< with batch-norm's statistics: a file of weights alone
  std::int64_t checkpoint = 0;  ///< weights, the optimizer's states, every rank's own statistics
};

/// Pure. Bytes at the moment of a save: the checkpoints that are kept, the one that is added before the oldest goes, the trunk
/// of a branch, the last, best and average weights, the one of them that is written next to the file whose place it takes, and
/// the members. keeps: --keep-checkpoints; evaluates: there are best weights. Never more checkpoints than the run saves.
std::int64_t room_bytes(const RunPlan& plan, const SavedElements& elements, std::int64_t keeps, bool evaluates);

/// Of such files that are there already, which a run that is resumed replaces or has counted: bytes.
std::int64_t bytes_there(const CheckpointPaths& paths);

}  // namespace dtrain
