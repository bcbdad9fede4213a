// The first half of compiling: operations become layers with their layouts decided, and reorders stand where neighbours
// disagree.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/nn/layer.hpp"

namespace dtrain::nn {

/// One instruction of the compiled graph.
struct Instruction {
  std::string name;
  std::unique_ptr<Layer> layer;
  std::vector<int> inputs;        ///< instructions; kNetworkInput for the pictures
  std::vector<LayerIndex> nodes;  ///< nodes of the network covered; none for a reorder
  Desc dst;
  LayerNeeds needs;
  bool has_gradient = false;  ///< its result depends on a trained parameter, so backward must reach it
};

/// Instructions in execution order; the last one gives the logits, row-major.
/// Errors: ConfigError (picture too small, precision not available).
std::vector<Instruction> build_program(const NetworkSpec& network, const CompileOptions& options, const Device& device);

/// Layout of the pictures: (n, c, h, w) row-major.
Desc pictures_desc(const NetworkSpec& network, std::int64_t batch);

}  // namespace dtrain::nn
