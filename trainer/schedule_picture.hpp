// The plan of a run as a picture: learning rate and weight decay over epochs, stages side by side.
#pragma once

#include <string>

#include "trainer/run_plan.hpp"

namespace dtrain {

/// An SVG of two panels over the epochs of the run as executed: the rate above, the weight decay below. Stages are bands with
/// their names; branches are shaded. Pure.
std::string schedule_picture(const RunPlan& plan);

}  // namespace dtrain
