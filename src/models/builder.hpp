// Writes network descriptions: each verb appends a node behind the newest one (or behind one that is named), so
// that a network's file reads in the order in which pictures travel.
#pragma once

#include <string>
#include <vector>

#include "dtrain/layers.hpp"

namespace dtrain {

class NetworkBuilder {
 public:
  /// head: name, extents of the pictures and number of classes; its nodes are empty.
  explicit NetworkBuilder(NetworkSpec head);

  /// Index of the newest node, kNetworkInput before the first.
  LayerIndex newest() const { return static_cast<LayerIndex>(network_.nodes.size()) - 1; }
  /// Channels (or features) of a node's output.
  std::int64_t channels(LayerIndex node) const;

  /// Appends a node behind the newest one and returns its index.
  LayerIndex append(std::string name, LayerSpec layer) { return append_behind(newest(), std::move(name), std::move(layer)); }
  /// Appends a node whose only input is `input`.
  LayerIndex append_behind(LayerIndex input, std::string name, LayerSpec layer);
  /// Appends the sum of two nodes.
  LayerIndex add(std::string name, LayerIndex branch, LayerIndex shortcut);
  /// Appends the channels of all nodes, one behind the other.
  LayerIndex concat(std::string name, std::vector<LayerIndex> nodes);

  /// Appends global average pooling ("avgpool"), "flatten" and the linear head, which is named `linear_name`.
  void append_classifier(const std::string& linear_name);

  /// The finished description. Errors: ConfigError: the pictures are too small for a layer.
  NetworkSpec finish() &&;

 private:
  NetworkSpec network_;
};

}  // namespace dtrain
