// The commands that need no other rank: they run without MPI.
#pragma once

#include <cstddef>
#include <string>

#include "launch/command_line.hpp"
#include "trainer/rank_memory.hpp"

namespace dtrain {

/// Writes fresh weights. Result: a sentence that says what was written. Errors: ConfigError (unknown model), DataError.
std::string write_fresh_weights(const InitConfig& config);

/// Table (or JSON array) of all networks: parameters, floating-point operations, picture size, activations, source.
std::string models_text(const ModelsConfig& config);

/// A rank's memory, line by line (or as a JSON object). share_bytes: what the rank may allocate; 0: not known.
std::string plan_text(const ModelsConfig& config, const RankMemory& memory, std::size_t share_bytes);

/// Renders the demonstration data set. With force, train/ and val/ of an earlier one are removed first, if the directory holds
/// nothing else. Result: a sentence that says what was written. Errors: DataError.
std::string render_demo(const MakeDemoConfig& config);

/// What a safetensors file holds: origin, state of the checksum, position of the run (checkpoints), tensors with their ranges
/// of values. Errors: DataError: missing, damaged.
std::string inspect_text(const InspectConfig& config);

}  // namespace dtrain
