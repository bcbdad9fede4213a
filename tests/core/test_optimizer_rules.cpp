// Every optimizer's rule: steps by hand, and twenty steps of the formulas in double.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>

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
      {"lars", {.kind = OptimizerKind::lars, .trust_coefficient = 0.3}},
      {"lars, all", {.kind = OptimizerKind::lars, .trust_coefficient = 0.3, .adapts_norms = true}},
      {"lamb", {.kind = OptimizerKind::lamb, .epsilon = 1e-6}},
      {"lamb, all", {.kind = OptimizerKind::lamb, .epsilon = 1e-6, .adapts_norms = true}},
      {"sgd, clipped", {.kind = OptimizerKind::sgd, .clip_norm = 2.0}},
      {"adamw, clipped", {.kind = OptimizerKind::adamw, .clip_norm = 2.0}},
      {"lars, clipped", {.kind = OptimizerKind::lars, .trust_coefficient = 0.3, .clip_norm = 2.0}},
      {"lamb, clipped", {.kind = OptimizerKind::lamb, .epsilon = 1e-6, .clip_norm = 2.0}},
      {"sgd, averaged", {.kind = OptimizerKind::sgd, .ema = 0.9}},
      {"rmsprop, tensorflow, averaged",
       {.kind = OptimizerKind::rmsprop, .rmsprop_form = RmspropForm::tensorflow, .epsilon = 1e-3, .ema = 0.9}},
      {"lamb, clipped, averaged", {.kind = OptimizerKind::lamb, .epsilon = 1e-6, .clip_norm = 2.0, .ema = 0.9}},
      {"nesterov, hardly clipped", {.kind = OptimizerKind::nesterov, .clip_norm = 1e3}},
  };
  return rules;
}

/// A whole step, measured and updated slice by slice. Measured slices are rounded to where they may be cut.
bool step_in_slices(Optimizer& optimizer, ParameterStore& store, const std::vector<Slice>& slices, const UpdateRates& rates) {
  const std::int64_t size = std::ssize(store.weights());
  const auto cut = [&](std::int64_t at) { return at == size ? size : at / kNormChunkElements * kNormChunkElements; };
  for (int pass = 0; pass < optimizer.measuring_passes(); ++pass) {
    for (auto slice = slices.rbegin(); slice != slices.rend(); ++slice) {  // in whatever order
      optimizer.measure(pass, store, {cut(slice->begin), cut(slice->end)}, rates);
    }
    optimizer.end_measuring(pass, rates);
  }
  bool is_finite = true;
  for (const Slice& slice : slices) is_finite = optimizer.update(store, slice, rates) && is_finite;
  return is_finite;
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
    EXPECT_TRUE(try_step(weight_gradient, bias_gradient, rates));
  }
  bool try_step(float weight_gradient, float bias_gradient, const UpdateRates& rates) {
    store_.gradient(*store_.find("w"))[0] = weight_gradient;
    store_.gradient(*store_.find("b"))[0] = bias_gradient;
    return step_in_slices(optimizer_, store_, {{0, std::ssize(store_.weights())}}, rates);
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

TEST(OptimizerRules, LarsEqualsStepsByHandAndLeavesABiasToItsGradient) {
  Pair pair({.kind = OptimizerKind::lars, .trust_coefficient = 0.5});

  // w: λ = ½·2/(3 + ½·2) = ¼; g = 4; v = ¼·¼·4 = ¼; w = 1.75.   b: v = ¼·3 = ¾; b = 1.25
  pair.step(3.0f, 3.0f, kByHand);
  EXPECT_EQ(pair.at("w"), 1.75f);
  EXPECT_EQ(pair.at("b"), 1.25f);

  // w: λ = ½·1.75/(2.625 + ½·1.75) = ¼; g = −2.625 + 0.875 = −1.75; v = ⅛ − 1.75/16; w = 1.75 − v.   b: v = ⅜; b = ⅞
  pair.step(-2.625f, 0.0f, kByHand);
  EXPECT_EQ(pair.at("w"), 1.75f - 0.125f + 1.75f / 16.0f);
  EXPECT_EQ(pair.at("b"), 0.875f);
}

TEST(OptimizerRules, LarsScalesABiasTooWhereItAdaptsAllAndNothingThatHasANormOfZero) {
  Pair all({.kind = OptimizerKind::lars, .trust_coefficient = 0.5, .adapts_norms = true});
  all.step(3.0f, 3.0f, kByHand);
  EXPECT_EQ(all.at("b"), 1.75f) << "as the weight";

  Pair zero({.kind = OptimizerKind::lars, .trust_coefficient = 0.5});
  zero.step(0.0f, 0.0f, kByHand);  // λ = 1: v = ¼·½·2 = ¼
  EXPECT_EQ(zero.at("w"), 1.75f);
  zero.at("w") = 0.0f;
  zero.step(1.0f, 0.0f, kByHand);  // λ = 1: v = ½·¼ + ¼·1 = ⅜
  EXPECT_EQ(zero.at("w"), -0.375f);
}

TEST(OptimizerRules, LambEqualsAStepByHand) {
  Pair pair({.kind = OptimizerKind::lamb, .beta1 = 0.5, .beta2 = 0.75, .epsilon = 1.0});

  // m̂/(√ŝ + ε) = 3/(3 + 1) = ¾.  w: r = ¾ + ½·2 = 1.75; λ = 2/1.75: λ·r = 2; w = 2 − ¼·2 = 1.5.  b: 2 − ¼·¾ = 1.8125
  pair.step(3.0f, 3.0f, kByHand);
  EXPECT_FLOAT_EQ(pair.at("w"), 1.5f);
  EXPECT_EQ(pair.at("b"), 1.8125f);
}

TEST(OptimizerRules, ClippingScalesGradientsThatAreLongerThanTheNorm) {
  Pair clipped({.kind = OptimizerKind::sgd, .clip_norm = 2.5}), spared({.kind = OptimizerKind::sgd, .clip_norm = 5.25});
  const UpdateRates plain{.learning_rate = 0.25f};

  clipped.step(3.0f, 4.0f, plain);  // ‖g‖ = 5: half of it, but for torch's 1e-6
  spared.step(3.0f, 4.0f, plain);

  EXPECT_NEAR(clipped.at("w"), 2.0f - 0.25f * 1.5f, 1e-6f);
  EXPECT_NEAR(clipped.at("b"), 2.0f - 0.25f * 2.0f, 1e-6f);
  EXPECT_EQ(spared.at("w"), 1.25f);
  EXPECT_EQ(spared.at("b"), 1.0f);
}

TEST(OptimizerRules, ClippingHidesNoGradientThatIsNotFinite) {
  Pair pair({.kind = OptimizerKind::sgd, .clip_norm = 1.0});
  for (const float broken : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    pair.at("w") = pair.at("b") = 2.0f;
    EXPECT_FALSE(pair.try_step(broken, 1.0f, kByHand));
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
    double norm = 0.0;
    for (const float gradient : gradients) norm += static_cast<double>(gradient) * gradient;
    const double clip = settings_.clip_norm > 0.0 ? std::min(1.0, settings_.clip_norm / (std::sqrt(norm) + 1e-6)) : 1.0;
    for (const Slot& slot : store_.trained_slots()) {
      const bool adapts = slot.spec.decays() || settings_.adapts_norms;
      const double decay = adapts ? rates.weight_decay : 0.0;
      const auto begin = static_cast<std::size_t>(slot.offset);
      std::vector<double> gradient(gradients.begin() + slot.offset, gradients.begin() + slot.offset + slot.size);
      for (double& g : gradient) g *= clip;
      double trust = 1.0;
      if (settings_.kind == OptimizerKind::lars && adapts) {
        const double w = norm_of(std::span(weights_).subspan(begin, gradient.size())), g = norm_of(gradient);
        if (w > 0.0 && g > 0.0) trust = settings_.trust_coefficient * w / (g + decay * w);
      }
      std::vector<double> changes;
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        const std::size_t at = begin + i;
        changes.push_back(change(weights_[at], gradient[i], decay, rates, trust, average_[at], squares_[at]));
      }
      if (settings_.kind == OptimizerKind::lamb && adapts) {
        const double w = norm_of(std::span(weights_).subspan(begin, gradient.size()));
        const double r = norm_of(changes) / rates.learning_rate;
        if (w > 0.0 && r > 0.0) trust = w / r;
        for (double& one : changes) one *= trust;
      }
      for (std::size_t i = 0; i < changes.size(); ++i) weights_[begin + i] -= changes[i];
    }
  }
  const std::vector<double>& weights() const { return weights_; }

 private:
  static double norm_of(std::span<const double> values) {
    return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
  }

  /// What is taken off a weight; lamb: before its trust ratio.
  double change(double w, double g, double decay, const UpdateRates& rates, double trust, double& average,
                double& squares) const {
    const double rate = rates.learning_rate * trust, momentum = rates.momentum;
    const bool is_nesterov = settings_.kind == OptimizerKind::nesterov;
    if (settings_.kind == OptimizerKind::adamw || settings_.kind == OptimizerKind::lamb) {
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
    if (settings_.kind == OptimizerKind::lars) return average = momentum * average + rate * g;
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

/// Gradients of a step, padding left at 0. Drawn once.
void draw_gradients(ParameterStore& store, std::int64_t step) {
  static std::map<std::int64_t, std::vector<float>> drawn;
  std::vector<float>& gradients = drawn[step];
  if (gradients.empty()) {
    gradients.resize(store.gradients().size());
    std::mt19937 random(static_cast<std::uint32_t>(100 + step));
    std::normal_distribution<float> normal(0.0f, 0.3f);
    for (const Slot& slot : store.trained_slots()) {
      for (std::int64_t i = 0; i < slot.size; ++i) gradients[static_cast<std::size_t>(slot.offset + i)] = normal(random);
    }
  }
  std::ranges::copy(gradients, store.gradients().begin());
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
      EXPECT_TRUE(step_in_slices(optimizer, store, {{0, 37}, {37, 3000}, {3000, size}}, rates_of(step)));
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

/// Weights and state after five steps, in which each of so many ranks that share the memory measures and updates its part.
std::vector<float> result_of_parts(const OptimizerSettings& settings, int parts, int threads) {
  ParameterStore store = odd_slots();
  const std::int64_t size = std::ssize(store.weights());
  std::vector<float> memory(
      static_cast<std::size_t>(Optimizer::memory_elements(settings, size, std::ssize(store.trained_slots()))));
  std::vector<std::unique_ptr<Optimizer>> ranks;
  for (int rank = 0; rank < parts; ++rank) ranks.push_back(std::make_unique<Optimizer>(settings, store, memory));
  const auto cut = [&](int rank) {
    const std::int64_t at = size * rank / parts;
    return rank == parts ? size : at / kNormChunkElements * kNormChunkElements;
  };

  const int threads_before = omp_get_max_threads();
  omp_set_num_threads(threads);
  for (std::int64_t step = 0; step < 5; ++step) {
    draw_gradients(store, step);
    for (int pass = 0; pass < ranks.front()->measuring_passes(); ++pass) {
      for (int rank = 0; rank < parts; ++rank) {
        ranks[static_cast<std::size_t>(rank)]->measure(pass, store, {cut(rank), cut(rank + 1)}, rates_of(step));
      }
      for (const auto& rank : ranks) rank->end_measuring(pass, rates_of(step));
    }
    for (int rank = 0; rank < parts; ++rank) {
      EXPECT_TRUE(ranks[static_cast<std::size_t>(rank)]->update(store, {cut(rank), cut(rank + 1)}, rates_of(step)));
    }
  }
  omp_set_num_threads(threads_before);

  std::vector<float> result(store.weights().begin(), store.weights().end());
  for (const OptimizerState& state : ranks.front()->states()) {
    result.insert(result.end(), state.values.begin(), state.values.end());
  }
  return result;
}

TEST(OptimizerRules, GiveTheSameBitsWhoeverMeasuresAndUpdatesWhat) {
  for (const auto& [name, settings] : all_rules()) {
    const std::vector<float> expected = result_of_parts(settings, 1, 1);
    for (const int parts : {1, 2, 3, 7}) {
      for (const int threads : {1, 3}) {
        EXPECT_EQ(result_of_parts(settings, parts, threads), expected) << name << ": " << parts << " parts, " << threads;
      }
    }
  }
}

TEST(OptimizerRules, AreMeasuredBeforeTheyUpdateInSlicesThatCutNoChunk) {
  ParameterStore store = odd_slots();
  const std::int64_t size = std::ssize(store.weights());
  Optimizer optimizer({.kind = OptimizerKind::lars}, store);

  EXPECT_THROW((void)optimizer.update(store, {0, size}, rates_of(0)), std::logic_error);
  EXPECT_THROW(optimizer.measure(0, store, {0, 1000}, rates_of(0)), std::logic_error);
  EXPECT_NO_THROW(optimizer.measure(0, store, {1024, 1024}, rates_of(0)));
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
  EXPECT_EQ(names({.kind = OptimizerKind::lars}), (Names{"rated_velocity"}));
  EXPECT_EQ(names({.kind = OptimizerKind::sgd, .ema = 0.5}), (Names{"velocity", "weight_average"}));
  EXPECT_EQ(names({.kind = OptimizerKind::lamb, .ema = 0.5}), (Names{"average", "square_average", "weight_average"}));
}

}  // namespace
}  // namespace dtrain
