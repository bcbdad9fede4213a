// Every optimizer's rule: steps by hand, and twenty steps of the formulas in double.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "dtrain/optimizer.hpp"
#include "tests/core/fixtures.hpp"

namespace dtrain {
namespace {

using SlotKind = ParameterSpec::Kind;

/// Every rule, under a name for messages.
struct NamedSettings {
  const char* name;
  OptimizerSettings settings;
};
const std::vector<NamedSettings>& all_rules() {
  static const std::vector<NamedSettings> rules{
      {"sgd", {OptimizerKind::sgd}},
      {"nesterov", {OptimizerKind::nesterov}},
      {"sgd, rated", {.kind = OptimizerKind::sgd, .rate_in_velocity = true}},
      {"nesterov, rated", {.kind = OptimizerKind::nesterov, .rate_in_velocity = true}},
      {"rmsprop, torch", {.kind = OptimizerKind::rmsprop}},
      {"rmsprop, tensorflow", {.kind = OptimizerKind::rmsprop, .rmsprop_form = RmspropForm::tensorflow, .epsilon = 1e-3}},
      {"adamw", {.kind = OptimizerKind::adamw}},
  };
  return rules;
}

/// A decaying weight and a bias, at 2 both.
class Pair {
 public:
  explicit Pair(const OptimizerSettings& settings)
      : store_(
            {{{"w", {1, 1}, SlotKind::linear_weight}, plain_layout({1, 1})}, {{"b", {1}, SlotKind::bias}, plain_layout({1})}}),
        optimizer_(settings, store_) {
    at("w") = at("b") = 2.0f;
  }
  void step(float weight_gradient, float bias_gradient, const UpdateRates& rates) {
    store_.gradient(*store_.find("w"))[0] = weight_gradient;
    store_.gradient(*store_.find("b"))[0] = bias_gradient;
    EXPECT_TRUE(optimizer_.update(store_, {0, std::ssize(store_.weights())}, rates));
  }
  float& at(const char* name) { return store_.values(*store_.find(name))[0]; }
  Optimizer& optimizer() { return optimizer_; }

 private:
  ParameterStore store_;
  Optimizer optimizer_;
};

// All numbers below are exact in binary: rate ¼, momentum ½, decay ½.
constexpr UpdateRates kByHand{.learning_rate = 0.25f, .momentum = 0.5f, .weight_decay = 0.5f};

TEST(OptimizerRules, SgdWithTheRateInTheVelocityEqualsStepsByHand) {
  Pair pair({.kind = OptimizerKind::sgd, .rate_in_velocity = true});

  pair.step(3.0f, 3.0f, kByHand);  // w: g = 3 + ½·2 = 4; v = 4/4 = 1; w = 1.   b: v = ¾; b = 1.25
  EXPECT_EQ(pair.at("w"), 1.0f);
  EXPECT_EQ(pair.at("b"), 1.25f);

  UpdateRates faster = kByHand;
  faster.learning_rate = 0.5f;
  pair.step(1.5f, 1.0f, faster);  // w: g = 2; v = ½·1 + ½·2 = 1.5; w = −½.   b: v = ⅜ + ½ = ⅞; b = ⅜
  EXPECT_EQ(pair.at("w"), -0.5f);
  EXPECT_EQ(pair.at("b"), 0.375f);
}

TEST(OptimizerRules, MomentumCorrectionScalesTheVelocityWithTheRate) {
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::nesterov}) {
    Pair pair({.kind = kind, .rate_in_velocity = true});
    pair.step(3.0f, 0.0f, kByHand);  // v = 1; sgd: w = 1; nesterov: w = 2 − (1 + ½) = ½
    UpdateRates faster = kByHand;
    faster.learning_rate = 0.5f;
    faster.rate_ratio = 2.0f;
    // sgd: g = 1.5 + ½ = 2; v = ½·2·1 + ½·2 = 2; w = −1.   nesterov: g = 1.75 + ¼ = 2; v = 2; w = ½ − (1 + ½·2) = −1.5
    pair.step(kind == OptimizerKind::sgd ? 1.5f : 1.75f, 0.0f, faster);
    EXPECT_EQ(pair.at("w"), kind == OptimizerKind::sgd ? -1.0f : -1.5f);
  }
}

TEST(OptimizerRules, RatedNesterovEqualsNesterovWhileTheRateIsConstant) {
  Pair rated({.kind = OptimizerKind::nesterov, .rate_in_velocity = true}), plain({OptimizerKind::nesterov});
  for (const float gradient : {3.0f, 1.75f, -0.5f}) {
    rated.step(gradient, gradient, kByHand);
    plain.step(gradient, gradient, kByHand);
    EXPECT_EQ(rated.at("w"), plain.at("w"));
    EXPECT_EQ(rated.at("b"), plain.at("b"));
  }
}

TEST(OptimizerRules, RmspropOfTorchEqualsStepsByHand) {
  Pair pair({.kind = OptimizerKind::rmsprop, .alpha = 0.75, .epsilon = 2.0});

  pair.step(3.0f, 4.0f, kByHand);  // w: g = 4; b: g = 4; both s = ¼·16 = 4; v = 4/(2 + 2) = 1; 2 − ¼ = 1.75
  EXPECT_EQ(pair.at("w"), 1.75f);
  EXPECT_EQ(pair.at("b"), 1.75f);

  pair.step(1.125f, 2.0f, kByHand);  // g = 2; s = ¾·4 + ¼·4 = 4; v = ½ + 2/4 = 1; 1.75 − ¼ = 1.5
  EXPECT_EQ(pair.at("w"), 1.5f);
  EXPECT_EQ(pair.at("b"), 1.5f);
}

TEST(OptimizerRules, RmspropOfTensorflowEqualsAStepByHandAndStartsAtOne) {
  Pair pair({.kind = OptimizerKind::rmsprop, .rmsprop_form = RmspropForm::tensorflow, .alpha = 0.75, .epsilon = 2.25});

  for (int begin = 0; begin < 2; ++begin) {
    pair.step(1.0f, 2.0f, kByHand);  // g = 2; s = ¾·1 + ¼·4 = 1.75; v = ¼·2/√(1.75 + 2.25) = ¼; 2 − ¼ = 1.75
    EXPECT_EQ(pair.at("w"), 1.75f);
    EXPECT_EQ(pair.at("b"), 1.75f);
    pair.optimizer().zero_state();
    pair.at("w") = pair.at("b") = 2.0f;
  }
}

TEST(OptimizerRules, AdamwEqualsAStepByHandAndBeginsAnewWithZeroedState) {
  Pair pair({.kind = OptimizerKind::adamw, .beta1 = 0.5, .beta2 = 0.75, .epsilon = 1.0});

  for (int begin = 0; begin < 2; ++begin) {
    // m = 1.5, m̂ = 3; s = 9/4, ŝ = 9; 3/(3 + 1) = ¾.  w = (1 − ¼·½)·2 − ¼·¾ = 1.5625; b = 2 − 3/16 = 1.8125
    pair.step(3.0f, 3.0f, kByHand);
    EXPECT_EQ(pair.at("w"), 1.5625f);
    EXPECT_EQ(pair.at("b"), 1.8125f);
    pair.optimizer().zero_state();
    pair.at("w") = pair.at("b") = 2.0f;
  }
}

/// The formulas of optimizer.hpp in double, slot by slot.
class ReferenceOptimizer {
 public:
  ReferenceOptimizer(const OptimizerSettings& settings, const ParameterStore& store)
      : settings_(settings),
        store_(store),
        weights_(store.weights().begin(), store.weights().end()),
        average_(weights_.size(), 0.0),
        squares_(weights_.size(), settings.rmsprop_form == RmspropForm::tensorflow ? 1.0 : 0.0) {}

  void step(std::span<const float> gradients, const UpdateRates& rates) {
    for (const Slot& slot : store_.trained_slots()) {
      const double decay = slot.spec.decays() ? rates.weight_decay : 0.0;
      for (std::int64_t i = slot.offset; i < slot.offset + slot.size; ++i) {
        const auto at = static_cast<std::size_t>(i);
        weights_[at] -= change(weights_[at], gradients[at], decay, rates, average_[at], squares_[at]);
      }
    }
  }
  const std::vector<double>& weights() const { return weights_; }

 private:
  double change(double w, double g, double decay, const UpdateRates& rates, double& average, double& squares) const {
    const double rate = rates.learning_rate, momentum = rates.momentum;
    const bool is_nesterov = settings_.kind == OptimizerKind::nesterov;
    if (settings_.kind == OptimizerKind::adamw) {
      average = settings_.beta1 * average + (1.0 - settings_.beta1) * g;
      squares = settings_.beta2 * squares + (1.0 - settings_.beta2) * g * g;
      const double unbiased = average / (1.0 - std::pow(settings_.beta1, rates.updates));
      const double unbiased_squares = squares / (1.0 - std::pow(settings_.beta2, rates.updates));
      return rate * (unbiased / (std::sqrt(unbiased_squares) + settings_.epsilon) + decay * w);
    }
    g += decay * w;
    if (settings_.kind == OptimizerKind::rmsprop) {
      squares = settings_.alpha * squares + (1.0 - settings_.alpha) * g * g;
      if (settings_.rmsprop_form == RmspropForm::tensorflow) {
        return average = momentum * average + rate * g / std::sqrt(squares + settings_.epsilon);
      }
      return rate * (average = momentum * average + g / (std::sqrt(squares) + settings_.epsilon));
    }
    if (settings_.rate_in_velocity) {
      average = momentum * rates.rate_ratio * average + rate * g;
      return is_nesterov ? rate * g + momentum * average : average;
    }
    average = momentum * average + g;
    return rate * (is_nesterov ? g + momentum * average : average);
  }

  OptimizerSettings settings_;
  const ParameterStore& store_;
  std::vector<double> weights_, average_, squares_;
};

/// Slots of odd sizes and all kinds; weights between −1 and 1.
ParameterStore odd_slots() {
  std::vector<ParameterStore::Entry> entries;
  for (const std::int64_t count : {1, 17, 1000, 5003, 16, 2048, 7}) {
    for (const SlotKind kind : {SlotKind::conv_weight, SlotKind::norm_weight, SlotKind::norm_bias}) {
      const std::string name = std::to_string(count) + "." + std::to_string(static_cast<int>(kind));
      entries.push_back({{name, {count}, kind}, plain_layout({count})});
    }
  }
  ParameterStore store(std::move(entries));
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  for (const Slot& slot : store.trained_slots()) std::ranges::generate(store.values(slot), [&] { return uniform(random); });
  return store;
}

/// Gradients of a step, padding left at 0.
void draw_gradients(ParameterStore& store, std::int64_t step) {
  std::mt19937 random(static_cast<std::uint32_t>(100 + step));
  std::normal_distribution<float> normal(0.0f, 0.3f);
  for (const Slot& slot : store.trained_slots()) std::ranges::generate(store.gradient(slot), [&] { return normal(random); });
}

UpdateRates rates_of(std::int64_t step) {
  const float rate = 0.01f * static_cast<float>(1 + step % 3);
  const float before = 0.01f * static_cast<float>(1 + (step + 2) % 3);
  return {.learning_rate = rate,
          .momentum = 0.9f,
          .weight_decay = 0.01f,
          .rate_ratio = step == 0 ? 1.0f : rate / before,
          .updates = step + 1};
}

TEST(OptimizerRules, EqualTheFormulasInDoubleOverTwentySteps) {
  for (const auto& [name, settings] : all_rules()) {
    ParameterStore store = odd_slots();
    Optimizer optimizer(settings, store);
    ReferenceOptimizer reference(settings, store);
    const std::int64_t size = std::ssize(store.weights());

    for (std::int64_t step = 0; step < 20; ++step) {
      draw_gradients(store, step);
      for (const Slice slice : {Slice{0, 37}, Slice{37, 3000}, Slice{3000, size}}) {
        EXPECT_TRUE(optimizer.update(store, slice, rates_of(step)));
      }
      reference.step(store.gradients(), rates_of(step));
    }

    // A step rounds the weight once (2⁻²⁴ of it) and what is taken off it a few times; with momentum 0.9 a velocity's errors
    // count for ten steps. Changes of a step are at most 0.03·10: 20·(2⁻²⁴·2 + 10·4·2⁻²⁴·0.03) < 1e-5.
    double largest = 0.0;
    for (std::size_t i = 0; i < store.weights().size(); ++i) {
      largest = std::max(largest, std::abs(reference.weights()[i] - static_cast<double>(store.weights()[i])));
    }
    EXPECT_LT(largest, 1e-5) << name;
  }
}

TEST(OptimizerRules, HaveAStateOfItsOwnNameForEveryQuantity) {
  const auto names = [](const OptimizerSettings& settings) {
    const auto all = Optimizer::state_names(settings);
    return std::vector<std::string_view>(all.begin(), all.end());
  };
  using Names = std::vector<std::string_view>;
  EXPECT_EQ(names({OptimizerKind::sgd}), (Names{"velocity"}));
  EXPECT_EQ(names({.kind = OptimizerKind::nesterov, .rate_in_velocity = true}), (Names{"rated_velocity"}));
  EXPECT_EQ(names({.kind = OptimizerKind::rmsprop}), (Names{"velocity", "square_average"}));
  EXPECT_EQ(names({.kind = OptimizerKind::adamw}), (Names{"average", "square_average"}));
}

}  // namespace
}  // namespace dtrain
