// What the ranks of a job must have in common before they work together, whatever the command.
#pragma once

namespace dtrain {

/// Compares dtrain, oneDNN and the MPI library, once MPI has started and before there is a Communicator. Collective. Errors:
/// CommError, on every rank: what differs, on which ranks and hosts, and the remedy.
void require_same_program();

}  // namespace dtrain
