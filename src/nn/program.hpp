// The first half of compiling: operations become layers with their layouts decided, and reorders stand where neighbours
// disagree.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/nn/layer.hpp"

namespace dtrain::nn {

/// One instruction of the compiled graph.
//
// Note [Parts are made in place]: the inputs of a Concat are parts of its result. Whoever makes a part writes it into its slice
// of the channels, and reads its gradient from the slices of the gradients of the whole; the Concat itself does nothing.
struct Instruction {
  std::string name;
  std::unique_ptr<Layer> layer;
  std::vector<int> inputs;        ///< instructions; kNetworkInput for the pictures
  std::vector<LayerIndex> nodes;  ///< nodes of the network covered; none for a reorder
  Desc dst;
  LayerNeeds needs;
  bool has_gradient = false;       ///< its result depends on a trained parameter, so backward must reach it
  int part_of = -1;                ///< the Concat of whose result this one's is a slice; -1: of none
  std::int64_t first_channel = 0;  ///< of the slice
  int output = -1;                 ///< of the network's outputs, the one that its result is, row-major; -1: none

  bool is_part() const { return part_of >= 0; }
  bool gives_logits() const { return output >= 0; }
};

/// Instructions in execution order; in evaluation those alone on which the main logits depend.
/// parameters: null to learn which parameters the layers have and how they like them laid out.
/// Errors: ConfigError (picture too small, precision not available).
std::vector<Instruction> build_program(const NetworkSpec& network, const CompileOptions& options, const Device& device,
                                       const ParameterStore* parameters);

/// Layout of the pictures: (n, c, h, w) row-major.
Desc pictures_desc(const NetworkSpec& network, std::int64_t batch);

}  // namespace dtrain::nn
