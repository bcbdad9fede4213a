// What a network is made of: layers as plain structs, a network as a list of nodes in execution order.
// Descriptions only; src/nn turns them into oneDNN primitives.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "dtrain/parameters.hpp"
#include "dtrain/tensor.hpp"

namespace dtrain {

/// Height and width; a single number stands for a square.
struct Extent {
  std::int64_t height = 0;
  std::int64_t width = 0;

  constexpr Extent(std::int64_t side) : height(side), width(side) {}  // NOLINT: `.kernel = 3` should read so
  constexpr Extent(std::int64_t h, std::int64_t w) : height(h), width(w) {}
  bool operator==(const Extent&) const = default;
};

/// How a layer's first weights and biases are drawn. With the weights' shape (out, in, …): fan_in = in·…, fan_out = out·…
/// (of a convolution in groups too: in is that of a group, out that of all of them, as PyTorch counts).
struct InitialDraw {
  enum class Distribution { normal, uniform };
  enum class Scale { fixed, fan_in, fan_out };
  enum class Bias { zero, uniform };  ///< uniform: within ±1/√fan_in
  Distribution distribution = Distribution::normal;
  Scale scale = Scale::fixed;
  double variance = 1e-4;  ///< of the weights; times fan where it scales
  Bias bias = Bias::zero;

  /// The same weights with other biases.
  constexpr InitialDraw with(Bias other) const {
    InitialDraw draw = *this;
    draw.bias = other;
    return draw;
  }
  bool operator==(const InitialDraw&) const = default;
};

/// N(0, stddev²), biases zero.
constexpr InitialDraw normal_draw(double stddev) { return {.variance = stddev * stddev}; }
/// N(0, 2/fan). Source: He et al., ICCV 2015.
inline constexpr InitialDraw kHeNormalFanIn{.scale = InitialDraw::Scale::fan_in, .variance = 2.0};
inline constexpr InitialDraw kHeNormalFanOut{.scale = InitialDraw::Scale::fan_out, .variance = 2.0};
/// Uniform within ±√(6/fan_in): of the same deviation.
inline constexpr InitialDraw kHeUniform{.distribution = InitialDraw::Distribution::uniform,
                                        .scale = InitialDraw::Scale::fan_in,
                                        .variance = 2.0};
/// Weights and biases uniform within ±1/√fan_in: what PyTorch's Conv2d and Linear begin with.
inline constexpr InitialDraw kPyTorchUniform{.distribution = InitialDraw::Distribution::uniform,
                                             .scale = InitialDraw::Scale::fan_in,
                                             .variance = 1.0 / 3.0,
                                             .bias = InitialDraw::Bias::uniform};

/// Of heads whose first logits would otherwise be so far apart that the first loss is far above ln C, most of all with few
/// classes: N(0, 1/(20·fan_in)), which of 512 inputs is the N(0, 0.01) of Goyal et al. 2017. Biases zero.
inline constexpr InitialDraw kQuietHead{.scale = InitialDraw::Scale::fan_in, .variance = 0.05};

/// Standard deviation of weights of this shape.
double initial_deviation(const InitialDraw& draw, const Shape& weights);

/// 2-D convolution; rows and columns are padded on both sides alike. src (n, in, h, w) → dst (n, out, h', w').
/// Channels are in `groups` of equal size, both in and out: an output channel sees the inputs of its group alone.
struct Convolution {
  std::int64_t out_channels = 0;
  Extent kernel = 1;
  std::int64_t stride = 1;
  Extent padding = 0;
  std::int64_t groups = 1;  ///< as many as channels: a depthwise convolution
  bool has_bias = false;
  InitialDraw initial = kHeNormalFanOut;
};

/// Batch normalisation over (n, h, w) for each channel; running ← (1−momentum)·running + momentum·batch.
struct BatchNorm {
  float epsilon = 1e-5f;
  float momentum = 0.1f;
  bool zero_init = false;  ///< γ starts at 0 (last batch-norm of a residual block)
};

inline constexpr float kNoCeiling = std::numeric_limits<float>::infinity();

/// min(max(x, 0), ceiling); with ceiling 6 the ReLU6 of MobileNets. The gradient passes where 0 < x < ceiling. Source: PyTorch
/// (hardtanh).
struct Relu {
  float ceiling = kNoCeiling;
};

/// Max or average pooling, square window. Average counts padding as PyTorch's default does (count_include_pad).
struct Pool {
  enum class Kind { max, average };
  Kind kind = Kind::max;
  std::int64_t kernel = 2;
  std::int64_t stride = 2;
  std::int64_t padding = 0;
  bool ceil_mode = false;  ///< round the output extent up; a last window that would start in the padding is dropped
};

/// Average pooling to `side`×`side` pixels whatever the picture's size: (n, c, h, w) → (n, c, side, side). Window i of extent e
/// covers rows ⌊i·e/side⌋ … ⌈(i+1)·e/side⌉−1, so windows overlap where side does not divide e. Source: PyTorch.
struct AdaptiveAveragePool {
  std::int64_t side = 1;
};

/// (n, c, h, w) → (n, c·h·w), row-major.
struct Flatten {};

/// src (n, in) → dst (n, out).
struct Linear {
  std::int64_t out_features = 0;
  InitialDraw initial = normal_draw(0.01);
};

/// Sum of two inputs of equal shape.
struct Add {};

/// Inputs of equal n, h, w, one behind the other in c: (n, c0, h, w), (n, c1, h, w) … → (n, c0 + c1 + …, h, w).
struct Concat {};

/// Zeroes elements with probability p in training and scales the rest by 1/(1−p); identity in evaluation.
struct Dropout {
  float probability = 0.5f;
};

/// Parameter-free shortcut of CIFAR residual networks: every second pixel, channels zero-padded evenly on both
/// sides to `out_channels` (He et al. 2016, option A). src (n, c, h, w) → dst (n, out_channels, ⌈h/2⌉, ⌈w/2⌉).
struct PadShortcut {
  std::int64_t out_channels = 0;
};

using LayerSpec =
    std::variant<Convolution, BatchNorm, Relu, Pool, AdaptiveAveragePool, Flatten, Linear, Add, Concat, Dropout, PadShortcut>;

/// Index of a node in NetworkSpec::nodes.
using LayerIndex = int;
/// Stands for the pictures as an input of a node.
inline constexpr LayerIndex kNetworkInput = -1;

struct Node {
  std::string name;  ///< prefix of torchvision's tensor names: "layer1.0.conv1"
  LayerSpec layer;
  std::vector<LayerIndex> inputs;
};

/// A node whose result is logits (n, num_classes); no other node reads it.
struct NetworkOutput {
  LayerIndex node = 0;
  float loss_weight = 1.0f;  ///< how often training counts their loss
};

/// A network: nodes in execution order, and those among them that give logits.
struct NetworkSpec {
  std::string name;  ///< "resnet50"
  std::int64_t channels = 3;
  std::int64_t height = 224;
  std::int64_t width = 224;
  std::int64_t num_classes = 1000;
  std::vector<Node> nodes{};
  /// The main one first, whose weight is 1; then those of auxiliary heads, which are for training alone.
  std::vector<NetworkOutput> outputs{};
};

/// Shape of every node's output for a batch of n pictures. Errors: ConfigError when a picture is too small.
std::vector<Shape> output_shapes(const NetworkSpec& network, std::int64_t batch);

/// Parameters and statistics of every node, in torchvision's order (execution order).
std::vector<std::vector<ParameterSpec>> parameters_by_node(const NetworkSpec& network);

/// Names of all those tensors, in the same order: what checkpoints and weight files list.
std::vector<std::string> tensor_names(const NetworkSpec& network);

/// Names of the heads' tensors, the main head's first: those of the last layer with weights, linear or convolution, on the way
/// to each output; empty when there is none.
std::vector<std::string> head_tensor_names(const NetworkSpec& network);

/// Floating-point operations (2 per multiply-add) of convolutions and linear layers, forward, one picture.
std::int64_t forward_flops(const NetworkSpec& network);

/// The same for a training step: forward, gradient of the weights, and gradient of the input where that depends on a parameter,
/// which the pictures do not.
std::int64_t training_flops(const NetworkSpec& network);

/// Elements of the results that a forward pass of one picture makes: those of convolutions, batch-norms, pools, linear layers
/// and padded shortcuts. ReLU, Add, Dropout, Concat and Flatten are counted as part of what they read. An estimate for
/// comparing networks; what a graph really takes is in its MemoryPlan.
std::int64_t activation_elements(const NetworkSpec& network);

/// Sets row-major initial weights and biases as each layer's InitialDraw says; γ = 1 (0 where zero_init), β = 0, running mean 0
/// and variance 1. A function of (seed, tensor name) alone: the same bits on any machine, in any layout.
void initialize(const NetworkSpec& network, std::uint64_t seed, ParameterStore& parameters);

}  // namespace dtrain
