// Turns a network's nodes into the operations that run: batch-norm takes in the ReLU, the ReLU and max pooling, or the Add and
// ReLU behind it, and the Concat in front; Add and convolution take in their ReLU. Pure; the network description itself stays
// as published.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dtrain/graph.hpp"

namespace dtrain::nn {

/// One operation of the compiled graph. Inputs are indices of operations; kNetworkInput for the pictures.
struct Operation {
  LayerIndex node = 0;            ///< the node that gives name, layer and parameters
  std::vector<int> inputs;        ///< a batch-norm with a second input adds it (residual) before its ReLU
  bool relu = false;              ///< ReLU applied to the result: of max pooling too, where it stood in front
  float ceiling = kNoCeiling;     ///< of that ReLU
  std::optional<Pool> pool{};     ///< max pooling applied behind the ReLU
  bool concatenates = false;      ///< a batch-norm that works on the channels of all inputs, one behind the other
  std::vector<LayerIndex> nodes;  ///< all nodes covered, in execution order
  int output = -1;                ///< of the network's outputs, the one that its result is; -1: none
};

/// Operations in execution order; in evaluation those alone on which the main logits depend.
/// A batch-norm whose only reader is a ReLU, a ReLU with max pooling behind, an Add, or an Add with a ReLU behind takes those
/// in, at the place of the last of them. Where both inputs of an Add are such batch-norms, the first one does.
/// A ReLU with a ceiling is taken in by a batch-norm in front of it only, and no pooling behind it.
/// A batch-norm that alone reads a Concat takes that in: it reads the parts where they are. DenseNet's features, which many
/// batch-norms read, are thus never copied.
/// A convolution takes in the ReLU that alone reads it, unless that is to write into a Concat: then it is the copying. Where
/// max pooling alone reads that ReLU, the pooling takes it in: the maximum of rectified values is the rectified maximum.
std::vector<Operation> fuse(const NetworkSpec& network, const Fusions& fusions = {}, bool training = true);

}  // namespace dtrain::nn
