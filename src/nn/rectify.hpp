// Element-wise loops that several layers and the graph share: ReLU, its gradient, and sums. Tensors of equal shape, layout and
// type; each may be a slice of the channels of a larger one.
#pragma once

#include <string>
#include <vector>

#include "dtrain/layers.hpp"
#include "src/nn/planes.hpp"

namespace dtrain::nn {

/// dst = min(max(src, 0), ceiling); NaN passes: a diverged run must show in its loss. dst may be src.
void rectify(const Runs& src, const Runs& dst, float ceiling = kNoCeiling);

/// diff_src = (0 < dst < ceiling) · sum of the addends. diff_src may be one of them.
void rectify_gradient(const Runs& dst, const std::vector<Runs>& diff_dst, const Runs& diff_src, float ceiling = kNoCeiling);

/// "relu", "relu6".
std::string relu_in_words(float ceiling);

/// to = from.
void copy(const Runs& from, const Runs& to);

/// sum = a + b. sum may be one of them.
void add(const Runs& a, const Runs& b, const Runs& sum);

}  // namespace dtrain::nn
