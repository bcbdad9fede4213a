// Whether values are numbers, neither infinite nor NaN: what a diverged network is searched for.
#pragma once

#include "src/nn/planes.hpp"

namespace dtrain::nn {

/// f32 or bf16, padding included (which holds zeros). Cost: reads the tensor once, with the caller's threads.
bool is_finite(const Runs& values);

}  // namespace dtrain::nn
