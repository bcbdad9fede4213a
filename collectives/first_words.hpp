// The first things that ranks say to each other: who they are, which is understood across all versions of the program that say
// it; then what they were told. Both come before there is a Communicator, which depends on it.
#pragma once

#include <string>
#include <vector>

#include "collectives/communicator.hpp"

namespace dtrain {

/// Compares what every rank says of its program. To be called when MPI has started and before any other communication: all of
/// that may differ between versions. Collective over MPI_COMM_WORLD. Errors: CommError, on every rank: the words, ranks and
/// hosts that differ from rank 0's, and the remedy; or a rank says nothing.
void require_same_words(const std::vector<Communicator::NamedValue>& words, const std::string& remedy);

/// What differs from rank 0 in the words of ranks of one version, as describe_differences tells it; empty: nothing. Words may
/// be long, and many. Collective over MPI_COMM_WORLD. Errors: CommError: MPI, or a rank says nothing.
std::string find_different_words(const std::vector<Communicator::NamedValue>& words);

}  // namespace dtrain
