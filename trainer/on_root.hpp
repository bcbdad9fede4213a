// What one rank does for all of them.
#pragma once

#include <functional>

#include "collectives/communicator.hpp"

namespace dtrain {

/// Runs `action` on the root alone; an Error that it throws is thrown on every rank, so that none waits for one that has left.
/// Collective.
void on_root(const Communicator& communicator, const std::function<void()>& action);

}  // namespace dtrain
