// The deviation of every tensor that every model begins with, against what torchvision 0.14 draws (models/*.py, and PyTorch's
// defaults for Conv2d and Linear, where it draws nothing itself).
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "dtrain/models.hpp"

namespace dtrain {
namespace {

/// A row of the table: of tensors whose name ends so, in models whose name begins so. Later rows win.
struct Row {
  std::string models, tensors;
  std::function<double(const Shape&)> deviation;  ///< shape: of the layer's weights; null: it is zero
  bool is_uniform = false;
};

double in(const Shape& weights) { return static_cast<double>(element_count(weights) / weights[0]); }
double out(const Shape& weights) { return static_cast<double>(element_count(weights) / weights[1]); }
double kaiming_fan_in(const Shape& weights) { return std::sqrt(2.0 / in(weights)); }
double kaiming_fan_out(const Shape& weights) { return std::sqrt(2.0 / out(weights)); }
/// kaiming_uniform_(a=√5), and biases uniform within ±1/√fan_in: a bound's deviation is a √3 of it.
double pytorch_default(const Shape& weights) { return 1.0 / std::sqrt(3.0 * in(weights)); }
/// Ours, where it is an exception.
double quiet(const Shape& weights) { return std::sqrt(0.05 / in(weights)); }
std::function<double(const Shape&)> fixed(double deviation) {
  return [deviation](const Shape&) { return deviation; };
}

/// c: convolutions' weights; l: linear layers'; b: biases of either.
std::vector<Row> table() {
  return {
      {"resnet", "c", kaiming_fan_out},
      {"wide_resnet", "c", kaiming_fan_out},
      // Exception: torchvision has PyTorch's default, with which the first loss of two classes is up to 1.4 times ln 2.
      {"resnet", "l", quiet},
      {"wide_resnet", "l", quiet},
      {"vgg", "c", kaiming_fan_out},
      {"vgg", "l", fixed(0.01)},
      // Exception where there is batch-norm, for the same reason: the first loss of two classes is 1.1 to 1.3 times ln 2.
      {"vgg11_bn", "classifier.6.weight", quiet},
      {"vgg13_bn", "classifier.6.weight", quiet},
      {"vgg16_bn", "classifier.6.weight", quiet},
      {"vgg19_bn", "classifier.6.weight", quiet},
      {"alexnet", "c", pytorch_default, true},
      {"alexnet", "l", pytorch_default, true},
      {"alexnet", "b", pytorch_default, true},
      // trunc_normal_(std=0.01, a=-2, b=2): bounds at 200 deviations, which no draw reaches.
      {"googlenet", "c", fixed(0.01)},
      {"googlenet", "l", fixed(0.01)},
      {"googlenet", "b", pytorch_default, true},
      {"inception_v3", "c", fixed(0.1)},
      {"inception_v3", "b", pytorch_default, true},
      {"inception_v3", "AuxLogits.fc.weight", fixed(0.001)},
      // Exception: torchvision's 0.1 makes first losses two to six times ln C.
      {"inception_v3", "1 fc.weight", quiet},
      {"inception_v3", "1 fc.bias", nullptr},
      {"densenet", "c", kaiming_fan_in},
      {"densenet", "l", pytorch_default, true},
      {"squeezenet", "c", kaiming_fan_in, true},
      {"squeezenet", "classifier.1.weight", fixed(0.01)},
      {"mobilenet_v2", "c", kaiming_fan_out},
      {"mobilenet_v2", "l", fixed(0.01)},
      // Not in torchvision: as the published implementation has them (Idelbayev's pytorch_resnet_cifar10, kaiming_normal_), but
      // for the linear layer, exception: it makes first losses up to twice ln C.
      {"resnet20", "c", kaiming_fan_in},
      {"resnet20", "l", fixed(0.01)},
      {"resnet32", "c", kaiming_fan_in},
      {"resnet32", "l", fixed(0.01)},
      {"resnet44", "c", kaiming_fan_in},
      {"resnet44", "l", fixed(0.01)},
      {"resnet56", "c", kaiming_fan_in},
      {"resnet56", "l", fixed(0.01)},
      {"resnet110", "c", kaiming_fan_in},
      {"resnet110", "l", fixed(0.01)},
      {"lenet5", "c", pytorch_default, true},
      {"lenet5", "l", pytorch_default, true},
      {"lenet5", "b", pytorch_default, true},
  };
}

const Row* row_of(const std::vector<Row>& rows, const std::string& model, const ParameterSpec& spec) {
  using Kind = ParameterSpec::Kind;
  const std::string kind = spec.kind == Kind::conv_weight ? "c" : spec.kind == Kind::linear_weight ? "l" : "b";
  const Row* found = nullptr;
  for (const Row& row : rows) {
    const bool is_kind = row.tensors == kind;
    if (model.starts_with(row.models) && (is_kind || ("1 " + spec.name).ends_with(row.tensors))) found = &row;
  }
  return found != nullptr && found->deviation != nullptr ? found : nullptr;
}

struct Drawn {
  double mean, deviation, largest;
};

Drawn drawn(std::span<const float> values) {
  double sum = 0.0, squares = 0.0, largest = 0.0;
  for (const float value : values) {
    const double v = static_cast<double>(value);
    sum += v, squares += v * v, largest = std::max(largest, std::abs(v));
  }
  const auto count = static_cast<double>(values.size());
  return {.mean = sum / count, .deviation = std::sqrt(squares / count), .largest = largest};
}

ParameterStore fresh_weights(const NetworkSpec& network) {
  std::vector<ParameterStore::Entry> entries;
  for (const auto& specs : parameters_by_node(network)) {
    for (const ParameterSpec& spec : specs) entries.push_back({.spec = spec, .layout = plain_layout(spec.shape)});
  }
  ParameterStore store(std::move(entries));
  initialize(network, 1, store);
  return store;
}

/// Every tensor of a model against the table. Mean and deviation of n draws err by √(1/n) and, of normal ones, √(1/2n): five
/// errors are allowed, since there are thousands of tensors.
void expect_as_in_table(const NetworkSpec& network) {
  using Kind = ParameterSpec::Kind;
  const std::vector<Row> rows = table();
  const ParameterStore store = fresh_weights(network);
  for (const auto& specs : parameters_by_node(network)) {
    for (const ParameterSpec& spec : specs) {
      if (spec.kind != Kind::conv_weight && spec.kind != Kind::linear_weight && spec.kind != Kind::bias) continue;
      SCOPED_TRACE(network.name + " " + spec.name);
      const Drawn got = drawn(store.values(*store.find(spec.name)));
      const Row* const row = row_of(rows, network.name, spec);
      if (row == nullptr) {
        ASSERT_EQ(spec.kind, Kind::bias) << "a row of the table for all weights";
        EXPECT_EQ(got.largest, 0.0);
        continue;
      }
      const double expected = row->deviation(specs.front().shape);
      const double error = expected / std::sqrt(static_cast<double>(element_count(spec.shape)));
      EXPECT_NEAR(got.mean, 0.0, 5.0 * error);
      EXPECT_NEAR(got.deviation, expected, 5.0 * std::sqrt(0.5) * error);
      if (row->is_uniform) {
        EXPECT_LE(got.largest, std::sqrt(3.0) * expected * (1.0 + 1e-6));
      } else if (element_count(spec.shape) > 1000) {
        EXPECT_GT(got.largest, 2.5 * expected) << "a normal distribution";
      }
    }
  }
}

const InitialDraw& draw_of(const Node& node) {
  const auto* const convolution = std::get_if<Convolution>(&node.layer);
  return convolution != nullptr ? convolution->initial : std::get<Linear>(node.layer).initial;
}

/// What the layers say of themselves against the table, without drawing.
void expect_described_as_in_table(const NetworkSpec& network) {
  using Kind = ParameterSpec::Kind;
  const std::vector<Row> rows = table();
  const auto by_node = parameters_by_node(network);
  for (std::size_t n = 0; n < by_node.size(); ++n) {
    for (const ParameterSpec& spec : by_node[n]) {
      if (spec.kind != Kind::conv_weight && spec.kind != Kind::linear_weight && spec.kind != Kind::bias) continue;
      SCOPED_TRACE(network.name + " " + spec.name);
      const InitialDraw& draw = draw_of(network.nodes[n]);
      const Row* const row = row_of(rows, network.name, spec);
      if (spec.kind == Kind::bias) {
        EXPECT_EQ(draw.bias == InitialDraw::Bias::uniform, row != nullptr);
        continue;
      }
      ASSERT_NE(row, nullptr);
      EXPECT_DOUBLE_EQ(initial_deviation(draw, spec.shape), row->deviation(spec.shape));
      EXPECT_EQ(draw.distribution == InitialDraw::Distribution::uniform, row->is_uniform);
    }
  }
}

bool has_aux_heads(const std::string& model) { return model == "googlenet" || model == "inception_v3"; }

TEST(InitialWeights, AreDescribedForEveryTensorOfEveryModelAsTorchvisionDrawsThem) {
  for (const ModelEntry& entry : list_models()) {
    expect_described_as_in_table(build_model(entry.name, {.aux_heads = has_aux_heads(entry.name)}));
    expect_described_as_in_table(build_model(entry.name, {.num_classes = 2}));
  }
}

class DrawnWeights : public testing::TestWithParam<std::string> {};

TEST_P(DrawnWeights, HaveTheDeviationsOfTorchvision) {
  expect_as_in_table(build_model(GetParam(), {.num_classes = 100, .aux_heads = has_aux_heads(GetParam())}));
}

INSTANTIATE_TEST_SUITE_P(Models, DrawnWeights,
                         testing::Values("resnet18", "resnet50", "alexnet", "googlenet", "inception_v3", "densenet121",
                                         "squeezenet1_0", "squeezenet1_1", "mobilenet_v2", "resnet20", "lenet5"),
                         [](const auto& name) { return name.param; });

}  // namespace
}  // namespace dtrain
