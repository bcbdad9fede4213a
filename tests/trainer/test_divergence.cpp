// Where a training diverged: agreed upon by real ranks, found among weights, and put into words.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "dtrain/models.hpp"
#include "trainer/divergence.hpp"

namespace dtrain {
namespace {

std::string text_of(const Divergence& divergence) { return diverged(divergence).what(); }

TEST(Divergence, OfALossNamesItAndItsPlace) {
  const std::string text =
      text_of({.step = 7, .learning_rate = 0.5, .loss = HUGE_VAL, .weights_are_finite = true, .place = "the result of conv1"});

  EXPECT_EQ(text.find("training step 7: expected a finite loss and finite weights, found loss inf at learning rate 0.5, "
                      "first in the result of conv1; try: "),
            0U)
      << text;
}

TEST(Divergence, OfWeightsWithoutAPlaceNamesNone) {
  const std::string text = text_of({.step = 1, .learning_rate = 0.5, .weights_are_finite = false, .place = {}});

  EXPECT_NE(text.find("found weights that are not finite at learning rate 0.5; try: "), std::string::npos) << text;
}

TEST(DivergedPlace, IsThatOfTheFirstNodeThatAnyRankHasFound) {
  const Communicator communicator;
  const bool is_last = communicator.rank() == communicator.size() - 1;
  const NonFiniteNode early{.node = 3, .in_weights = false};
  const NonFiniteNode late{.node = 4, .in_weights = true};
  using Found = std::optional<NonFiniteNode>;

  EXPECT_EQ(first_of_all({}, communicator), std::nullopt);
  EXPECT_EQ(first_of_all(is_last ? Found(late) : Found(), communicator), late);
  EXPECT_EQ(first_of_all(is_last ? early : late, communicator), early);
  const NonFiniteNode weights{.node = 4, .in_weights = true};
  const NonFiniteNode result{.node = 4, .in_weights = false};
  EXPECT_EQ(first_of_all(is_last ? weights : result, communicator), weights);
  const NonFiniteNode pictures{.node = kNetworkInput, .in_weights = false};
  EXPECT_EQ(first_of_all(is_last ? pictures : early, communicator), pictures);
}

TEST(DivergedPlace, IsNamedByItsNode) {
  const NetworkSpec network = build_model("lenet5", {.num_classes = 10});

  EXPECT_EQ(place_of({}, network), "the loss itself");
  EXPECT_EQ(place_of(NonFiniteNode{.node = kNetworkInput}, network), "the pictures");
  EXPECT_EQ(place_of(NonFiniteNode{.node = 0}, network), "the result of " + network.nodes[0].name);
  EXPECT_EQ(place_of(NonFiniteNode{.node = 0, .in_weights = true}, network), "the weights of " + network.nodes[0].name);
}

// Slots stand in the order of backward, so the one that comes first there is the last one by name.
TEST(DivergedPlace, InWeightsIsTheFirstSlotInTheOrderOfTheNetwork) {
  const NetworkSpec network = build_model("resnet20", {.num_classes = 10});
  ParameterStore store(Graph::plan_parameters(network, {.batch = 2}, false));
  initialize(network, 1, store);
  const auto place = [&] { return place_in_weights(store.weights(), store.trained_slots(), network); };
  EXPECT_EQ(place(), "");

  for (const char* name : {"linear.bias", "layer3.0.bn1.weight", "layer1.2.conv2.weight"}) {
    store.values(*store.find(name)).back() = -std::numeric_limits<float>::infinity();
    EXPECT_EQ(place(), name);
  }
}

}  // namespace
}  // namespace dtrain
