// Batch normalisation with ReLU and max pooling in one operation, against plain loops of the three: windows that overlap, leave
// a rest, reach into padding or beyond the picture; a gradient from two readers; equal bits for any number of threads.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include "src/nn/fusion.hpp"
#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

Pool max_pool(std::int64_t kernel, std::int64_t stride, std::int64_t padding, bool ceil_mode = false) {
  return {.kind = Pool::Kind::max, .kernel = kernel, .stride = stride, .padding = padding, .ceil_mode = ceil_mode};
}

struct NormPoolWindow {
  std::string name;
  Pool pool;
  std::int64_t side = 0;
  std::int64_t channels = 16;
  bool has_two_readers = false;
};

void PrintTo(const NormPoolWindow& c, std::ostream* out) { *out << c.name; }

NetworkSpec network_of(const NormPoolWindow& c) {
  NetworkBuilder net(network_head(3, c.side));
  net.append("conv", Convolution{.out_channels = c.channels, .kernel = 3, .padding = 1});
  net.append("bn", BatchNorm{});
  net.append("relu", Relu{});
  const LayerIndex pooled = net.append("pool", c.pool);
  if (c.has_two_readers) {
    const LayerIndex conv = net.append("conv2", Convolution{.out_channels = c.channels, .kernel = 1});
    net.add("add", conv, pooled);
  }
  return finish_with_features(std::move(net));
}

class BatchNormPoolCase : public testing::TestWithParam<NormPoolWindow> {
 protected:
  void SetUp() override {
    int pooled = 0;
    for (const nn::Operation& operation : nn::fuse(network_of(GetParam()))) pooled += operation.pool ? 1 : 0;
    ASSERT_EQ(pooled, 1) << "the network does not exercise the fused operation";
  }
};

TEST_P(BatchNormPoolCase, EqualsPlainLoopsInTraining) { expect_matches_reference(network_of(GetParam()), {.batch = 3}); }

TEST_P(BatchNormPoolCase, EqualsPlainLoopsInEvaluation) {
  expect_evaluation_matches_reference(network_of(GetParam()), {.batch = 3});
}

std::vector<NormPoolWindow> norm_pool_windows() {
  struct Window {
    const char* name;
    Pool pool;
    std::int64_t side;
  };
  const Window windows[] = {
      {"3x3_stride2_padded", max_pool(3, 2, 1), 12},    {"3x3_stride2_padded_with_a_rest", max_pool(3, 2, 1), 13},
      {"3x3_stride2_ceil", max_pool(3, 2, 0, true), 8}, {"2x2", max_pool(2, 2, 0), 6},
      {"2x2_with_a_rest", max_pool(2, 2, 0), 7},        {"2x2_with_gaps", max_pool(2, 3, 0), 8},
      {"3x3_stride1_padded", max_pool(3, 1, 1), 5},     {"3x3_ceil_beyond_the_padding", max_pool(3, 2, 1, true), 8},
  };
  std::vector<NormPoolWindow> all;
  for (const Window& window : windows) {
    for (const std::int64_t channels : {5, 16, 24}) {
      all.push_back(
          {std::string(window.name) + "_" + std::to_string(channels) + "_channels", window.pool, window.side, channels});
    }
  }
  all.push_back({"two_readers", max_pool(3, 2, 1), 12, 16, true});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Windows, BatchNormPoolCase, testing::ValuesIn(norm_pool_windows()),
                         [](const testing::TestParamInfo<NormPoolWindow>& tested) { return tested.param.name; });

/// Behind the pictures, so that every number is made by own kernels alone.
NetworkSpec pooled_pictures(std::int64_t channels, std::int64_t side) {
  NetworkBuilder net(network_head(channels, side));
  net.append("bn1", BatchNorm{});
  net.append("bn2", BatchNorm{});
  net.append("relu", Relu{});
  net.append("pool", max_pool(3, 2, 1));
  return finish_with_features(std::move(net));
}

TEST(BatchNormPool, GivesTheSameBitsForAnyNumberOfThreads) {
  for (const std::int64_t channels : {5, 48, 200}) {
    const NetworkSpec network = pooled_pictures(channels, 13);

    const StepResult alone = step_with_threads(network, 1);

    EXPECT_EQ(step_with_threads(network, 2), alone) << channels << " channels, 2 threads";
    EXPECT_EQ(step_with_threads(network, 3), alone) << channels << " channels, 3 threads";
  }
}

TEST(BatchNormPool, ShowsANotANumberInItsResult) {
  const NetworkSpec network = pooled_pictures(5, 8);
  std::vector<double> pictures = random_values(picture_elements(network, 2), 2);
  pictures[20] = std::numeric_limits<double>::quiet_NaN();
  NamedTensors parameters = random_parameters(network, 1);
  // With running statistics one pixel alone is not a number; a window that covers it must not hide it behind a larger
  // neighbour.
  CompiledNetwork compiled(network, {.batch = 2, .training = false}, parameters);

  const std::vector<float> logits = compiled.forward(pictures);

  // Pixel 20 is row 2, column 4 of the first channel: windows 1 of the rows, 2 of the columns, of 4 × 4.
  EXPECT_TRUE(std::isnan(logits[1 * 4 + 2]));
}

}  // namespace
}  // namespace dtrain
