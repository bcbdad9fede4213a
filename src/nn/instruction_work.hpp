// How much an instruction of the compiled graph has to compute and to move: what its time is held against.
#pragma once

#include <vector>

#include "src/nn/program.hpp"

namespace dtrain::nn {

/// The instruction's profile with its work filled in and no time yet.
InstructionProfile work_of(const NetworkSpec& network, const std::vector<Instruction>& program, const Instruction& instruction,
                           const CompileOptions& options);

}  // namespace dtrain::nn
