// Decides which results and gradients of a program share a buffer, and how long each buffer lives: the input of the arena plan.
//
// Time: instruction i runs forward at time i and backward at time 2L−1−i, L instructions.
#pragma once

#include <vector>

#include "src/nn/memory_plan.hpp"
#include "src/nn/program.hpp"

namespace dtrain::nn {

using BufferId = int;
inline constexpr BufferId kNoBuffer = -1;

/// Of an instruction whose result is a part of another's (program.hpp), dst and diff_dst are the whole's.
struct InstructionBuffers {
  BufferId dst = kNoBuffer;
  BufferId recomputed_dst = kNoBuffer;  ///< where backward finds the result, if it is recomputed
  std::vector<int> recompute_first;     ///< instructions whose results are recomputed before this one's backward
  BufferId workspace = kNoBuffer;
  BufferId scratch = kNoBuffer;    ///< alive while the instruction runs, forward, recomputing and backward
  std::vector<BufferId> diff_dst;  ///< gradients of the result, one per reader (aliases counted once); the layer adds up the
                                   ///< first diff_dst_addends, the rest are added to the first beforehand
  std::vector<BufferId> diff_src;  ///< per input; kNoBuffer: not wanted
  std::vector<bool> adds_to_diff_src;  ///< per input: the buffer holds another reader's gradient, to be added to
};

struct BufferAssignment {
  std::vector<InstructionBuffers> instructions;
  std::vector<Lifetime> lifetimes;  ///< per buffer
};

/// recompute_norm: results that can be recomputed are, where only backward keeps them alive and that makes the arena smaller.
BufferAssignment assign_buffers(const std::vector<Instruction>& program, bool training, bool recompute_norm);

}  // namespace dtrain::nn
