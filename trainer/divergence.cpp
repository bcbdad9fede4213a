// The one text of it, and the search for its place; see divergence.hpp.
#include "trainer/divergence.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace dtrain {

namespace {

std::string number_in_words(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

}  // namespace

DivergedError diverged(const Divergence& divergence) {
  const bool loss_is_finite = std::isfinite(divergence.loss);
  return DivergedError(Fault{.doing = "training step " + std::to_string(divergence.step),
                             .expected = "a finite loss and finite weights",
                             .found = (loss_is_finite                ? ""
                                       : std::isnan(divergence.loss) ? "loss nan"
                                                                     : "loss " + std::to_string(divergence.loss)) +
                                      std::string(loss_is_finite || divergence.weights_are_finite ? "" : " and ") +
                                      (divergence.weights_are_finite ? "" : "weights that are not finite") +
                                      " at learning rate " + number_in_words(divergence.learning_rate) +
                                      (divergence.place.empty() ? "" : ", first in " + divergence.place),
                             .remedy = kDivergenceRemedy});
}

std::optional<NonFiniteNode> first_of_all(const std::optional<NonFiniteNode>& own, const Communicator& communicator) {
  // Weights before results of the same node; kNetworkInput is −1.
  const double key =
      own ? 2.0 * static_cast<double>(own->node) + (own->in_weights ? 0.0 : 1.0) : std::numeric_limits<double>::infinity();
  const double first = communicator.min(key);
  if (!std::isfinite(first)) return {};
  const double node = std::floor(first / 2.0);
  return NonFiniteNode{.node = static_cast<LayerIndex>(node), .in_weights = first == 2.0 * node};
}

std::string place_of(const std::optional<NonFiniteNode>& found, const NetworkSpec& network) {
  if (!found) return "the loss itself";
  if (found->node == kNetworkInput) return "the pictures";
  return (found->in_weights ? "the weights of " : "the result of ") + network.nodes[static_cast<std::size_t>(found->node)].name;
}

std::string place_in_weights(std::span<const float> weights, const std::vector<Slot>& slots, const NetworkSpec& network) {
  for (const std::string& name : tensor_names(network)) {
    const auto slot = std::ranges::find(slots, name, [](const Slot& candidate) { return candidate.spec.name; });
    if (slot == slots.end()) continue;  // statistics
    if (!all_finite(weights.subspan(static_cast<std::size_t>(slot->offset), static_cast<std::size_t>(slot->size)))) return name;
  }
  return {};
}

}  // namespace dtrain
