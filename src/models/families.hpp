// The families of networks: one function each, called by build_model with the extents already decided.
#pragma once

#include "dtrain/layers.hpp"

namespace dtrain {

/// What all members of a family share.
struct FamilyOptions {
  NetworkSpec head;                  ///< name, extents of the pictures, number of classes; no nodes
  bool zero_init_last_norm = false;  ///< γ = 0 in the last batch-norm of every residual block
};

/// depth: 18, 34 (basic blocks), 50, 101, 152 (bottlenecks; v1.5: the stride is in the 3×3 convolution).
/// Source: He et al., CVPR 2016; names and v1.5 as in torchvision.models.resnet.
NetworkSpec build_resnet(int depth, const FamilyOptions& options);

/// depth 6n + 2: 20, 32, 44, 56, 110; three stages of n basic blocks with 16, 32 and 64 channels; option-A shortcuts.
/// Source: He et al., CVPR 2016, §4.2; names as in the weights published for it (conv1, layer1.0.bn2, linear).
NetworkSpec build_cifar_resnet(int depth, const FamilyOptions& options);

/// Source: LeCun et al., Proc. IEEE 86 (1998), with ReLU, max pooling and a linear output in place of the
/// sigmoids, trainable sub-sampling and radial basis functions of its time; every C3 map sees every S2 map.
NetworkSpec build_lenet5(const FamilyOptions& options);

}  // namespace dtrain
