// The search for the node at which a pass leaves the finite numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kBatch = 3;

/// A compiled network and pictures for it.
struct Searched {
  explicit Searched(const NetworkSpec& described, Precision precision = Precision::fp32)
      : network(described),
        compiled(network, {.batch = kBatch, .precision = precision}, random_parameters(network, 1)),
        pictures(to_floats(random_values(picture_elements(network, kBatch), 2))) {}

  std::optional<NonFiniteNode> find() { return compiled.graph().find_non_finite(pictures, {}); }
  std::span<float> values(const std::string& name) { return compiled.store().values(*compiled.store().find(name)); }

  NetworkSpec network;
  CompiledNetwork compiled;
  std::vector<float> pictures;
};

std::vector<Precision> precisions() {
  if (bf16_support() == Bf16Support::none) return {Precision::fp32};
  return {Precision::fp32, Precision::bf16};
}

// After each search the weight is mended, while results in the arena still hold what it made of them: they must not be mistaken
// for results of the next one.
TEST(NonFinite, WeightsAreFoundAtTheirNode) {
  for (const Precision precision : precisions()) {
    for (const NetworkSpec& network : small_networks()) {
      SCOPED_TRACE(network.name + " in " + to_text(precision));
      Searched searched(network, precision);
      const auto parameters = parameters_by_node(network);
      for (std::size_t node = 0; node < parameters.size(); ++node) {
        for (const ParameterSpec& spec : parameters[node]) {
          if (!spec.is_trained()) continue;
          EXPECT_EQ(searched.find(), std::nullopt);
          float& weight = searched.values(spec.name).front();
          const float mended = weight;
          weight = spec.kind == ParameterSpec::Kind::bias ? -kInfinity : std::numeric_limits<float>::quiet_NaN();

          const NonFiniteNode expected{.node = static_cast<LayerIndex>(node), .in_weights = true};
          EXPECT_EQ(searched.find(), expected) << spec.name;
          weight = mended;
        }
      }
      EXPECT_EQ(searched.find(), std::nullopt);
    }
  }
}

// Weights of which the largest float is a few times as large: sums of a few products exceed it, of both signs, so that no ReLU
// hides all of them.
TEST(NonFinite, ResultsAreFoundAtTheNodeThatMakesThem) {
  for (const Precision precision : precisions()) {
    for (const NetworkSpec& network :
         {residual_chain(), inception_block(), fire_blocks(), dense_block(), inverted_residuals()}) {
      SCOPED_TRACE(network.name + " in " + to_text(precision));
      Searched searched(network, precision);
      const auto parameters = parameters_by_node(network);
      int found = 0;
      for (std::size_t node = 0; node < parameters.size(); ++node) {
        if (parameters[node].empty() || parameters[node].front().kind != ParameterSpec::Kind::conv_weight) continue;
        const auto values = searched.values(parameters[node].front().name);
        const std::vector<float> mended(values.begin(), values.end());
        for (float& value : values) {  // padding stays 0
          if (value != 0.0f) value = value > 0.0f ? 1.5e38f : -1.5e38f;
        }

        const NonFiniteNode expected{.node = static_cast<LayerIndex>(node), .in_weights = false};
        EXPECT_EQ(searched.find(), expected) << network.nodes[node].name;
        std::ranges::copy(mended, values.begin());
        ++found;
      }
      EXPECT_GT(found, 1);
    }
  }
}

TEST(NonFinite, PicturesAreFoundBeforeAnyNode) {
  Searched searched(residual_chain());
  searched.pictures.back() = kInfinity;

  EXPECT_EQ(searched.find(), (NonFiniteNode{.node = kNetworkInput, .in_weights = false}));
}

TEST(NonFinite, SearchingChangesNoBitOfWhatFollows) {
  for (const NetworkSpec& network : small_networks()) {
    SCOPED_TRACE(network.name);
    const auto step = [&](bool searches) {
      Searched searched(network);
      const PassOptions pass{.step = 5, .first_sample = 7};
      StepResult result;
      const auto logits = searched.compiled.graph().forward(searched.pictures, pass).values();
      result.logits.assign(logits.begin(), logits.end());
      if (searches) {
        EXPECT_EQ(searched.compiled.graph().find_non_finite(searched.pictures, pass), std::nullopt);
      }
      searched.compiled.backward(random_values(logits_elements(network, kBatch), 3));
      result.gradients = plain_gradients(searched.compiled.store());
      const auto statistics = searched.compiled.store().statistics();
      result.statistics.assign(statistics.begin(), statistics.end());
      return result;
    };

    EXPECT_TRUE(step(true) == step(false));
  }
}

}  // namespace
}  // namespace dtrain
