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

  /// Index of the newest node, kNetworkInput before the first; behind an auxiliary head, the node that the network goes on
  /// from.
  LayerIndex newest() const { return newest_; }
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

  /// Sets how the weights of all convolutions (linear layers) that stand there so far are drawn.
  void draw_convolutions(const InitialDraw& draw);
  void draw_linears(const InitialDraw& draw);

  /// Makes the newest node the logits of an auxiliary head with this weight of its loss; the network goes on from `trunk`.
  void end_auxiliary_head(float loss_weight, LayerIndex trunk);

  /// The finished description; the newest node gives the main logits. Errors: ConfigError: the pictures are too small for a
  /// layer.
  NetworkSpec finish() &&;

 private:
  LayerIndex push(Node node);

  NetworkSpec network_;
  LayerIndex newest_ = kNetworkInput;
};

}  // namespace dtrain
