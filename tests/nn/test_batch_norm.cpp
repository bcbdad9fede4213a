// Batch normalisation against plain loops: alone, with ReLU, with residual and ReLU; running statistics; equal bits for any
// number of threads.
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

struct NormShape {
  std::int64_t channels = 16;
  bool has_residual = false;
  bool has_relu = false;
  std::int64_t side = 6;
  std::int64_t batch = 3;
  float ceiling = kNoCeiling;  ///< of the ReLU
};

std::string name_of(const NormShape& c) {
  return std::to_string(c.channels) + "_channels" + (c.has_residual ? "_residual" : "") + (c.has_relu ? "_relu" : "") +
         (c.ceiling < kNoCeiling ? "_with_ceiling" : "") + "_side_" + std::to_string(c.side);
}

void PrintTo(const NormShape& c, std::ostream* out) { *out << name_of(c); }

NetworkSpec network_of(const NormShape& c) {
  NetworkBuilder net(network_head(3, c.side));
  const LayerIndex shortcut =
      net.append("shortcut", Convolution{.out_channels = c.channels, .kernel = 3, .padding = 1, .has_bias = true});
  net.append("conv", Convolution{.out_channels = c.channels, .kernel = 1});
  const LayerIndex norm = net.append("bn", BatchNorm{});
  if (c.has_residual) net.add("add", norm, shortcut);
  if (c.has_relu) net.append("relu", Relu{.ceiling = c.ceiling});
  return finish_with_features(std::move(net));
}

class BatchNormCase : public testing::TestWithParam<NormShape> {};

TEST_P(BatchNormCase, EqualsPlainLoopsInTraining) {
  expect_matches_reference(network_of(GetParam()), {.batch = GetParam().batch});
}

TEST_P(BatchNormCase, UsesRunningStatisticsInEvaluation) {
  expect_evaluation_matches_reference(network_of(GetParam()), {.batch = GetParam().batch});
}

std::vector<NormShape> norm_shapes() {
  std::vector<NormShape> all;
  for (const std::int64_t channels : {5, 16, 24, 40}) {
    for (const bool has_residual : {false, true}) {
      for (const bool has_relu : {false, true}) {
        all.push_back({.channels = channels, .has_residual = has_residual, .has_relu = has_relu});
      }
    }
  }
  // A ceiling near a result's deviation: some elements are above it. 13² pixels: below.
  for (const bool has_residual : {false, true}) {
    for (const std::int64_t channels : {5, 16, 24}) {
      all.push_back({.channels = channels, .has_residual = has_residual, .has_relu = true, .ceiling = 0.75f});
    }
    all.push_back({.channels = 5, .has_residual = has_residual, .has_relu = true, .side = 13, .ceiling = 0.75f});
  }
  // 13² = 169 pixels: more than one run of single-precision sums in the kernels, and a rest of an odd length. From 100 pixels
  // on results are streamed past the cache where they replace nothing.
  for (const std::int64_t side : {10, 13}) {
    all.push_back({.channels = 16, .has_residual = true, .has_relu = true, .side = side});
    all.push_back({.channels = 24, .has_residual = true, .has_relu = false, .side = side});
    all.push_back({.channels = 8, .has_residual = false, .has_relu = true, .side = side});
    all.push_back({.channels = 5, .has_residual = false, .has_relu = false, .side = side});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Shapes, BatchNormCase, testing::ValuesIn(norm_shapes()),
                         [](const testing::TestParamInfo<NormShape>& tested) { return name_of(tested.param); });

/// Batch-norms in a row behind the pictures, so that every number is made by own kernels alone.
NetworkSpec norms_on_pictures(std::int64_t channels, std::int64_t side) {
  NetworkBuilder net(network_head(channels, side));
  net.append("bn1", BatchNorm{});
  const LayerIndex first = net.append("relu1", Relu{});
  const LayerIndex second = net.append("bn2", BatchNorm{});
  net.add("add", second, first);
  net.append("relu2", Relu{});
  return finish_with_features(std::move(net));
}

TEST(BatchNormStatistics, MoveByMomentumTowardsMeanAndUnbiasedVariance) {
  NetworkBuilder net(network_head(5, 4));
  net.append("bn", BatchNorm{.epsilon = 1e-3f, .momentum = 0.25f});
  const NetworkSpec network = finish_with_features(std::move(net));
  const NamedTensors parameters = random_parameters(network, 1);
  const std::vector<double> pictures = random_values(picture_elements(network, 3), 2);
  CompiledNetwork compiled(network, {.batch = 3}, parameters);

  (void)compiled.forward(pictures);

  const Moments moments = run_reference(network, parameters, pictures, 3, true).moments.at("bn");
  std::vector<double> mean, variance;
  for (std::size_t c = 0; c < 5; ++c) {
    mean.push_back(0.75 * parameters.at("bn.running_mean")[c] + 0.25 * moments.mean[c]);
    variance.push_back(0.75 * parameters.at("bn.running_var")[c] + 0.25 * moments.unbiased_variance[c]);
  }
  // Sums of 16 floats each in single precision, the rest in double: a few ulps.
  expect_close(plain_values(compiled.store(), "bn.running_mean"), mean, 8 * kUlp, "running mean");
  expect_close(plain_values(compiled.store(), "bn.running_var"), variance, 8 * kUlp, "running variance");
}

TEST(BatchNormStatistics, StayAsTheyAreInEvaluation) {
  const NetworkSpec network = norms_on_pictures(5, 4);
  const NamedTensors parameters = random_parameters(network, 1);
  CompiledNetwork compiled(network, {.batch = 2, .training = false}, parameters);

  (void)compiled.forward(random_values(picture_elements(network, 2), 2));

  for (const char* name : {"bn1.running_mean", "bn1.running_var", "bn2.running_mean", "bn2.running_var"}) {
    EXPECT_EQ(plain_values(compiled.store(), name), to_floats(parameters.at(name))) << name;
  }
}

TEST(BatchNormStatistics, LeaveOnePixelOfOnePictureOutWhichHasNoVariance) {
  NetworkBuilder net(network_head(3, 1));
  net.append("bn", BatchNorm{.momentum = 0.5f});
  const NetworkSpec network = finish_with_features(std::move(net));
  NamedTensors parameters = random_parameters(network, 1);
  parameters["bn.running_mean"] = {0.0, 0.0, 0.0};
  parameters["bn.running_var"] = {1.0, 1.0, 1.0};
  CompiledNetwork compiled(network, {.batch = 1}, parameters);

  const std::vector<float> logits = compiled.forward({2.0, -4.0, 8.0});

  // x − mean = 0 leaves β; x·scale and shift, up to 8·1.5/√1e-5 = 3800, cancel to within an ulp of theirs.
  expect_close(logits, parameters.at("bn.bias"), 3800 * kUlp / 0.8, "logits");
  EXPECT_EQ(plain_values(compiled.store(), "bn.running_mean"), (std::vector<float>{0.0f, 0.0f, 0.0f}));
  EXPECT_EQ(plain_values(compiled.store(), "bn.running_var"), (std::vector<float>{1.0f, 1.0f, 1.0f}));
}

TEST(BatchNormPrecision, KeepsTheVarianceOfPicturesFarFromZero) {
  // Mean 1000, deviation 1: x² − mean² in single precision would lose 10⁶·2⁻²⁴ = 6 % of the variance.
  NetworkBuilder net(network_head(2, 8));
  net.append("bn", BatchNorm{});
  const NetworkSpec network = finish_with_features(std::move(net));
  const NamedTensors parameters = random_parameters(network, 1);
  std::vector<double> pictures = random_values(picture_elements(network, 4), 2);
  for (double& pixel : pictures) pixel = static_cast<double>(static_cast<float>(1000.0 + pixel));
  CompiledNetwork compiled(network, {.batch = 4}, parameters);

  const std::vector<float> logits = compiled.forward(pictures);

  // dst = x·scale + shift with |x·scale| ≤ 1.5·1000 and |shift| likewise, each rounded once: 1500 half-ulps twice on results
  // whose largest magnitude is about 4.
  const ReferenceRun reference = run_reference(network, parameters, pictures, 4, true);
  expect_close(logits, reference.logits, 1500.0 / 4.0 * kUlp, "logits");
  const std::vector<float> variance = plain_values(compiled.store(), "bn.running_var");
  for (std::size_t c = 0; c < 2; ++c) {
    const double expected = 0.9 * parameters.at("bn.running_var")[c] + 0.1 * reference.moments.at("bn").unbiased_variance[c];
    EXPECT_NEAR(static_cast<double>(variance[c]), expected, 16 * kUlp * expected);
  }
}

TEST(BatchNormPrecision, GivesAConstantChannelItsShift) {
  NetworkBuilder net(network_head(2, 4));
  net.append("bn", BatchNorm{});
  const NetworkSpec network = finish_with_features(std::move(net));
  const NamedTensors parameters = random_parameters(network, 1);
  CompiledNetwork compiled(network, {.batch = 2}, parameters);

  const std::vector<float> logits = compiled.forward(std::vector<double>(64, 3.0));

  // scale = γ/√ε ≤ 1.5/√1e-5 = 475: 3·scale and shift cancel to within an ulp of 1500.
  for (std::size_t i = 0; i < logits.size(); ++i) {
    EXPECT_NEAR(static_cast<double>(logits[i]), parameters.at("bn.bias")[i / 16 % 2], 1500 * kUlp);
  }
}

TEST(BatchNormThreads, GiveTheSameBits) {
  // Few blocks of channels: pictures are shared out; many: whole blocks are.
  for (const std::int64_t channels : {5, 16, 48, 200}) {
    const NetworkSpec network = norms_on_pictures(channels, 13);

    const StepResult alone = step_with_threads(network, 1);

    EXPECT_EQ(step_with_threads(network, 2), alone) << channels << " channels, 2 threads";
    EXPECT_EQ(step_with_threads(network, 3), alone) << channels << " channels, 3 threads";
  }
}

}  // namespace
}  // namespace dtrain
