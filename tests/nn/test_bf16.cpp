// bf16: the same networks with activations, their gradients and working weights rounded to eight bits of mantissa.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "src/nn/element.hpp"
#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

// A rounding to bf16 is wrong by up to 2⁻⁹ of a value, and a layer rounds its src, its weights and its result: √30 · 2⁻⁹ = 1 %
// after ten layers. Gradients suffer more, because ReLU's mask and max pooling's choice flip wherever two values are that
// close: a share of about 1 % of the elements, each by all of its value, is a distance of √0.01 = 10 %. What is forgotten,
// misplaced or not scaled is off by 100 %.
constexpr double kLogitsLimit = 0.03;
constexpr double kGradientLimit = 0.2;
constexpr double kTensorLimit = 0.4;   // of a single tensor, …
constexpr double kTensorShare = 0.01;  // … or of the whole gradient: the true gradient of a bias before a batch-norm is 0

StepResult step_in(Precision precision, const NetworkSpec& network) {
  CompiledNetwork compiled(network, {.batch = 4, .precision = precision, .conv_algorithm = ConvAlgorithm::direct},
                           random_parameters(network, 1));
  StepResult step;
  step.logits = compiled.forward(random_values(picture_elements(network, 4), 2));
  compiled.backward(random_values(logits_elements(network, 4), 3));
  step.gradients = plain_gradients(compiled.store());
  return step;
}

double norm(const std::vector<float>& values) {
  return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  std::vector<float> difference(a.size());
  std::transform(a.begin(), a.end(), b.begin(), difference.begin(), std::minus<>());
  return norm(difference);
}

std::vector<float> joined(const std::map<std::string, std::vector<float>>& tensors) {
  std::vector<float> all;
  for (const auto& [name, values] : tensors) all.insert(all.end(), values.begin(), values.end());
  return all;
}

class Bf16 : public testing::Test {
 protected:
  void SetUp() override {
    if (bf16_support() == Bf16Support::none) GTEST_SKIP() << "this CPU has no AVX-512, which oneDNN's bf16 needs";
  }
};

TEST(Bf16Rounding, IsToTheNearestWithTiesToEven) {
  const auto rounded = [](float value) {
    nn::BFloat16 half{};
    nn::assign(half, value);
    return nn::to_float(half);
  };
  constexpr float kUnit = 0x1p-7f;  // distance of neighbours between 1 and 2
  constexpr float kInfinity = std::numeric_limits<float>::infinity();

  EXPECT_EQ(rounded(1.0f + 0.49f * kUnit), 1.0f);
  EXPECT_EQ(rounded(1.0f + 0.51f * kUnit), 1.0f + kUnit);
  EXPECT_EQ(rounded(1.0f + 0.5f * kUnit), 1.0f);
  EXPECT_EQ(rounded(1.0f + 1.5f * kUnit), 1.0f + 2 * kUnit);
  EXPECT_EQ(rounded(-3.0f), -3.0f);
  EXPECT_EQ(rounded(0.0f), 0.0f);
  EXPECT_EQ(rounded(kInfinity), kInfinity);
  EXPECT_EQ(rounded(std::numeric_limits<float>::max()), kInfinity);
  EXPECT_TRUE(std::isnan(rounded(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0x7f800001u)))) << "whose bits beyond the mantissa kept are all there is";
  EXPECT_TRUE(std::isnan(rounded(std::bit_cast<float>(0xffffffffu))));
}

TEST_F(Bf16, GivesTheLogitsAndGradientsOfF32) {
  for (const NetworkSpec& network : small_networks()) {
    const StepResult exact = step_in(Precision::fp32, network);
    const StepResult rounded = step_in(Precision::bf16, network);

    EXPECT_LT(distance(rounded.logits, exact.logits), kLogitsLimit * norm(exact.logits)) << network.name;
    const double whole = norm(joined(exact.gradients));
    EXPECT_LT(distance(joined(rounded.gradients), joined(exact.gradients)), kGradientLimit * whole) << network.name;
    for (const auto& [name, gradient] : exact.gradients) {
      EXPECT_LT(distance(rounded.gradients.at(name), gradient), kTensorLimit * norm(gradient) + kTensorShare * whole)
          << network.name << ": " << name;
    }
  }
}

TEST_F(Bf16, GivesTheLogitsOfF32InEvaluation) {
  for (const NetworkSpec& network : small_networks()) {
    SCOPED_TRACE(network.name);
    expect_evaluation_matches_reference(network, {.batch = 4, .precision = Precision::bf16}, {.logits = 0.04});
  }
}

TEST_F(Bf16, SumsMicroBatchesInF32) {
  const NetworkSpec network = dense_block();
  CompiledNetwork compiled(network, {.batch = 2, .precision = Precision::bf16}, random_parameters(network, 1));
  const std::vector<double> pictures = random_values(picture_elements(network, 2), 2);
  const std::vector<double> diff_logits = random_values(logits_elements(network, 2), 3);
  (void)compiled.forward(pictures);
  compiled.backward(diff_logits);
  const auto once = plain_gradients(compiled.store());

  (void)compiled.forward(pictures, {.is_first_micro_batch = false});
  compiled.backward(diff_logits);

  for (const auto& [name, gradient] : plain_gradients(compiled.store())) {
    for (std::size_t i = 0; i < gradient.size(); ++i) ASSERT_EQ(gradient[i], 2.0f * once.at(name)[i]) << name;
  }
}

TEST_F(Bf16, GivesTheSameBitsTwice) {
  const NetworkSpec network = residual_chain();

  EXPECT_EQ(step_in(Precision::bf16, network), step_in(Precision::bf16, network));
}

TEST_F(Bf16, KeepsMasterWeightsAndGradientsInF32) {
  // A change of the weights below bf16's resolution must not change a result; many of them must.
  const NetworkSpec network = residual_chain();
  const NamedTensors parameters = random_parameters(network, 1);
  CompiledNetwork compiled(network, {.batch = 2, .precision = Precision::bf16}, parameters);
  const std::vector<double> pictures = random_values(picture_elements(network, 2), 2);
  const std::vector<float> before = compiled.forward(pictures);

  const auto grown_by = [&](double share) {
    NamedTensors grown = parameters;
    for (double& weight : grown.at("fc.weight")) weight *= 1.0 + share;
    set_parameters(compiled.store(), grown);
    return compiled.forward(pictures);
  };
  const std::vector<float> once = grown_by(0x1p-14);
  const std::vector<float> often = grown_by(0x1p-5);

  EXPECT_NEAR(once[0], before[0], 0.01 * std::abs(before[0]));
  EXPECT_NE(often, before);
}

}  // namespace
}  // namespace dtrain
