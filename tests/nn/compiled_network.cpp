// Arranging and comparing; see compiled_network.hpp.
#include "tests/nn/compiled_network.hpp"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "dtrain/random.hpp"

namespace dtrain {
namespace {

constexpr int kDirections = 3;  ///< random directions over a whole tensor, whose every element then counts
constexpr int kElements = 16;   ///< single elements, for messages that name a place

/// Step of the central differences. Truncation: h²·L‴/6 ≈ 1e-13; rounding: 2⁻⁵³·|L|/h ≈ 1e-9 for |L| ≈ 10: both far below f32.
/// A ReLU or maximum that switches within the step would spoil the quotient; with 10⁴ values of density 0.4 at the kink that
/// has probability 10⁴·0.4·2h < 1 % for a network, and seeds are fixed.
constexpr double kStep = 1e-6;

struct Probe {
  const NetworkSpec& network;
  const std::vector<double>& pictures;
  const std::vector<double>& diff_logits;
  std::int64_t batch;

  double loss(const NamedTensors& parameters) const {
    const ReferenceRun run = run_reference(network, parameters, pictures, batch, true);
    return std::inner_product(run.logits.begin(), run.logits.end(), diff_logits.begin(), 0.0);
  }

  /// Derivative of the loss along `direction` of one tensor.
  double slope(NamedTensors parameters, const std::string& name, const std::vector<double>& direction) const {
    std::vector<double>& values = parameters.at(name);
    const std::vector<double> center = values;
    const auto loss_at = [&](double step) {
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = center[i] + step * direction[i];
      return loss(parameters);
    };
    return (loss_at(kStep) - loss_at(-kStep)) / (2.0 * kStep);
  }
};

double largest_magnitude(const std::vector<float>& values) {
  double largest = 0.0;
  for (const float value : values) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

void expect_gradient_matches(const Probe& probe, const NamedTensors& parameters, const std::string& name,
                             const std::vector<float>& gradient, double tolerance) {
  ASSERT_TRUE(std::all_of(gradient.begin(), gradient.end(), [](float g) { return std::isfinite(g); })) << name;
  const double largest = largest_magnitude(gradient);
  // A tensor whose true gradient is 0 (a bias in front of a batch-norm) shows the rounding errors of its summands alone: a
  // random walk over the loss's terms, each below 4 in size (|γ/σ| times the loss gradient), taken at four standard deviations.
  const double noise = 4.0 * 4.0 * kUlp * std::sqrt(static_cast<double>(probe.diff_logits.size()));
  Random random(7, RandomPurpose::perturbation, {gradient.size()});

  for (int d = 0; d < kDirections; ++d) {
    std::vector<double> direction(gradient.size());
    for (double& component : direction) component = random.uniform() < 0.5 ? -1.0 : 1.0;
    double got = 0.0;
    for (std::size_t i = 0; i < gradient.size(); ++i) got += static_cast<double>(gradient[i]) * direction[i];
    // Errors of the elements are independent: their sum grows with the root of the count.
    const double spread = std::sqrt(static_cast<double>(gradient.size()));
    EXPECT_NEAR(got, probe.slope(parameters, name, direction), 4.0 * spread * (tolerance * largest + noise))
        << "gradient of " << name << " along random direction " << d << ", largest element " << largest;
  }
  const auto count = std::min<std::size_t>(gradient.size(), kElements);
  for (std::size_t k = 0; k < count; ++k) {
    const std::size_t i =
        gradient.size() <= kElements ? k : static_cast<std::size_t>(random.below(static_cast<std::int64_t>(gradient.size())));
    std::vector<double> direction(gradient.size(), 0.0);
    direction[i] = 1.0;
    EXPECT_NEAR(static_cast<double>(gradient[i]), probe.slope(parameters, name, direction), tolerance * largest + noise)
        << "gradient of " << name << "[" << i << "], largest element " << largest;
  }
}

}  // namespace

NetworkSpec network_head(std::int64_t channels, std::int64_t side) {
  return {.name = "test", .channels = channels, .height = side, .width = side, .num_classes = 0, .nodes = {}};
}

void set_parameters(ParameterStore& store, const NamedTensors& parameters) {
  for (const auto* slots : {&store.trained_slots(), &store.statistics_slots()}) {
    for (const Slot& slot : *slots) copy_from_plain(slot.layout, to_floats(parameters.at(slot.spec.name)), store.values(slot));
  }
}

std::vector<float> plain_values(const ParameterStore& store, const std::string& name) {
  const Slot& slot = *store.find(name);
  std::vector<float> plain(static_cast<std::size_t>(element_count(slot.spec.shape)));
  copy_to_plain(slot.layout, store.values(slot), plain);
  return plain;
}

std::vector<float> plain_gradient(const ParameterStore& store, const std::string& name) {
  const Slot& slot = *store.find(name);
  std::vector<float> plain(static_cast<std::size_t>(element_count(slot.spec.shape)));
  copy_to_plain(slot.layout, store.gradient(slot), plain);
  return plain;
}

std::map<std::string, std::vector<float>> plain_gradients(const ParameterStore& store) {
  std::map<std::string, std::vector<float>> gradients;
  for (const Slot& slot : store.trained_slots()) gradients[slot.spec.name] = plain_gradient(store, slot.spec.name);
  return gradients;
}

CompiledNetwork::CompiledNetwork(const NetworkSpec& network, const CompileOptions& options, const NamedTensors& parameters,
                                 bool plain)
    : own_store_(std::in_place, Graph::plan_parameters(network, options, plain)),
      store_(&*own_store_),
      graph_(network, *store_, options),
      arena_(graph_.memory_plan().activations_bytes) {
  set_parameters(*store_, parameters);
  graph_.bind({arena_.data(), arena_.size_bytes()});
}

CompiledNetwork::CompiledNetwork(const NetworkSpec& network, const CompileOptions& options, ParameterStore& shared_store)
    : store_(&shared_store), graph_(network, *store_, options), arena_(graph_.memory_plan().activations_bytes) {
  graph_.bind({arena_.data(), arena_.size_bytes()});
}

std::vector<float> CompiledNetwork::forward(const std::vector<double>& pictures, const PassOptions& pass) {
  pictures_ = to_floats(pictures);
  const auto logits = graph_.forward(pictures_, pass).values();
  return {logits.begin(), logits.end()};
}

void CompiledNetwork::backward(const std::vector<double>& diff_logits) {
  graph_.backward(to_floats(diff_logits), [](LayerIndex) {});
}

StepResult step_with_threads(const NetworkSpec& network, int threads) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  CompiledNetwork compiled(network, {.batch = 3}, random_parameters(network, 5));
  StepResult step;
  step.logits = compiled.forward(random_values(picture_elements(network, 3), 6));
  compiled.backward(random_values(logits_elements(network, 3), 7));
  step.gradients = plain_gradients(compiled.store());
  const auto statistics = compiled.store().statistics();
  step.statistics.assign(statistics.begin(), statistics.end());
  omp_set_num_threads(before);
  return step;
}

void expect_close(const std::vector<float>& got, const std::vector<double>& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double largest = 0.0;
  for (const double value : want) largest = std::max(largest, std::abs(value));
  double worst = 0.0;
  std::size_t worst_at = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double error = std::abs(static_cast<double>(got[i]) - want[i]);
    if (!(error <= worst)) worst = error, worst_at = i;  // NaN counts as worst
    if (std::isnan(error)) break;
  }
  EXPECT_LE(worst, tolerance * largest) << what << ", element " << worst_at << ": got " << got[worst_at] << ", expected "
                                        << want[worst_at] << ", largest " << largest;
}

void expect_matches_reference(const NetworkSpec& network, const CompileOptions& options, const Tolerances& tolerances) {
  const NamedTensors parameters = random_parameters(network, 11);
  const std::vector<double> pictures = random_values(picture_elements(network, options.batch), 12);
  const std::vector<double> diff_logits = random_values(logits_elements(network, options.batch), 13);
  CompiledNetwork compiled(network, options, parameters);

  const std::vector<float> logits = compiled.forward(pictures);
  compiled.backward(diff_logits);

  expect_close(logits, run_reference(network, parameters, pictures, options.batch, true).logits, tolerances.logits, "logits");
  const Probe probe{network, pictures, diff_logits, options.batch};
  for (const auto& [name, gradient] : plain_gradients(compiled.store())) {
    expect_gradient_matches(probe, parameters, name, gradient, tolerances.gradients);
  }
}

void expect_evaluation_matches_reference(const NetworkSpec& network, const CompileOptions& options,
                                         const Tolerances& tolerances) {
  CompileOptions evaluation = options;
  evaluation.training = false;
  const NamedTensors parameters = random_parameters(network, 21);
  const std::vector<double> pictures = random_values(picture_elements(network, options.batch), 22);
  CompiledNetwork compiled(network, evaluation, parameters);

  const std::vector<float> logits = compiled.forward(pictures);

  expect_close(logits, run_reference(network, parameters, pictures, options.batch, false).logits, tolerances.logits, "logits");
}

}  // namespace dtrain
