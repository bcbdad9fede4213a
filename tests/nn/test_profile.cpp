// The profile of a compiled graph: work counted from shapes, time where there is work, results untouched.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "dtrain/models.hpp"
#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

using Kind = InstructionProfile::Kind;

std::vector<InstructionProfile> profile_of(const NetworkSpec& network, std::int64_t batch) {
  CompiledNetwork compiled(network, {.batch = batch}, random_parameters(network, 1));
  compiled.graph().start_profile();
  (void)compiled.forward(random_values(picture_elements(network, batch), 2));
  compiled.backward(random_values(logits_elements(network, batch), 3));
  return compiled.graph().profile();
}

std::int64_t sum_of(const std::vector<InstructionProfile>& profile, DirectionProfile InstructionProfile::*direction) {
  return std::accumulate(profile.begin(), profile.end(), std::int64_t{0},
                         [&](std::int64_t sum, const InstructionProfile& i) { return sum + (i.*direction).flops; });
}

TEST(GraphProfile, CountsTheOperationsOfTheNetwork) {
  const NetworkSpec network = build_model("resnet20", {});
  const std::vector<InstructionProfile> profile = profile_of(network, 3);
  const std::int64_t first = 3 * 2 * 16 * 27 * 32 * 32;  // 16 channels of 3×3×3 weights at 32×32 pixels of 3 pictures

  EXPECT_EQ(sum_of(profile, &InstructionProfile::forward), 3 * forward_flops(network));
  EXPECT_EQ(sum_of(profile, &InstructionProfile::backward_weights), 3 * forward_flops(network));
  EXPECT_EQ(sum_of(profile, &InstructionProfile::backward_data), 3 * forward_flops(network) - first);
}

TEST(GraphProfile, HasTimeExactlyWhereThereIsWork) {
  for (const NetworkSpec& network : {residual_chain(), fire_blocks(), dense_block(), inception_block()}) {
    for (const InstructionProfile& instruction : profile_of(network, 2)) {
      SCOPED_TRACE(network.name + ": " + instruction.name + ", " + instruction.description);
      if (instruction.forward.bytes > 0) {
        EXPECT_GT(instruction.forward.seconds, 0.0);
      }
      if (instruction.kind == Kind::convolution) {
        EXPECT_GT(instruction.backward_weights.bytes, 0);
        EXPECT_GT(instruction.backward_weights.seconds, 0.0);
      }
      EXPECT_FALSE(instruction.description.empty());
    }
  }
}

TEST(GraphProfile, CountsEveryOperandOnce) {
  NetworkBuilder net(network_head(16, 4));
  net.append("conv", Convolution{.out_channels = 32});
  net.append("bn", BatchNorm{});
  const NetworkSpec network = finish_with_features(std::move(net));
  const std::vector<InstructionProfile> profile = profile_of(network, 2);
  const auto find = [&](const std::string& name) {
    return *std::find_if(profile.begin(), profile.end(), [&](const InstructionProfile& i) { return i.name == name; });
  };
  const std::int64_t src = 2 * 16 * 4 * 4 * 4, dst = 2 * src, weights = 32 * 16 * 4;  // bytes

  EXPECT_EQ(find("conv").forward.bytes, src + weights + dst);
  EXPECT_EQ(find("conv").backward_weights.bytes, src + dst + weights);
  EXPECT_EQ(find("conv").backward_data.bytes, 0) << "nobody wants the gradient of the pictures";
  EXPECT_EQ(find("bn").kind, Kind::batch_norm);
  EXPECT_EQ(find("bn").forward.bytes, 2 * dst);
  EXPECT_EQ(find("bn").backward_data.bytes, 3 * dst);
}

TEST(GraphProfile, ChangesNoBit) {
  const NetworkSpec network = inception_block();
  const auto step = [&](bool profiled) {
    CompiledNetwork compiled(network, {.batch = 2}, random_parameters(network, 1));
    if (profiled) compiled.graph().start_profile();
    std::vector<float> logits = compiled.forward(random_values(picture_elements(network, 2), 2));
    compiled.backward(random_values(logits_elements(network, 2), 3));
    return StepResult{.logits = logits, .gradients = plain_gradients(compiled.store()), .statistics = {}};
  };

  EXPECT_EQ(step(true), step(false));
}

}  // namespace
}  // namespace dtrain
