// Initial weights: distribution, independence of layout, and a function of (seed, name) alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "dtrain/layers.hpp"
#include "tests/core/fixtures.hpp"

namespace dtrain {
namespace {

using test::entries_of;
using test::plain_values;
using test::small_network;
using test::StoreLayout;

struct Moments {
  double mean, variance, kurtosis, beyond_two;
};

Moments moments_of(const std::vector<float>& values) {
  const auto count = static_cast<double>(values.size());
  double sum = 0, squares = 0, fourths = 0, beyond = 0;
  for (const float v : values) sum += v;
  for (const float v : values) squares += std::pow(v - sum / count, 2), fourths += std::pow(v - sum / count, 4);
  const double variance = squares / count;
  for (const float v : values) beyond += std::abs(v) > 2 * std::sqrt(variance) ? 1 : 0;
  return {sum / count, variance, fourths / count / (variance * variance), beyond / count};
}

/// One convolution (256 → 128 channels, 3×3) and a linear layer of 500 × 512: 294 912 and 256 000 weights.
NetworkSpec wide_network() {
  NetworkSpec network{.name = "wide", .channels = 256, .height = 4, .width = 4, .num_classes = 500, .nodes = {}};
  network.nodes = {{"conv", Convolution{.out_channels = 128, .kernel = 3, .stride = 2, .padding = 1}, {kNetworkInput}},
                   {"flatten", Flatten{}, {0}},
                   {"fc", Linear{.out_features = 500}, {1}}};
  return network;
}

TEST(Initialize, DrawsConvolutionsHeNormalByFanOut) {
  ParameterStore store(entries_of(wide_network(), StoreLayout::plain));
  initialize(wide_network(), 1, store);

  const Moments m = moments_of(plain_values(store, "conv.weight"));

  // With n = 294912 draws of variance s² = 2/(128·9): the mean has deviation s/√n, the variance s²√(2/n), the kurtosis
  // √(24/n), a share q of the draws √(q(1−q)/n); four deviations each.
  const double n = 294912, expected = 2.0 / (128 * 9), share = 0.0455003;
  EXPECT_NEAR(m.mean, 0.0, 4 * std::sqrt(expected / n));
  EXPECT_NEAR(m.variance, expected, 4 * expected * std::sqrt(2 / n));
  EXPECT_NEAR(m.kurtosis, 3.0, 4 * std::sqrt(24 / n));
  EXPECT_NEAR(m.beyond_two, share, 4 * std::sqrt(share * (1 - share) / n));
}

TEST(Initialize, DrawsLinearWeightsWithDeviationOneHundredth) {
  ParameterStore store(entries_of(wide_network(), StoreLayout::plain));
  initialize(wide_network(), 1, store);

  const Moments m = moments_of(plain_values(store, "fc.weight"));

  const double n = 256000;
  EXPECT_NEAR(m.mean, 0.0, 4 * 0.01 / std::sqrt(n));
  EXPECT_NEAR(m.variance, 1e-4, 4 * 1e-4 * std::sqrt(2 / n));
  EXPECT_NEAR(m.kurtosis, 3.0, 4 * std::sqrt(24 / n));
}

TEST(Initialize, DrawsNeighboursIndependently) {
  ParameterStore store(entries_of(wide_network(), StoreLayout::plain));
  initialize(wide_network(), 1, store);
  const std::vector<float> values = plain_values(store, "conv.weight");

  for (const std::size_t distance : {1u, 2u, 9u, 4096u}) {
    double correlation = 0;
    for (std::size_t i = 0; i + distance < values.size(); ++i) correlation += double{values[i]} * values[i + distance];
    // A sum of n products of independent draws of variance s² has deviation s²√n.
    const double n = static_cast<double>(values.size());
    EXPECT_LT(std::abs(correlation), 4 * 2.0 / (128 * 9) * std::sqrt(n)) << "distance " << distance;
  }
}

TEST(Initialize, SetsBiasesNormsAndStatistics) {
  NetworkSpec network = small_network();
  ParameterStore store(entries_of(network, StoreLayout::plain));
  std::fill(store.weights().begin(), store.weights().end(), 9.0f);
  std::fill(store.statistics().begin(), store.statistics().end(), 9.0f);
  store.batches_tracked = 4;

  initialize(network, 1, store);

  EXPECT_EQ(plain_values(store, "fc.bias"), std::vector<float>(3, 0.0f));
  EXPECT_EQ(plain_values(store, "bn1.weight"), std::vector<float>(5, 1.0f));
  EXPECT_EQ(plain_values(store, "bn1.bias"), std::vector<float>(5, 0.0f));
  EXPECT_EQ(plain_values(store, "bn1.running_mean"), std::vector<float>(5, 0.0f));
  EXPECT_EQ(plain_values(store, "bn1.running_var"), std::vector<float>(5, 1.0f));
  EXPECT_EQ(store.batches_tracked, 0);
}

TEST(Initialize, StartsGammaAtZeroWhereTheNetworkSaysSo) {
  NetworkSpec network = small_network();
  std::get<BatchNorm>(network.nodes[1].layer).zero_init = true;
  ParameterStore store(entries_of(network, StoreLayout::plain));

  initialize(network, 1, store);

  EXPECT_EQ(plain_values(store, "bn1.weight"), std::vector<float>(5, 0.0f));
}

TEST(Initialize, DependsOnSeedAndNameAlone) {
  const NetworkSpec network = small_network();
  NetworkSpec renamed = network;
  renamed.nodes[0].name = "conv2";
  ParameterStore plain(entries_of(network, StoreLayout::plain));
  ParameterStore blocked(entries_of(network, StoreLayout::blocked));
  ParameterStore other_name(entries_of(renamed, StoreLayout::plain));
  ParameterStore other_seed(entries_of(network, StoreLayout::plain));

  initialize(network, 5, plain);
  initialize(network, 5, blocked);
  initialize(renamed, 5, other_name);
  initialize(network, 6, other_seed);

  for (const std::string& name : tensor_names(network)) EXPECT_EQ(plain_values(blocked, name), plain_values(plain, name));
  EXPECT_EQ(plain_values(other_name, "fc.weight"), plain_values(plain, "fc.weight"));
  EXPECT_NE(plain_values(other_name, "conv2.weight"), plain_values(plain, "conv1.weight"));
  EXPECT_NE(plain_values(other_seed, "conv1.weight"), plain_values(plain, "conv1.weight"));
}

TEST(Initialize, LeavesPaddingZero) {
  const NetworkSpec network = small_network();
  ParameterStore store(entries_of(network, StoreLayout::blocked));

  initialize(network, 5, store);

  const Slot& slot = *store.find("conv1.weight");
  const auto values = store.values(slot);
  EXPECT_EQ(std::count(values.begin(), values.end(), 0.0f), slot.size - element_count(slot.spec.shape));
}

TEST(Initialize, KeepsTheValuesThatSeedsStandFor) {
  ParameterStore store(entries_of(small_network(), StoreLayout::plain));

  initialize(small_network(), 1, store);

  // The first draws of their streams, computed by Box & Muller's formula with libm, correct to a few units in the last place.
  const std::vector<float> fc = plain_values(store, "fc.weight");
  const std::vector<float> conv = plain_values(store, "conv1.weight");
  const std::vector<double> expected_fc{-0.004151015053911636, 0.0029290756849964573, -0.006199941217332526,
                                        -0.004871495797761106};
  const std::vector<double> expected_conv{-0.05737950365093752, 0.0038340139602232657, 0.3169939898913525,
                                          -0.12183051397260757};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(fc[i], static_cast<float>(expected_fc[i]));
    EXPECT_FLOAT_EQ(conv[i], static_cast<float>(expected_conv[i]));
  }
  EXPECT_EQ(store.fingerprint(), 0x9b5e0282849e9972ULL);  // all of them, bit for bit, on every machine
}

TEST(Initialize, RefusesAStoreOfAnotherNetwork) {
  ParameterStore store(entries_of(small_network(3), StoreLayout::plain));

  EXPECT_THROW(initialize(small_network(4), 1, store), std::logic_error);
}

}  // namespace
}  // namespace dtrain
