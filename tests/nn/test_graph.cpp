// The compiled graph as its caller sees it: the order in which backward finishes, repeatability, layouts, contracts, faults.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "dtrain/error.hpp"
#include "dtrain/models.hpp"
#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

/// One training step on random numbers.
struct Step {
  explicit Step(const NetworkSpec& network, const CompileOptions& options = {.batch = 4}, bool plain = false)
      : pictures(random_values(picture_elements(network, options.batch), 2)),
        diff_logits(random_values(logits_elements(network, options.batch), 3)),
        compiled(network, options, random_parameters(network, 1), plain) {}

  std::vector<float> run() {
    std::vector<float> logits = compiled.forward(pictures);
    compiled.backward(diff_logits);
    return logits;
  }

  std::vector<double> pictures, diff_logits;
  CompiledNetwork compiled;
};

std::vector<NetworkSpec> networks_with_parameters_of_all_kinds() {
  std::vector<NetworkSpec> networks = small_networks();
  networks.push_back(build_model("resnet20", {}));
  networks.push_back(build_model("lenet5", {}));
  return networks;
}

TEST(GraphBackward, ReportsEveryNodeOnce) {
  for (const NetworkSpec& network : networks_with_parameters_of_all_kinds()) {
    Step step(network);
    std::multiset<LayerIndex> reported;

    (void)step.compiled.forward(step.pictures);
    step.compiled.graph().backward(to_floats(step.diff_logits), [&](LayerIndex node) { reported.insert(node); });

    ASSERT_EQ(reported.size(), network.nodes.size()) << network.name;
    ASSERT_EQ(std::set<LayerIndex>(reported.begin(), reported.end()).size(), network.nodes.size()) << network.name;
  }
}

TEST(GraphBackward, ReportsNodesOfAChainFromTheLastToTheFirst) {
  Step step(convolutions_and_linear());
  std::vector<LayerIndex> reported;

  (void)step.compiled.forward(step.pictures);
  step.compiled.graph().backward(to_floats(step.diff_logits), [&](LayerIndex node) { reported.push_back(node); });

  EXPECT_TRUE(std::is_sorted(reported.rbegin(), reported.rend()));
}

TEST(GraphBackward, FinishesSlotsInTheOrderOfTheArena) {
  // Buckets are slices of the arena: a slot must never be finished after one that stands behind it.
  for (const NetworkSpec& network : networks_with_parameters_of_all_kinds()) {
    Step step(network);
    const auto specs = parameters_by_node(network);
    std::vector<std::string> finished;

    (void)step.compiled.forward(step.pictures);
    step.compiled.graph().backward(to_floats(step.diff_logits), [&](LayerIndex node) {
      for (const ParameterSpec& spec : specs[static_cast<std::size_t>(node)]) {
        if (spec.is_trained()) finished.push_back(spec.name);
      }
    });

    std::vector<std::string> slots;
    for (const Slot& slot : step.compiled.store().trained_slots()) slots.push_back(slot.spec.name);
    ASSERT_EQ(finished, slots) << network.name;
  }
}

TEST(GraphBackward, HasTheFinalGradientsOfANodeWhenItReportsIt) {
  for (const NetworkSpec& network : networks_with_parameters_of_all_kinds()) {
    Step step(network);
    const ParameterStore& store = step.compiled.store();
    const auto specs = parameters_by_node(network);
    std::map<std::string, std::vector<float>> seen;

    (void)step.compiled.forward(step.pictures);
    std::ranges::fill(store.gradients(), std::numeric_limits<float>::quiet_NaN());
    step.compiled.graph().backward(to_floats(step.diff_logits), [&](LayerIndex node) {
      for (const ParameterSpec& spec : specs[static_cast<std::size_t>(node)]) {
        if (spec.is_trained()) seen[spec.name] = plain_gradient(store, spec.name);
      }
    });

    ASSERT_EQ(seen, plain_gradients(store)) << network.name;  // NaN, had it stayed, equals nothing
  }
}

TEST(Graph, GivesTheSameBitsWhenRunAgain) {
  for (const NetworkSpec& network : networks_with_parameters_of_all_kinds()) {
    Step step(network, {.batch = 12});

    const std::vector<float> first_logits = step.run();
    const auto first_gradients = plain_gradients(step.compiled.store());
    const std::vector<float> second_logits = step.run();

    EXPECT_EQ(second_logits, first_logits) << network.name;
    EXPECT_EQ(plain_gradients(step.compiled.store()), first_gradients) << network.name;
  }
}

TEST(Graph, GivesTheSameBitsWhenCompiledAgain) {
  for (const NetworkSpec& network : {residual_chain(), build_model("resnet20", {})}) {
    Step once(network, {.batch = 12});
    Step twice(network, {.batch = 12});

    EXPECT_EQ(once.run(), twice.run()) << network.name;
    EXPECT_EQ(plain_gradients(once.compiled.store()), plain_gradients(twice.compiled.store())) << network.name;
  }
}

void expect_equal_to_1e_6(const std::vector<float>& got, const std::vector<float>& want, const std::string& what) {
  expect_close(got, {want.begin(), want.end()}, 1e-6, what);
}

TEST(Graph, GivesEqualResultsForPlainAndPreferredLayouts) {
  // The same primitives run on the same numbers; only what is copied where differs.
  for (const NetworkSpec& network : networks_with_parameters_of_all_kinds()) {
    Step preferred(network, {.batch = 12});
    Step plain(network, {.batch = 12}, true);

    expect_equal_to_1e_6(plain.run(), preferred.run(), network.name + ": logits");

    const auto want = plain_gradients(preferred.compiled.store());
    for (const auto& [name, gradient] : plain_gradients(plain.compiled.store())) {
      expect_equal_to_1e_6(gradient, want.at(name), network.name + ": " + name);
    }
  }
}

TEST(Graph, KeepsThePaddingOfSlotsZero) {
  // Norms, updates and all-reduces run over whole slots. 5 and 20 channels leave gaps in blocks of 8 and 16.
  NetworkBuilder net(network_head(5, 6));
  net.append("conv1", Convolution{.out_channels = 20, .kernel = 3, .padding = 1, .has_bias = true});
  net.append("relu", Relu{});
  net.append("conv2", Convolution{.out_channels = 5, .kernel = 3, .padding = 1});
  Step step(finish_with_features(std::move(net)));
  const ParameterStore& store = step.compiled.store();

  (void)step.run();
  step.compiled.graph().forward(to_floats(step.pictures), {.is_first_micro_batch = false});
  step.compiled.backward(step.diff_logits);

  for (const Slot& slot : store.trained_slots()) {
    std::vector<float> clean(static_cast<std::size_t>(slot.size), 0.0f);
    copy_from_plain(slot.layout, plain_gradient(store, slot.spec.name), clean);
    const auto gradient = store.gradient(slot);
    EXPECT_TRUE(std::equal(gradient.begin(), gradient.end(), clean.begin(), clean.end())) << slot.spec.name;
  }
}

TEST(Graph, FollowsPicturesThatMoveFromCallToCall) {
  const NetworkSpec network = layers_on_pictures();
  Step step(network);
  const std::vector<double> others = random_values(picture_elements(network, 4), 99);
  Step fresh(network);
  fresh.pictures = others;

  (void)step.run();
  step.pictures = others;
  const std::vector<float> logits = step.run();

  EXPECT_EQ(logits, fresh.run());
  EXPECT_EQ(plain_gradients(step.compiled.store()), plain_gradients(fresh.compiled.store()));
}

TEST(Graph, WorksWhereverTheArenaLies) {
  const NetworkSpec network = residual_chain();
  Step step(network);
  const std::vector<float> before = step.run();
  const auto gradients = plain_gradients(step.compiled.store());
  const AlignedMemory elsewhere(step.compiled.graph().memory_plan().activations_bytes + 192);
  std::ranges::fill(elsewhere.floats(), std::numeric_limits<float>::quiet_NaN());  // nobody may count on zeros

  step.compiled.graph().bind({elsewhere.data() + 64, elsewhere.size_bytes() - 64});
  const std::vector<float> after = step.run();

  EXPECT_EQ(after, before);
  EXPECT_EQ(plain_gradients(step.compiled.store()), gradients);
}

TEST(Graph, DoesNotReadWhatTheArenaHeldBefore) {
  for (const NetworkSpec& network : networks_with_parameters_of_all_kinds()) {
    Step step(network);
    const std::vector<float> before = step.run();
    const auto gradients = plain_gradients(step.compiled.store());
    const AlignedMemory dirty(step.compiled.graph().memory_plan().activations_bytes);

    step.compiled.graph().bind({dirty.data(), dirty.size_bytes()});
    std::ranges::fill(dirty.floats(), std::numeric_limits<float>::quiet_NaN());
    const std::vector<float> after = step.run();

    EXPECT_EQ(after, before) << network.name;
    EXPECT_EQ(plain_gradients(step.compiled.store()), gradients) << network.name;
  }
}

TEST(GraphRecompute, ChangesNoBitAndNeedsLessMemory) {
  for (const NetworkSpec& network :
       {residual_chain(), dense_block(), inception_block(), three_readers(), build_model("resnet20", {})}) {
    Step kept(network);
    Step recomputing(network, {.batch = 4, .recompute_norm = true});

    EXPECT_EQ(recomputing.run(), kept.run()) << network.name;
    EXPECT_EQ(plain_gradients(recomputing.compiled.store()), plain_gradients(kept.compiled.store())) << network.name;
    const auto bytes = [](Step& step) { return step.compiled.graph().memory_plan().activations_bytes; };
    EXPECT_LE(bytes(recomputing), bytes(kept)) << network.name;
  }
}

TEST(GraphFusions, ChangeResultsByRoundingAlone) {
  for (const NetworkSpec& network : small_networks()) {
    if (network.name == "dropouts") continue;  // a mask depends on the operation's place
    expect_matches_reference(network, {.batch = 4, .fusions = parse_fusions("none")});
  }
}

TEST(GraphRecompute, HalvesTheActivationsOfDenseNetAndOfResidualNetworks) {
  for (const char* model : {"densenet121", "resnet50", "resnet101"}) {
    const NetworkSpec network = build_model(model, {.image_size = 128});
    const auto bytes = [&](bool recompute_norm) {
      const CompileOptions options{
          .batch = 4, .conv_algorithm = ConvAlgorithm::direct, .recompute_norm = recompute_norm, .accumulates = false};
      ParameterStore store(Graph::plan_parameters(network, options, false));
      return Graph(network, store, options).memory_plan().activations_bytes;
    };

    EXPECT_LT(bytes(true), bytes(false) * 11 / 20) << model << ": " << bytes(false);
  }
}

/// Logits of a network whose first convolution's weights are not numbers.
std::vector<float> logits_of_broken(const NetworkSpec& network) {
  NamedTensors parameters = random_parameters(network, 1);
  std::ranges::fill(parameters.at(parameters_by_node(network)[0][0].name), std::numeric_limits<double>::quiet_NaN());
  CompiledNetwork compiled(network, {.batch = 4}, parameters);
  return compiled.forward(random_values(picture_elements(network, 4), 2));
}

TEST(GraphDivergence, LetsNotANumberReachTheLogits) {
  // A run whose weights are no longer numbers must be seen to have diverged: no layer may turn NaN into a plausible value, but
  // for oneDNN's ReLU behind a convolution. Weights that are not finite are therefore found when they are updated, too.
  for (const NetworkSpec& network : {residual_chain(), downsampling_block(), three_readers(), doubled_value(),
                                     norm_plus_its_input(), sums_without_norm(), build_model("resnet20", {})}) {
    const std::vector<float> logits = logits_of_broken(network);

    EXPECT_TRUE(std::ranges::all_of(logits, [](float logit) { return std::isnan(logit); })) << network.name;
  }
}

TEST(GraphDivergence, IsVisibleInTheLogitsBehindAMaxPool) {
  // oneDNN's maximum of nothing but NaN is the least float, which no sane network's values come near.
  const NetworkSpec network = build_model("resnet18", {.image_size = 32});

  const std::vector<float> logits = logits_of_broken(network);

  EXPECT_TRUE(std::ranges::any_of(logits, [](float logit) { return !(std::abs(logit) < 1e30f); }));
}

TEST(Graph, SaysWhatItCompiledALineAnInstruction) {
  const NetworkSpec network = residual_chain();
  CompiledNetwork compiled(network, {.batch = 2}, random_parameters(network, 1));

  const std::string text = compiled.graph().describe();

  EXPECT_NE(text.find("stem.bn: batch-norm + relu"), std::string::npos) << text;
  EXPECT_NE(text.find("block0.bn2: batch-norm + add + relu"), std::string::npos) << text;
  EXPECT_NE(text.find("fc: linear"), std::string::npos) << text;
}

TEST(Graph, ComputesNothingOfAuxiliaryHeadsInEvaluation) {
  const NetworkSpec with = build_model("googlenet", {.num_classes = 5, .image_size = 32, .aux_heads = true});
  const NetworkSpec without = build_model("googlenet", {.num_classes = 5, .image_size = 32});
  const NamedTensors parameters = random_parameters(with, 1);
  const std::vector<double> pictures = random_values(picture_elements(with, 2), 2);
  const CompileOptions options{.batch = 2, .training = false};
  ParameterStore store(Graph::plan_parameters(with, {.batch = 2}, true));  // of a run that trains the heads
  set_parameters(store, parameters);
  CompiledNetwork evaluation(with, options, store);
  CompiledNetwork plain(without, options, parameters, true);

  EXPECT_EQ(evaluation.graph().describe(), plain.graph().describe());
  EXPECT_EQ(evaluation.graph().memory_plan().activations_bytes, plain.graph().memory_plan().activations_bytes);
  EXPECT_EQ(evaluation.forward(pictures), plain.forward(pictures));
}

TEST(Graph, StaysUsableWhenMoved) {
  const NetworkSpec network = residual_chain();
  Step step(network);
  const std::vector<float> before = step.run();

  Graph moved = std::move(step.compiled.graph());
  const auto logits = moved.forward(to_floats(step.pictures), {}).values();

  EXPECT_EQ(std::vector<float>(logits.begin(), logits.end()), before);
}

TEST(GraphPlan, CountsTheBytesOfTheArenaAndOfItsScratch) {
  const NetworkSpec network = build_model("resnet18", {.image_size = 64});
  CompiledNetwork compiled(network, {.batch = 2}, random_parameters(network, 1));

  const MemoryPlan& plan = compiled.graph().memory_plan();

  // What must be alive at the first backward time at least: the results of all convolutions, which their batch-norms read
  // again.
  std::size_t convolution_bytes = 0;
  const std::vector<Shape> shapes = output_shapes(network, 2);
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    if (!std::holds_alternative<Convolution>(network.nodes[i].layer)) continue;
    convolution_bytes += static_cast<std::size_t>(element_count(shapes[i])) * sizeof(float);
  }
  EXPECT_GE(plan.activations_bytes, convolution_bytes);
  EXPECT_GT(plan.scratchpad_bytes, 0u);
  EXPECT_LE(plan.scratchpad_bytes, plan.activations_bytes);
}

TEST(GraphPlan, IsTheSameForAGraphThatIsMerelyPlanned) {
  for (const bool training : {true, false}) {
    for (const bool plain : {true, false}) {
      const NetworkSpec network = residual_chain();
      const CompileOptions options{.batch = 3, .training = training};
      ParameterStore store(Graph::plan_parameters(network, options, plain));

      const MemoryPlan planned = Graph::plan_memory(network, store, options);

      const Graph graph(network, store, options);
      EXPECT_EQ(planned.activations_bytes, graph.memory_plan().activations_bytes);
      EXPECT_EQ(planned.scratchpad_bytes, graph.memory_plan().scratchpad_bytes);
    }
  }
}

TEST(GraphErrors, RefuseBf16OnACpuWithoutIt) {
  if (bf16_support() != Bf16Support::none) GTEST_SKIP() << "this CPU has it; the tests without AVX-512 come here";
  try {
    (void)Graph::plan_parameters(residual_chain(), {.batch = 1, .precision = Precision::bf16}, false);
    FAIL() << "compiled";
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("bf16"), std::string::npos) << text;
    EXPECT_NE(text.find("--precision fp32"), std::string::npos) << text;
  }
}

TEST(GraphErrors, RefusePicturesThatAreTooSmallAsAConfigurationError) {
  NetworkSpec network = convolutions_and_linear();
  network.height = network.width = 3;
  try {
    (void)Graph::plan_parameters(network, {.batch = 1}, false);
    FAIL() << "compiled";
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("3×3"), std::string::npos) << text;
    EXPECT_NE(text.find("pictures of at least"), std::string::npos) << text;
  }
}

TEST(GraphErrors, RefuseCallersWhoBreakTheContract) {
  const NetworkSpec network = residual_chain();
  const CompileOptions options{.batch = 2};
  ParameterStore store(Graph::plan_parameters(network, options, false));
  Graph graph(network, store, options);
  const std::vector<float> pictures(static_cast<std::size_t>(picture_elements(network, 2)), 1.0f);
  AlignedMemory arena(graph.memory_plan().activations_bytes);

  EXPECT_THROW((void)graph.forward(pictures, {}), std::logic_error) << "not bound";
  EXPECT_THROW(graph.bind({arena.data(), graph.memory_plan().activations_bytes - 64}), std::logic_error) << "arena too small";
  graph.bind({arena.data(), arena.size_bytes()});
  EXPECT_THROW((void)graph.forward(std::span(pictures).first(10), {}), std::logic_error) << "too few pictures";
  (void)graph.forward(pictures, {});
  EXPECT_THROW(graph.backward(std::vector<float>(3), [](LayerIndex) {}), std::logic_error) << "wrong gradient";
}

TEST(GraphErrors, RefuseOutputsThatAreNotLogitsOrThatOthersRead) {
  NetworkSpec other_size = auxiliary_heads();
  other_size.nodes[static_cast<std::size_t>(other_size.outputs[1].node)].layer = Linear{.out_features = 4};
  const CompileOptions options{.batch = 2};
  ParameterStore store(Graph::plan_parameters(other_size, options, true));
  EXPECT_THROW(Graph(other_size, store, options), std::logic_error);

  NetworkSpec read = convolutions_and_linear();
  read.outputs.front().node = 3;  // the second convolution, which a ReLU reads
  EXPECT_THROW((void)Graph::plan_parameters(read, options, true), std::logic_error);
  read.outputs.clear();
  EXPECT_THROW((void)Graph::plan_parameters(read, options, true), std::logic_error);
}

TEST(GraphErrors, RefuseBackwardOfAGraphForEvaluation) {
  const NetworkSpec network = residual_chain();
  CompiledNetwork compiled(network, {.batch = 2, .training = false}, random_parameters(network, 1));
  (void)compiled.forward(random_values(picture_elements(network, 2), 2));

  EXPECT_THROW(compiled.backward(random_values(10, 3)), std::logic_error);
}

TEST(GraphErrors, RefuseAStoreWithoutTheNetworksParameters) {
  const CompileOptions options{.batch = 2};
  ParameterStore store(Graph::plan_parameters(sums_without_norm(), options, false));

  EXPECT_THROW(Graph(residual_chain(), store, options), std::logic_error);
}

}  // namespace
}  // namespace dtrain
