// Whether all ranks were told the same: every option of their command, but for the few that each rank follows by itself.
#pragma once

#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "launch/command_line.hpp"

namespace dtrain {

/// What ranks of a job have in common: the command's name, then every option that it has, with its value. New options are among
/// them by themselves. For commands of several ranks.
std::vector<Communicator::NamedValue> common_options(const TrainConfig& config);
std::vector<Communicator::NamedValue> common_options(const EvalConfig& config);
std::vector<Communicator::NamedValue> common_options(const BenchConfig& config);
std::vector<Communicator::NamedValue> common_options(const ModelsConfig& config);
std::vector<Communicator::NamedValue> common_options(const TopoConfig& config);

/// Compares them over all ranks, before there is a Communicator and before anything that depends on them. Collective over
/// MPI_COMM_WORLD. Errors: ConfigError, on every rank: the options that differ, with both values, ranks and hosts.
void require_same_options(const std::vector<Communicator::NamedValue>& options);

}  // namespace dtrain
