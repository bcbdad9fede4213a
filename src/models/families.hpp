// The families of networks: one function each, called by build_model with the extents already decided.
// Note [Where heads begin otherwise than torchvision's]: initial weights are drawn as torchvision 0.14 draws them, whose bounded
// normal of GoogLeNet and Inception-v3 (±2, 20 to 2000 deviations away) is a normal one. Exceptions, all of them heads whose
// first loss would be far above ln C: kQuietHead for ResNets (torchvision: PyTorch's default; up to 1.4·ln 2 of two classes),
// VGGs with batch-norm (N(0, 0.01); 1.3·ln 2) and Inception-v3 (N(0, 0.1); 2 to 6·ln C). ResNets for small images are not
// torchvision's: convolutions as in the published implementation (Idelbayev, pytorch_resnet_cifar10), the head N(0, 0.01).
#pragma once

#include "dtrain/layers.hpp"

namespace dtrain {

/// What all members of a family share.
struct FamilyOptions {
  NetworkSpec head;                  ///< name, extents of the pictures, number of classes; no nodes
  bool zero_init_last_norm = false;  ///< γ = 0 in the last batch-norm of every residual block
  bool aux_heads = false;            ///< auxiliary classifiers, where the family has them
};

/// depth: 18, 34 (basic blocks), 50, 101, 152 (bottlenecks; v1.5: the stride is in the 3×3 convolution).
/// Source: He et al., CVPR 2016; names and v1.5 as in torchvision.models.resnet.
NetworkSpec build_resnet(int depth, const FamilyOptions& options);

/// ResNet-50 with 3×3 convolutions of twice the width. Source: Zagoruyko & Komodakis, BMVC 2016; as in torchvision.
NetworkSpec build_wide_resnet50_2(const FamilyOptions& options);

/// Source: Krizhevsky, arXiv 1404.5997 (2014); names as in torchvision.models.alexnet.
NetworkSpec build_alexnet(const FamilyOptions& options);

/// depth: 11, 13, 16, 19; has_batch_norm: behind every convolution (torchvision's vgg16_bn and so on).
/// Source: Simonyan & Zisserman, ICLR 2015; names as in torchvision.models.vgg.
NetworkSpec build_vgg(int depth, bool has_batch_norm, const FamilyOptions& options);

/// Source: Szegedy et al., CVPR 2015; batch-norm and names as in torchvision.models.googlenet.
NetworkSpec build_googlenet(const FamilyOptions& options);

/// Source: Szegedy et al., CVPR 2016; names as in torchvision.models.inception.
NetworkSpec build_inception_v3(const FamilyOptions& options);

/// depth: 121, 161, 169, 201.
/// Source: Huang et al., CVPR 2017; names as in torchvision.models.densenet.
NetworkSpec build_densenet(int depth, const FamilyOptions& options);

enum class SqueezeNetVersion { v1_0, v1_1 };

/// The head is a convolution with an output channel for each class.
/// Source: Iandola et al., arXiv 1602.07360 (2016), and the 1.1 that its authors published; names as in
/// torchvision.models.squeezenet.
NetworkSpec build_squeezenet(SqueezeNetVersion version, const FamilyOptions& options);

/// Source: Sandler et al., CVPR 2018; names as in torchvision.models.mobilenetv2.
NetworkSpec build_mobilenet_v2(const FamilyOptions& options);

/// depth 6n + 2: 20, 32, 44, 56, 110; three stages of n basic blocks with 16, 32 and 64 channels; option-A shortcuts.
/// Source: He et al., CVPR 2016, §4.2; names as in the weights published for it (conv1, layer1.0.bn2, linear).
NetworkSpec build_cifar_resnet(int depth, const FamilyOptions& options);

/// Source: LeCun et al., Proc. IEEE 86 (1998), with ReLU, max pooling and a linear output in place of the
/// sigmoids, trainable sub-sampling and radial basis functions of its time; every C3 map sees every S2 map.
NetworkSpec build_lenet5(const FamilyOptions& options);

}  // namespace dtrain
