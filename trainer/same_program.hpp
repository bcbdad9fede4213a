// What the ranks of a job must have in common before they work together, whatever the command.
#pragma once

#include <optional>

#include "collectives/communicator.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

/// Compares dtrain, oneDNN and the MPI library, once MPI has started and before there is a Communicator. Collective. Errors:
/// CommError, on every rank: what differs, on which ranks and hosts, and the remedy.
void require_same_program();

/// What is to be said where oneDNN uses other instructions on some ranks' CPUs than on rank 0's; none: it does not. Collective;
/// the same on every rank.
std::optional<Fault> find_mixed_cpus(const Communicator& communicator);

}  // namespace dtrain
