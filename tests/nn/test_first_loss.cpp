// What a network says before it has learnt anything: with fresh weights every model's first loss is about ln C, however few
// classes C there are.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "dtrain/graph.hpp"
#include "dtrain/loss.hpp"
#include "dtrain/models.hpp"
#include "dtrain/random.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kBatch = 16;

/// Pictures like photographs, normalised: smooth (amplitudes fall with the frequency), channels alike, brightness of their own.
std::vector<float> smooth_pictures(const NetworkSpec& network) {
  constexpr int kWaves = 12;
  std::vector<float> pictures;
  for (std::int64_t n = 0; n < kBatch; ++n) {
    struct Wave {
      double down, right, phase;
      std::vector<double> amplitudes;  // of each channel
    };
    Random random(3, RandomPurpose::synthetic_pictures, {static_cast<std::uint64_t>(n)});
    std::vector<Wave> waves;
    for (int w = 0; w < kWaves; ++w) {
      Wave wave{
          .down = random.uniform(-9, 9), .right = random.uniform(-9, 9), .phase = random.uniform(0, 6.28), .amplitudes = {}};
      const double size = 2.0 / (1.0 + std::hypot(wave.down, wave.right));
      for (std::int64_t c = 0; c < network.channels; ++c) wave.amplitudes.push_back(size * (1.0 + 0.3 * random.normal()));
      waves.push_back(wave);
    }
    const double brightness = 0.4 * random.normal();
    for (std::int64_t c = 0; c < network.channels; ++c) {
      for (std::int64_t y = 0; y < network.height; ++y) {
        for (std::int64_t x = 0; x < network.width; ++x) {
          double value = brightness;
          for (const Wave& wave : waves) {
            const double angle = 6.28 * (wave.down * static_cast<double>(y) / static_cast<double>(network.height) +
                                         wave.right * static_cast<double>(x) / static_cast<double>(network.width));
            value += wave.amplitudes[static_cast<std::size_t>(c)] * std::sin(angle + wave.phase);
          }
          pictures.push_back(static_cast<float>(value));
        }
      }
    }
  }
  return pictures;
}

/// The first loss of training, auxiliary heads left out, as a share of ln C; labels take turns.
double first_loss(const std::string& model, std::int64_t classes, std::int64_t side) {
  const NetworkSpec network = build_model(model, {.num_classes = classes, .image_size = side});
  const CompileOptions options{.batch = kBatch, .training = true};
  ParameterStore store(Graph::plan_parameters(network, options, false));
  initialize(network, 1, store);
  Graph graph(network, store, options);
  AlignedMemory arena(graph.memory_plan().activations_bytes);
  graph.bind({arena.data(), arena.size_bytes()});
  const std::vector<float> pictures = smooth_pictures(network);
  std::vector<std::int32_t> labels(kBatch);
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int32_t>(static_cast<std::int64_t>(i) % classes);

  const Tensor& logits = graph.forward(pictures, {});

  const LossSums sums = softmax_cross_entropy(logits.values(), labels, classes, 0.0f, 1.0f, {});
  return sums.loss / static_cast<double>(kBatch) / std::log(static_cast<double>(classes));
}

/// Small pictures, so that it is quick; those of networks that need larger ones are.
std::int64_t side_of(const std::string& model) {
  if (model == "inception_v3") return 107;
  return std::min<std::int64_t>(model_entry(model).image_size, 64);
}

class FirstLoss : public testing::TestWithParam<std::string> {};

TEST_P(FirstLoss, IsThatOfChanceHoweverManyClasses) {
  for (const std::int64_t classes : {2, 5, 1000}) {
    EXPECT_NEAR(first_loss(GetParam(), classes, side_of(GetParam())), 1.0, 0.2) << classes << " classes";
  }
}

std::vector<std::string> all_models() {
  std::vector<std::string> names;
  for (const ModelEntry& entry : list_models()) names.push_back(entry.name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Models, FirstLoss, testing::ValuesIn(all_models()), [](const auto& name) { return name.param; });

}  // namespace
}  // namespace dtrain
