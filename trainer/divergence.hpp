// The error of a training that has left the finite numbers.
#pragma once

#include <cstdint>

#include "dtrain/error.hpp"

namespace dtrain {

/// step: from 1. At least one of loss and weights is not finite.
DivergedError diverged_at(std::int64_t step, double learning_rate, double loss, bool weights_are_finite);

}  // namespace dtrain
