// What GoogLeNet and Inception-v3 are made of: chains of convolutions with batch-norm and ReLU, side by side, concatenated.
#pragma once

#include <string>
#include <vector>

#include "dtrain/layers.hpp"
#include "src/models/builder.hpp"

namespace dtrain {

/// A stop on a branch: a Convolution, which brings its batch-norm and ReLU along, or a Pool.
struct BranchStep {
  std::string name;  ///< below the block: "branch3x3dbl_1"
  LayerSpec layer;
};

using Branch = std::vector<BranchStep>;

/// A convolution with stride 1 and an odd kernel that keeps the picture's extents.
inline Convolution convolution_same(std::int64_t out_channels, Extent kernel) {
  return {.out_channels = out_channels, .kernel = kernel, .padding = {kernel.height / 2, kernel.width / 2}};
}

/// Appends a branch behind `input` and returns its last node. A convolution becomes the nodes of torchvision's BasicConv2d:
/// name.conv without bias, name.bn with ε = 0.001, and name.relu; each name stands behind `prefix` ("Mixed_5b.", or "" outside
/// of blocks).
LayerIndex append_branch(NetworkBuilder& net, LayerIndex input, const std::string& prefix, const Branch& branch);

/// Appends branches that all read the newest node, and the Concat of their ends, in their order: "Mixed_5b.concat".
void append_branches(NetworkBuilder& net, const std::string& block, const std::vector<Branch>& branches);

}  // namespace dtrain
