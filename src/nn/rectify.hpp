// Element-wise loops that several layers and the graph share: ReLU, its gradient, and sums of gradients. Tensors of equal shape
// and layout; each may be a slice of the channels of a larger one.
#pragma once

#include <vector>

#include "src/nn/planes.hpp"

namespace dtrain::nn {

/// dst = max(src, 0); NaN passes: a diverged run must show in its loss. dst may be src.
void rectify(const Runs& src, const Runs& dst);

/// diff_src = (dst > 0) · sum of the addends. diff_src may be one of them.
void rectify_gradient(const Runs& dst, const std::vector<Runs>& diff_dst, const Runs& diff_src);

/// to = from.
void copy(const Runs& from, const Runs& to);

/// to += from.
void add(const Runs& from, const Runs& to);

}  // namespace dtrain::nn
