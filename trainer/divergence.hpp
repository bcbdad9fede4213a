// The error of a training that has left the finite numbers, and where it did so first.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "dtrain/error.hpp"
#include "dtrain/graph.hpp"

namespace dtrain {

struct Divergence {
  std::int64_t step = 0;  ///< from 1
  double learning_rate = 0.0;
  double loss = 0.0;
  bool weights_are_finite = true;  ///< this or the loss is not
  std::string place;               ///< "the result of layer1.0.conv1"; empty: not known
};
DivergedError diverged(const Divergence& divergence);
/// What to try.
inline constexpr const char* kDivergenceRemedy =
    "a smaller --lr or --base-lr, or a longer --warmup-epochs; saved checkpoints are intact";

/// What any rank has found that comes first in forward order, on all ranks. Collective.
std::optional<NonFiniteNode> first_of_all(const std::optional<NonFiniteNode>& own, const Communicator& communicator);

/// For people. Nothing found: a loss that is too large for a float, of results that are not.
std::string place_of(const std::optional<NonFiniteNode>& found, const NetworkSpec& network);
/// The first slot, in the network's order, in whose weights not all are finite. weights: laid out as the slots say. Empty:
/// there is none.
std::string place_in_weights(std::span<const float> weights, const std::vector<Slot>& slots, const NetworkSpec& network);

}  // namespace dtrain
