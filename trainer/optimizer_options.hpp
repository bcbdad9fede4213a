// Options of the optimizers: which belong to which, and what they are where nothing is said.
#pragma once

#include <string>
#include <vector>

#include "dtrain/error.hpp"
#include "dtrain/optimizer.hpp"
#include "trainer/config.hpp"

namespace dtrain {

/// What --optimizer knows.
const std::vector<std::string>& optimizer_names();

/// Faults of all options of the optimizer but its name, which may be none of the above. Pure.
std::vector<Fault> optimizer_faults(const TrainConfig& config);

// Of a valid configuration, every default filled in.

/// Peak rate per 256 samples, unless an absolute one is asked for: 0.1 for sgd and nesterov (Goyal et al. 2017) and lars, whose
/// trust ratio brings its own scale; PyTorch's default rates for rmsprop, 0.01, and adamw, 0.001; 0.001 for lamb too.
double base_rate(const TrainConfig& config);
/// 0.9; adamw and lamb have none.
double momentum_of(const TrainConfig& config);
/// 1e-4; adamw and lamb, where it is multiplied by the rate, 0.01 (PyTorch; You et al. 2020).
double weight_decay_of(const TrainConfig& config);
OptimizerSettings optimizer_settings(const TrainConfig& config);

/// Lines "key=value" of a recipe: what the optimizer is told beside its name, momentum and decay. Options of sgd that have
/// their default are left out, as in recipes older than the options.
std::string describe_optimizer(const TrainConfig& config);

}  // namespace dtrain
