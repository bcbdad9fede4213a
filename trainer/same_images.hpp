// Whether all ranks have the same images in the same order: a sample's number is all that they say of it to each other.
#pragma once

#include <string>

#include "collectives/communicator.hpp"
#include "dtrain/data.hpp"

namespace dtrain {

/// Names below their root and labels of a data set, as a text to compare and to keep: sets with equal ones have the same
/// samples in the same order.
std::string digest_text(const Dataset& dataset);
/// Whether a text that was kept is one of these: older versions kept others.
bool is_digest_text(const std::string& text);

/// Compares names and labels over all ranks; where they lie may differ. Collective.
/// purpose  "training", for messages
/// dataset  null: this rank has none
/// folder   its root
/// Errors: DataError, on every rank: the first image that is not the same, on which ranks and hosts.
void require_same_images(const std::string& purpose, const Dataset* dataset, const std::string& folder,
                         const Communicator& communicator);

}  // namespace dtrain
