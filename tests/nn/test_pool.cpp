// Pooling against plain loops: windows that overlap, that leave a rest, that reach into padding or beyond the picture.
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

#include "dtrain/error.hpp"
#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

struct PoolWindow {
  std::string name;
  Pool layer;
  std::int64_t side = 0;
  std::int64_t channels = 16;
  std::int64_t side_out = 0;  ///< by PyTorch's rule, worked out by hand
};

void PrintTo(const PoolWindow& c, std::ostream* out) { *out << c.name; }

NetworkSpec network_of(const PoolWindow& c) {
  NetworkBuilder net(network_head(3, c.side));
  net.append("conv", Convolution{.out_channels = c.channels, .kernel = 1, .has_bias = true});
  net.append("pool", c.layer);
  return finish_with_features(std::move(net));
}

class PoolCase : public testing::TestWithParam<PoolWindow> {};

TEST_P(PoolCase, EqualsPlainLoopsInTraining) {
  const NetworkSpec network = network_of(GetParam());
  ASSERT_EQ(network.num_classes, GetParam().channels * GetParam().side_out * GetParam().side_out);

  expect_matches_reference(network, {.batch = 2});
}

TEST_P(PoolCase, EqualsPlainLoopsInEvaluation) { expect_evaluation_matches_reference(network_of(GetParam()), {.batch = 2}); }

std::vector<PoolWindow> pool_windows() {
  struct Window {
    const char* name;
    std::int64_t kernel, stride, padding;
    bool ceil_mode;
    std::int64_t side, side_out;
  };
  const Window windows[] = {
      {"2x2", 2, 2, 0, false, 6, 3},
      {"2x2_with_a_rest", 2, 2, 0, false, 7, 3},
      {"2x2_ceil", 2, 2, 0, true, 7, 4},
      {"3x3_stride2", 3, 2, 0, false, 8, 3},
      {"3x3_stride2_ceil", 3, 2, 0, true, 8, 4},
      {"3x3_stride2_padded", 3, 2, 1, false, 8, 4},
      {"3x3_stride2_padded_with_a_rest", 3, 2, 1, false, 7, 4},
      {"3x3_stride1_padded", 3, 1, 1, false, 5, 5},
      {"2x2_ceil_padded_drops_a_window_in_the_padding", 2, 2, 1, true, 6, 4},
      {"3x3_ceil_larger_than_the_picture", 3, 2, 0, true, 2, 1},
  };
  std::vector<PoolWindow> all;
  for (const Window& window : windows) {
    for (const std::int64_t channels : {5, 16, 24}) {
      for (const auto kind : {Pool::Kind::max, Pool::Kind::average}) {
        all.push_back({(kind == Pool::Kind::max ? "max_" : "average_") + std::string(window.name) + "_" +
                           std::to_string(channels) + "_channels",
                       Pool{.kind = kind,
                            .kernel = window.kernel,
                            .stride = window.stride,
                            .padding = window.padding,
                            .ceil_mode = window.ceil_mode},
                       window.side, channels, window.side_out});
      }
    }
  }
  // Only a maximum can ignore what lies beyond the padded picture: (8 + 2 − 3)/2 rounded up is one window more.
  all.push_back({"max_3x3_ceil_padded",
                 Pool{.kind = Pool::Kind::max, .kernel = 3, .stride = 2, .padding = 1, .ceil_mode = true}, 8, 16, 5});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Windows, PoolCase, testing::ValuesIn(pool_windows()),
                         [](const testing::TestParamInfo<PoolWindow>& tested) { return tested.param.name; });

TEST(PoolErrors, RefuseAnAverageWhoseWindowEndsBeyondThePaddedPicture) {
  const NetworkSpec network = network_of(PoolWindow{
      "refused", Pool{.kind = Pool::Kind::average, .kernel = 3, .stride = 2, .padding = 1, .ceil_mode = true}, 8, 16});

  try {
    (void)Graph::plan_parameters(network, {.batch = 1}, false);
    FAIL() << "compiled";
  } catch (const ConfigError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("pool"), std::string::npos) << text;
    EXPECT_NE(text.find("expected"), std::string::npos) << text;
    EXPECT_NE(text.find("try"), std::string::npos) << text;
  }
}

TEST(PoolOnPictures, GivesTheLargestOfEachWindow) {
  NetworkBuilder net(network_head(1, 4));
  net.append("pool", Pool{});
  const NetworkSpec network = finish_with_features(std::move(net));
  CompiledNetwork compiled(network, {.batch = 1}, {});

  const std::vector<float> logits = compiled.forward({1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5, -6, -7, -8});

  EXPECT_EQ(logits, (std::vector<float>{6, 8, -1, -3}));
}

TEST(AdaptiveAveragePool, EqualsPlainLoops) {
  for (const std::int64_t channels : {5, 16, 24}) {
    for (const std::int64_t side : {1, 4, 7}) {         // of the picture
      for (const std::int64_t pixels : {1, 3, 4, 7}) {  // of the result: fewer, as many, and more than there are
        NetworkBuilder net(network_head(3, side));
        net.append("conv", Convolution{.out_channels = channels, .kernel = 1, .has_bias = true});
        net.append("avgpool", AdaptiveAveragePool{.side = pixels});
        const NetworkSpec network = finish_with_features(std::move(net));

        expect_matches_reference(network, {.batch = 3});
        expect_evaluation_matches_reference(network, {.batch = 3});
      }
    }
  }
}

}  // namespace
}  // namespace dtrain
