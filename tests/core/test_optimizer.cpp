// SGD and Nesterov against hand-computed steps, and independence of slices and threads. Other rules: test_optimizer_rules.cpp.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "dtrain/optimizer.hpp"
#include "tests/core/fixtures.hpp"

namespace dtrain {
namespace {

using Kind = ParameterSpec::Kind;

/// A decaying tensor of `count` weights, then a bias of as many.
ParameterStore weight_and_bias(std::int64_t count) {
  return ParameterStore({{{"w", {1, count}, Kind::linear_weight}, plain_layout({1, count})},
                         {{"b", {count}, Kind::bias}, plain_layout({count})}});
}

Slice whole(const ParameterStore& store) { return {0, static_cast<std::int64_t>(store.weights().size())}; }

void set_weight(ParameterStore& store, const char* name, float weight, float gradient) {
  const Slot& slot = *store.find(name);
  store.values(slot)[0] = weight;
  store.gradient(slot)[0] = gradient;
}

float weight_of(const ParameterStore& store, const char* name) { return store.values(*store.find(name))[0]; }

// All numbers below are exact in binary: rate ¼, momentum ½, decay ½.
constexpr UpdateRates kRates{.learning_rate = 0.25f, .momentum = 0.5f, .weight_decay = 0.5f};

TEST(Optimizer, SgdEqualsTwoStepsByHand) {
  ParameterStore store = weight_and_bias(1);
  Optimizer optimizer({OptimizerKind::sgd}, store);

  set_weight(store, "w", 2.0f, 3.0f);  // g = 3 + ½·2 = 4; v = 4; w = 2 − 4/4 = 1
  set_weight(store, "b", 2.0f, 3.0f);  // g = 3;            v = 3; b = 2 − 3/4 = 1.25
  (void)optimizer.update(store, whole(store), kRates);
  EXPECT_EQ(weight_of(store, "w"), 1.0f);
  EXPECT_EQ(weight_of(store, "b"), 1.25f);

  set_weight(store, "w", 1.0f, 1.5f);   // g = 1.5 + ½ = 2; v = 2 + 2 = 4; w = 1 − 1 = 0
  set_weight(store, "b", 1.25f, 0.5f);  // v = 1.5 + 0.5 = 2; b = 1.25 − 0.5 = 0.75
  (void)optimizer.update(store, whole(store), kRates);
  EXPECT_EQ(weight_of(store, "w"), 0.0f);
  EXPECT_EQ(weight_of(store, "b"), 0.75f);
}

TEST(Optimizer, NesterovEqualsTwoStepsByHand) {
  ParameterStore store = weight_and_bias(1);
  Optimizer optimizer({OptimizerKind::nesterov}, store);

  set_weight(store, "w", 2.0f, 3.0f);  // g = 4; v = 4; w = 2 − (4 + 2)/4 = 0.5
  set_weight(store, "b", 2.0f, 4.0f);  // v = 4; b = 2 − (4 + 2)/4 = 0.5
  (void)optimizer.update(store, whole(store), kRates);
  EXPECT_EQ(weight_of(store, "w"), 0.5f);
  EXPECT_EQ(weight_of(store, "b"), 0.5f);

  set_weight(store, "w", 0.5f, 1.75f);  // g = 1.75 + 0.25 = 2; v = 2 + 2 = 4; w = 0.5 − (2 + 2)/4 = −0.5
  set_weight(store, "b", 0.5f, 2.0f);   // v = 2 + 2 = 4; b = 0.5 − (2 + 2)/4 = −0.5
  (void)optimizer.update(store, whole(store), kRates);
  EXPECT_EQ(weight_of(store, "w"), -0.5f);
  EXPECT_EQ(weight_of(store, "b"), -0.5f);
}

TEST(Optimizer, AveragesTheWeightsAsByHand) {
  ParameterStore store = weight_and_bias(1);
  Optimizer optimizer({.kind = OptimizerKind::sgd, .ema = 0.75}, store);
  const auto average_of = [&](const char* name) {
    return optimizer.weight_average()[static_cast<std::size_t>(store.find(name)->offset)];
  };
  set_weight(store, "w", 2.0f, 3.0f);
  set_weight(store, "b", 2.0f, 3.0f);
  optimizer.begin_average(store.weights());

  (void)optimizer.update(store, whole(store), kRates);  // w = 1, b = 1.25, as above
  EXPECT_EQ(average_of("w"), 1.75f);                    // ¾·2 + ¼·1
  EXPECT_EQ(average_of("b"), 1.8125f);                  // ¾·2 + ¼·1.25
  set_weight(store, "w", 1.0f, 1.5f);
  set_weight(store, "b", 1.25f, 0.5f);
  (void)optimizer.update(store, whole(store), kRates);  // w = 0, b = 0.75
  EXPECT_EQ(average_of("w"), 1.3125f);                  // ¾·1.75 + ¼·0
  EXPECT_EQ(average_of("b"), 1.546875f);                // ¾·1.8125 + ¼·0.75

  optimizer.zero_state();
  EXPECT_EQ(optimizer.states().front().values.front(), 0.0f);
  EXPECT_EQ(average_of("w"), 1.3125f) << "the average is no state of the rule";
  optimizer.begin_average(store.weights());
  EXPECT_EQ(average_of("w"), 0.0f);
  EXPECT_EQ(average_of("b"), 0.75f);
}

// D·e + (1−D)·w with D rounded to f32 rests 1.7e-4 beside w.
TEST(Optimizer, TheAverageOfWeightsThatDoNotMoveIsTheWeights) {
  ParameterStore store = weight_and_bias(1000);
  Optimizer optimizer({.kind = OptimizerKind::sgd, .ema = 0.9999}, store);
  for (std::size_t i = 0; i < store.weights().size(); ++i) store.weights()[i] = 0.1f * static_cast<float>(i);
  optimizer.begin_average(store.weights());

  for (int step = 0; step < 100; ++step) (void)optimizer.update(store, whole(store), {});

  EXPECT_TRUE(std::ranges::equal(optimizer.weight_average(), store.weights()));
}

TEST(Optimizer, SaysWhetherTheUpdatedWeightsAreFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const std::int64_t count : {1, 40, 100'000}) {  // the last one is shared out among threads
    for (const float broken : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
      ParameterStore store = weight_and_bias(count);
      Optimizer optimizer({OptimizerKind::sgd}, store);
      EXPECT_TRUE(optimizer.update(store, whole(store), kRates));

      store.gradient(*store.find("b")).back() = broken;
      EXPECT_TRUE(optimizer.update(store, {0, store.find("b")->offset}, kRates));
      EXPECT_FALSE(optimizer.update(store, whole(store), kRates));

      store.gradient(*store.find("b")).back() = 0.0f;
      EXPECT_FALSE(optimizer.update(store, whole(store), kRates)) << "the weight stays broken";
    }
  }
}

// As on a parameter server, whose weights are no replica's.
TEST(Optimizer, UpdatesWeightsElsewhereToTheSameBits) {
  ParameterStore store = weight_and_bias(40);
  for (std::size_t i = 0; i < store.gradients().size(); ++i) store.gradients()[i] = 0.1f * static_cast<float>(i);
  std::vector<float> weights(store.weights().begin(), store.weights().end());
  const std::vector<float> gradients(store.gradients().begin(), store.gradients().end());
  Optimizer one({OptimizerKind::nesterov}, store), other({OptimizerKind::nesterov}, store);

  for (int step = 0; step < 3; ++step) {
    EXPECT_TRUE(one.update(store, whole(store), kRates));
    for (const Slice slice : {Slice{0, 16}, Slice{16, whole(store).end}}) {
      const std::span<const float> part = std::span(gradients).subspan(static_cast<std::size_t>(slice.begin));
      EXPECT_TRUE(other.update(weights, part.first(static_cast<std::size_t>(slice.size())), slice, kRates));
    }
  }

  EXPECT_TRUE(std::ranges::equal(weights, store.weights()));
  EXPECT_THROW((void)other.update(weights, std::span(gradients).first(3), {0, 4}, kRates), std::logic_error);
}

TEST(Optimizer, WithoutMomentumIsPlainDescent) {
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::nesterov}) {
    ParameterStore store = weight_and_bias(1);
    Optimizer optimizer({kind}, store);
    set_weight(store, "w", 2.0f, 1.0f);

    (void)optimizer.update(store, whole(store), {.learning_rate = 0.5f});
    (void)optimizer.update(store, whole(store), {.learning_rate = 0.5f});

    EXPECT_EQ(weight_of(store, "w"), 1.0f);
  }
}

/// Weights and state of many odd-sized slots after three updates in `pieces` slices with `threads` threads.
std::vector<float> weights_after_updates(const OptimizerSettings& settings, std::int64_t pieces, int threads) {
  std::vector<ParameterStore::Entry> entries;
  for (const std::int64_t count : {1, 15, 16, 17, 1000, 33000, 7, 5}) {
    for (const Kind slot_kind : {Kind::conv_weight, Kind::norm_weight, Kind::norm_bias}) {
      const std::string name = std::to_string(count) + "." + std::to_string(static_cast<int>(slot_kind));
      entries.push_back({{name, {count}, slot_kind}, plain_layout({count})});
    }
  }
  ParameterStore store(entries);
  Optimizer optimizer(settings, store);
  const std::int64_t size = whole(store).end;
  for (std::size_t i = 0; i < store.weights().size(); ++i) store.weights()[i] = 1.0f / (1.0f + static_cast<float>(i % 977));

  const int threads_before = omp_get_max_threads();
  omp_set_num_threads(threads);
  for (int step = 0; step < 3; ++step) {
    for (std::size_t i = 0; i < store.gradients().size(); ++i) store.gradients()[i] = 0.1f * store.weights()[i] - 0.03f;
    for (std::int64_t p = 0; p < pieces; ++p) {
      (void)optimizer.update(store, {size * p / pieces, size * (p + 1) / pieces},
                             {.learning_rate = 0.1f, .momentum = 0.9f, .weight_decay = 0.01f, .updates = step + 1});
    }
  }
  omp_set_num_threads(threads_before);

  std::vector<float> result(store.weights().begin(), store.weights().end());
  for (const OptimizerState& state : optimizer.states()) result.insert(result.end(), state.values.begin(), state.values.end());
  return result;
}

TEST(Optimizer, GivesTheSameBitsForAnySlicesAndThreads) {
  for (const OptimizerSettings& settings : {OptimizerSettings{OptimizerKind::sgd},
                                            {OptimizerKind::nesterov},
                                            {.kind = OptimizerKind::sgd, .rate_in_velocity = true},
                                            {.kind = OptimizerKind::rmsprop},
                                            {.kind = OptimizerKind::rmsprop, .rmsprop_form = RmspropForm::tensorflow},
                                            {.kind = OptimizerKind::adamw}}) {
    const std::vector<float> expected = weights_after_updates(settings, 1, 1);
    for (const std::int64_t pieces : {1, 2, 3, 7, 1001}) {
      for (const int threads : {1, 2, 3, 8}) {
        EXPECT_EQ(weights_after_updates(settings, pieces, threads), expected) << pieces << " slices, " << threads << " threads";
      }
    }
  }
}

TEST(Optimizer, EqualsTheFormulaWrittenAsAPlainLoop) {
  const std::int64_t count = 40000;
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::nesterov}) {
    ParameterStore store = weight_and_bias(count);
    Optimizer optimizer({kind}, store);
    const UpdateRates rates{.learning_rate = 0.3f, .momentum = 0.9f, .weight_decay = 0.001f};
    std::vector<float> expected(store.weights().size());
    std::vector<float> velocity(expected.size(), 0.0f);
    const std::int64_t bias_begin = store.find("b")->offset;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      expected[i] = store.weights()[i] = static_cast<float>(i % 101) * 0.01f;
      store.gradients()[i] = static_cast<float>(i % 97) * 0.02f - 1.0f;
    }

    for (int step = 0; step < 2; ++step) {
      (void)optimizer.update(store, whole(store), rates);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        // volatile: every operation rounds to f32 by itself, as in the code under test.
        const float decay = static_cast<std::int64_t>(i) < bias_begin ? rates.weight_decay : 0.0f;
        const volatile float decayed = decay * expected[i];
        const volatile float gradient = store.gradients()[i] + decayed;
        const volatile float carried = rates.momentum * velocity[i];
        velocity[i] = carried + gradient;
        const volatile float ahead = rates.momentum * velocity[i];
        const volatile float direction = kind == OptimizerKind::sgd ? velocity[i] : gradient + ahead;
        const volatile float change = rates.learning_rate * direction;
        expected[i] -= change;
      }
    }

    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), store.weights().begin()));
    EXPECT_TRUE(std::equal(velocity.begin(), velocity.end(), optimizer.states()[0].values.begin()));
  }
}

TEST(Optimizer, TouchesNothingOutsideItsSlice) {
  ParameterStore store = weight_and_bias(100);
  Optimizer optimizer({OptimizerKind::sgd}, store);
  std::fill(store.weights().begin(), store.weights().end(), 1.0f);
  std::fill(store.gradients().begin(), store.gradients().end(), 1.0f);

  (void)optimizer.update(store, {30, 71}, {.learning_rate = 0.5f});

  for (std::size_t i = 0; i < store.weights().size(); ++i) EXPECT_EQ(store.weights()[i], i >= 30 && i < 71 ? 0.5f : 1.0f) << i;
}

TEST(Optimizer, AcceptsAnEmptySliceAndRefusesOneOutside) {
  ParameterStore store = weight_and_bias(10);
  Optimizer optimizer({OptimizerKind::sgd}, store);

  EXPECT_NO_THROW((void)optimizer.update(store, {5, 5}, {.learning_rate = 1.0f}));
  EXPECT_THROW((void)optimizer.update(store, {0, whole(store).end + 1}, {}), std::logic_error);
  EXPECT_THROW((void)optimizer.update(store, {4, 3}, {}), std::logic_error);
}

TEST(Optimizer, KeepsPaddingZero) {
  const Shape shape{5, 3, 1, 1};
  ParameterStore store({{{"w", shape, Kind::conv_weight}, test::blocked_layout(shape)}});
  Optimizer optimizer({OptimizerKind::nesterov}, store);
  copy_from_plain(store.trained_slots()[0].layout, std::vector<float>(15, 1.0f), store.weights().first(32));
  copy_from_plain(store.trained_slots()[0].layout, std::vector<float>(15, 0.5f), store.gradients().first(32));

  (void)optimizer.update(store, whole(store), {.learning_rate = 0.1f, .momentum = 0.9f, .weight_decay = 0.1f});

  EXPECT_EQ(std::count(store.weights().begin(), store.weights().end(), 0.0f), whole(store).end - 15);
}

}  // namespace
}  // namespace dtrain
