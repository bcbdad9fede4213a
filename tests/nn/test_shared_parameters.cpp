// Several passes over one set of parameters: micro-batches that add up their gradients and statistics, and graphs of other
// batch sizes that share store and arena.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

std::vector<double> slice(const std::vector<double>& values, std::int64_t per_picture, std::int64_t first, std::int64_t count) {
  return {values.begin() + first * per_picture, values.begin() + (first + count) * per_picture};
}

/// Gradients of one pass alone, on fresh statistics.
std::map<std::string, std::vector<float>> gradients_alone(const NetworkSpec& network, const CompileOptions& options, bool plain,
                                                          const std::vector<double>& pictures,
                                                          const std::vector<double>& diff_logits) {
  CompiledNetwork compiled(network, options, random_parameters(network, 1), plain);
  (void)compiled.forward(pictures);
  compiled.backward(diff_logits);
  return plain_gradients(compiled.store());
}

class MicroBatches : public testing::TestWithParam<bool> {};

TEST_P(MicroBatches, OverwriteGradientsAtFirstAndAddToThemLater) {
  const bool plain = GetParam();  // plain slots receive gradients through scratch, blocked ones directly
  const CompileOptions options{.batch = 4};
  for (const NetworkSpec& network : small_networks()) {
    if (network.name == "dropouts") continue;
    const std::vector<double> pictures_a = random_values(picture_elements(network, 4), 2);
    const std::vector<double> pictures_b = random_values(picture_elements(network, 4), 3);
    const std::vector<double> diff = random_values(logits_elements(network, 4), 4);
    const auto a = gradients_alone(network, options, plain, pictures_a, diff);
    const auto b = gradients_alone(network, options, plain, pictures_b, diff);
    CompiledNetwork compiled(network, options, random_parameters(network, 1), plain);
    std::ranges::fill(compiled.store().gradients(), 1000.0f);  // of the step before

    (void)compiled.forward(pictures_a, {.is_first_micro_batch = true});
    compiled.backward(diff);
    const auto first = plain_gradients(compiled.store());
    (void)compiled.forward(pictures_b, {.is_first_micro_batch = false});
    compiled.backward(diff);

    EXPECT_EQ(first, a) << network.name;
    for (const auto& [name, gradient] : plain_gradients(compiled.store())) {
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        // One addition, rounded once.
        ASSERT_EQ(gradient[i], a.at(name)[i] + b.at(name)[i]) << network.name << ", " << name << "[" << i << "]";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, MicroBatches, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& tested) { return tested.param ? "plain" : "preferred"; });

TEST(MicroBatchStatistics, MoveByMomentumTowardsTheWeightedMeanOfTheMicroBatches) {
  // running ← (1−μ)·running + μ·(3/5·first + 2/5·second): micro-batches of 3 and 2 of a rank's 5 pictures.
  NetworkBuilder net(network_head(5, 4));
  net.append("bn", BatchNorm{.momentum = 0.2f});
  const NetworkSpec network = finish_with_features(std::move(net));
  const NamedTensors parameters = random_parameters(network, 1);
  const std::int64_t per_picture = picture_elements(network, 1);
  const std::vector<double> pictures = random_values(5 * per_picture, 2);
  CompiledNetwork of_three(network, {.batch = 3}, parameters);
  CompiledNetwork of_two(network, {.batch = 2}, of_three.store());

  (void)of_three.forward(slice(pictures, per_picture, 0, 3), {.is_first_micro_batch = true, .statistics_share = 0.6f});
  (void)of_two.forward(slice(pictures, per_picture, 3, 2), {.is_first_micro_batch = false, .statistics_share = 0.4f});

  const Moments first = run_reference(network, parameters, slice(pictures, per_picture, 0, 3), 3, true).moments.at("bn");
  const Moments second = run_reference(network, parameters, slice(pictures, per_picture, 3, 2), 2, true).moments.at("bn");
  std::vector<double> mean, variance;
  for (std::size_t c = 0; c < 5; ++c) {
    mean.push_back(0.8 * parameters.at("bn.running_mean")[c] + 0.2 * (0.6 * first.mean[c] + 0.4 * second.mean[c]));
    variance.push_back(0.8 * parameters.at("bn.running_var")[c] +
                       0.2 * (0.6 * first.unbiased_variance[c] + 0.4 * second.unbiased_variance[c]));
  }
  // momentum and shares are floats, the running values are rounded twice, sums of 16 floats: a few ulps each.
  expect_close(plain_values(of_three.store(), "bn.running_mean"), mean, 16 * kUlp, "running mean");
  expect_close(plain_values(of_three.store(), "bn.running_var"), variance, 16 * kUlp, "running variance");
}

// Of micro-batches of 2 and 1 pictures of one pixel, the single one has no variance: its share of the step goes to what the
// running statistics are without it, wherever it stands. With μ = 0.25 and shares of 2/3 and 1/3:
// ((1−μ)·running + μ·2/3·first)·(1 + (μ/3)/(1−μ/3)), or, the single one first, ((1−μ) + μ/3)·running + μ·2/3·second.
TEST(MicroBatchStatistics, LeaveAMicroBatchOfOneValueOutOfTheMean) {
  NetworkBuilder net(network_head(5, 1));
  net.append("bn", BatchNorm{.momentum = 0.25f});
  const NetworkSpec network = finish_with_features(std::move(net));
  const NamedTensors parameters = random_parameters(network, 1);
  const std::vector<double> pictures = random_values(3 * 5, 2);
  const std::vector<double> two = slice(pictures, 5, 0, 2), one = slice(pictures, 5, 2, 1);
  const Moments moments = run_reference(network, parameters, two, 2, true).moments.at("bn");
  const float share_of_two = 2.0f / 3.0f, share_of_one = 1.0f / 3.0f;

  for (const bool single_is_first : {false, true}) {
    CompiledNetwork of_two(network, {.batch = 2}, parameters);
    CompiledNetwork of_one(network, {.batch = 1}, of_two.store());
    const auto run_two = [&] {
      (void)of_two.forward(two, {.is_first_micro_batch = !single_is_first,
                                 .statistics_share = share_of_two,
                                 .statistics_before = single_is_first ? share_of_one : 0.0f});
    };
    const auto run_one = [&] {
      (void)of_one.forward(one, {.is_first_micro_batch = single_is_first,
                                 .statistics_share = share_of_one,
                                 .statistics_before = single_is_first ? 0.0f : share_of_two});
    };

    if (single_is_first) run_one(), run_two();
    if (!single_is_first) run_two(), run_one();

    const double kept = single_is_first ? 0.75 + 0.25 / 3.0 : 0.75;
    const double spread = single_is_first ? 1.0 : 1.0 + 0.25 / 3.0 / (1.0 - 0.25 / 3.0);
    std::vector<double> mean, variance;
    for (std::size_t c = 0; c < 5; ++c) {
      mean.push_back(spread * (kept * parameters.at("bn.running_mean")[c] + 0.25 * 2.0 / 3.0 * moments.mean[c]));
      variance.push_back(spread *
                         (kept * parameters.at("bn.running_var")[c] + 0.25 * 2.0 / 3.0 * moments.unbiased_variance[c]));
    }
    // Shares are floats and the running values are rounded twice: a few ulps each.
    expect_close(plain_values(of_two.store(), "bn.running_mean"), mean, 16 * kUlp, "running mean");
    expect_close(plain_values(of_two.store(), "bn.running_var"), variance, 16 * kUlp, "running variance");
  }
}

/// Graphs for batches of 4 and of 3 and for evaluation, on one store and one arena.
struct Family {
  explicit Family(const NetworkSpec& network)
      : store(Graph::plan_parameters(network, {.batch = 4}, false)),
        of_four(network, store, {.batch = 4}),
        of_three(network, store, {.batch = 3}),
        evaluation(network, store, {.batch = 2, .training = false}),
        arena(std::max({of_four.memory_plan().activations_bytes, of_three.memory_plan().activations_bytes,
                        evaluation.memory_plan().activations_bytes})) {
    for (Graph* graph : {&of_four, &of_three, &evaluation}) graph->bind({arena.data(), arena.size_bytes()});
  }

  ParameterStore store;
  Graph of_four, of_three, evaluation;
  AlignedMemory arena;
};

std::vector<float> forward(Graph& graph, const std::vector<float>& pictures) {
  const auto logits = graph.forward(pictures, {}).values();
  return {logits.begin(), logits.end()};
}

class SharedStore : public testing::TestWithParam<std::size_t> {
 protected:
  NetworkSpec network() const { return small_networks()[GetParam()]; }
};

TEST_P(SharedStore, GivesEachGraphTheResultsItHasAlone) {
  const NetworkSpec spec = network();
  const NamedTensors parameters = random_parameters(spec, 1);
  const auto pictures = [&](std::int64_t batch) { return random_values(picture_elements(spec, batch), 10 + batch); };
  const auto diff = [&](std::int64_t batch) { return random_values(logits_elements(spec, batch), 20 + batch); };
  Family family(spec);
  // A store in the layouts that the graph of four prefers: the others alone are given the same one.
  const auto alone = [&](std::int64_t batch) {
    ParameterStore store(Graph::plan_parameters(spec, {.batch = 4}, false));
    set_parameters(store, parameters);
    CompiledNetwork compiled(spec, {.batch = batch}, store);
    auto logits = compiled.forward(pictures(batch));
    compiled.backward(diff(batch));
    return std::pair(logits, plain_gradients(store));
  };

  for (const std::int64_t batch : {4, 3, 4, 3}) {
    set_parameters(family.store, parameters);
    Graph& graph = batch == 4 ? family.of_four : family.of_three;
    const std::vector<float> pictures_of_batch = to_floats(pictures(batch));
    (void)forward(family.evaluation, to_floats(pictures(2)));  // its arena is theirs: leaves it full of other things
    set_parameters(family.store, parameters);

    const std::vector<float> logits = forward(graph, pictures_of_batch);
    graph.backward(to_floats(diff(batch)), [](LayerIndex) {});

    const auto [alone_logits, alone_gradients] = alone(batch);
    EXPECT_EQ(logits, alone_logits) << spec.name << ", batch " << batch;
    EXPECT_EQ(plain_gradients(family.store), alone_gradients) << spec.name << ", batch " << batch;
  }
}

TEST_P(SharedStore, ShowsChangedWeightsToEveryGraphWhenTheVersionIsRaised) {
  const NetworkSpec spec = network();
  Family family(spec);
  set_parameters(family.store, random_parameters(spec, 1));
  const std::vector<double> four = random_values(picture_elements(spec, 4), 2);
  const std::vector<double> three = random_values(picture_elements(spec, 3), 3);
  const std::vector<double> two = random_values(picture_elements(spec, 2), 4);
  for (int warm_up = 0; warm_up < 2; ++warm_up) {  // their copies of the weights are filled
    (void)forward(family.of_four, to_floats(four));
    (void)forward(family.of_three, to_floats(three));
    (void)forward(family.evaluation, to_floats(two));
  }
  const NamedTensors changed = random_parameters(spec, 77);

  set_parameters(family.store, changed);
  const std::vector<float> evaluation_logits = forward(family.evaluation, to_floats(two));
  const std::vector<float> three_logits = forward(family.of_three, to_floats(three));
  const std::vector<float> four_logits = forward(family.of_four, to_floats(four));

  const auto expected = [&](const std::vector<double>& pictures, std::int64_t batch, bool training) {
    return run_reference(spec, changed, pictures, batch, training).logits;
  };
  expect_close(evaluation_logits, expected(two, 2, false), kDirect.logits, spec.name + " in evaluation");
  if (spec.name == "dropouts") return;  // the reference has no masks
  expect_close(three_logits, expected(three, 3, true), kDirect.logits, spec.name + ", batch 3");
  expect_close(four_logits, expected(four, 4, true), kDirect.logits, spec.name + ", batch 4");
}

INSTANTIATE_TEST_SUITE_P(Networks, SharedStore, testing::Range<std::size_t>(0, small_networks().size()),
                         [](const testing::TestParamInfo<std::size_t>& tested) { return small_networks()[tested.param].name; });

TEST(SharedStoreBackward, UsesTheChangedWeightsForDataGradients) {
  // fc2's weights reach fc1's gradient through backward data alone, whose copy must be renewed too.
  const NetworkSpec network = convolutions_and_linear();
  const CompileOptions options{.batch = 4};
  const std::vector<double> pictures = random_values(picture_elements(network, 4), 2);
  const std::vector<double> diff = random_values(logits_elements(network, 4), 3);
  for (const bool plain : {false, true}) {
    CompiledNetwork compiled(network, options, random_parameters(network, 5), plain);
    (void)compiled.forward(pictures);
    compiled.backward(diff);

    set_parameters(compiled.store(), random_parameters(network, 1));
    (void)compiled.forward(pictures);
    compiled.backward(diff);

    EXPECT_EQ(plain_gradients(compiled.store()), gradients_alone(network, options, plain, pictures, diff)) << plain;
  }
}

TEST(SharedStoreLayouts, AreUnderstoodByGraphsOfEveryBatchSize) {
  // Shapes for which the primitives of small and large batches, of Winograd and direct convolution, like different layouts.
  for (const std::int64_t channels : {3, 5, 16, 24, 64}) {
    for (const std::int64_t kernel : {1, 3, 5}) {
      NetworkBuilder net(network_head(channels, 12));
      net.append("conv1", Convolution{.out_channels = 2 * channels, .kernel = kernel, .padding = kernel / 2});
      net.append("conv2", Convolution{.out_channels = channels, .kernel = kernel, .stride = 2, .padding = kernel / 2});
      net.append("flatten", Flatten{});
      net.append("fc", Linear{.out_features = 20});
      const NetworkSpec network = finish_with_features(std::move(net));
      for (const std::int64_t planned : {1, 8}) {
        ParameterStore store(Graph::plan_parameters(network, {.batch = planned}, false));
        for (const std::int64_t batch : {1, 2, 8, 16}) {
          EXPECT_NO_THROW(Graph(network, store, {.batch = batch})) << channels << " channels, " << kernel << ", " << batch;
          EXPECT_NO_THROW(Graph(network, store, {.batch = batch, .training = false})) << channels << " channels, " << kernel;
        }
      }
    }
  }
}

}  // namespace
}  // namespace dtrain
