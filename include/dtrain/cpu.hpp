// Which oneDNN computes here, and with which of the CPU's instructions: what ranks must have in common for a run's bits not to
// depend on which of them runs where.
#pragma once

#include <string>
#include <vector>

namespace dtrain {

/// "2.6.3", of the library that is loaded.
std::string onednn_version();

/// The instruction set that oneDNN uses on this CPU, as ONEDNN_MAX_CPU_ISA (which it respects) spells it: "AVX512_CORE_BF16".
/// Sets without such a name are hexadecimal.
std::string instruction_set();

/// The richest set with a name that all of these contain; empty: there is none.
std::string common_instruction_set(const std::vector<std::string>& sets);

}  // namespace dtrain
