// The one interface behind the graph: a layer chooses its primitives at construction, says what memory it needs, is connected
// to that memory once, and then runs.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dtrain/error.hpp"
#include "dtrain/graph.hpp"
#include "src/nn/addends.hpp"
#include "src/nn/fusion.hpp"
#include "src/nn/onednn.hpp"

namespace dtrain::nn {

/// What a layer is built from.
struct LayerContext {
  const Device& device;
  const CompileOptions& options;
  const ParameterStore* parameters;  ///< null while their layout is being planned
  std::string name;
  bool relu = false;                 ///< applies ReLU to its result
  float ceiling = kNoCeiling;        ///< of that ReLU; only a batch-norm without residual is given one
  bool concatenates = false;         ///< works on the channels of all inputs, one behind the other
  std::optional<Pool> pool;          ///< max pooling applied behind the ReLU
  std::vector<Desc> src;             ///< layouts of the inputs as they are
  Shape dst_shape;                   ///< of the result
  std::vector<bool> wants_diff_src;  ///< per input: backward must produce its gradient
  int position = 0;                  ///< of the operation in the graph (dropout streams)
  bool gives_logits = false;         ///< its result is logits, which are f32
};

/// Of activations, their gradients and working weights.
inline DataType activation_type(const CompileOptions& options) { return options.precision == Precision::bf16 ? kBf16 : kF32; }

/// What a layer asks of the graph, known after construction.
struct LayerNeeds {
  std::vector<bool> src_in_backward;  ///< per input
  bool dst_in_backward = false;
  std::vector<bool> dst_may_replace_src;       ///< per input: forward may write its result over it
  bool diff_src_may_replace_diff_dst = false;  ///< input 0: backward may write over what it reads
  bool residual_diff_is_diff_dst = false;      ///< input 1: backward leaves its gradient in diff_dst[0]
  int diff_dst_addends = 1;                    ///< gradients of the result that backward adds up by itself
  bool adds_to_diff_src = false;               ///< backward can add to a gradient that another reader has left
  bool can_recompute = false;                  ///< after forward, its result can be had again from its inputs
  bool dst_may_be_slice = false;               ///< dst and diff_dst may be slices of the channels of larger tensors
  std::size_t workspace_bytes = 0;             ///< kept from forward to backward
  std::size_t scratch_bytes = 0;               ///< lost after each call, forward and backward alike
};

/// A parameter as the layer sees it.
struct LayerParameter {
  ParameterSpec spec;
  Layout wish;  ///< the layout that suits the layer best
};

/// Where everything is. Memory objects of the arena get their addresses later, before `bound`.
struct LayerConnections {
  std::vector<dnnl::memory> src;
  std::vector<dnnl::memory> src_in_backward;  ///< where backward reads the inputs: elsewhere, where they are recomputed
  dnnl::memory dst;
  dnnl::memory recomputed_dst;                        ///< where recompute writes; unset where it is not called
  std::vector<dnnl::memory> diff_dst;                 ///< 1 … diff_dst_addends; empty when inference only
  std::vector<std::optional<dnnl::memory>> diff_src;  ///< per input; empty: not wanted
  std::vector<bool> adds_to_diff_src;                 ///< per input: diff_src holds the gradient from other readers
  dnnl::memory workspace;                             ///< unset when workspace_bytes is 0
  dnnl::memory scratch;                               ///< unset when scratch_bytes is 0
  ParameterStore* parameters = nullptr;
};

class Layer {
 public:
  virtual ~Layer() = default;
  virtual Desc dst_desc() const = 0;
  virtual LayerNeeds needs() const = 0;
  /// Trained parameters and statistics, in the order in which backward finishes them.
  virtual std::vector<LayerParameter> parameters() const { return {}; }
  /// Creates primitives; called once.
  virtual void connect(const LayerConnections& connections) = 0;
  /// Addresses are set: layers with kernels of their own fetch their pointers.
  virtual void bound() {}

  /// Brings the weights into the layout and type that forward wants; called right before it. Likewise for backward_data.
  virtual void bring_forward_weights() {}
  virtual void forward(const PassOptions& pass) = 0;
  /// Computes the result again, after forward and before the layer's own backward.
  virtual void recompute() { check(false, "a layer that cannot recompute its result"); }
  /// Gradients of the parameters, where they are computed apart from those of the inputs; called before backward_data.
  virtual void backward_weights(const PassOptions&) {}
  virtual void bring_backward_weights() {}
  virtual void backward_data(const PassOptions& pass) = 0;
  /// What forward and backward_data ask of the other ranks, on a rank that has no pictures for them.
  virtual void forward_without_pictures(const PassOptions&) {}
  virtual void backward_without_pictures(const PassOptions&) {}
  /// Implementation and layouts in a few words.
  virtual std::string describe() const = 0;
};

/// Builds the layer of one operation. Errors: ConfigError.
std::unique_ptr<Layer> make_layer(const LayerSpec& spec, LayerContext context);

/// The layout in which a layer wants input `input`; the graph puts a reorder in front where it differs from what is there.
Desc wished_src(const LayerSpec& spec, const LayerContext& context, int input);

// One constructor per kind of layer, each in the file of its name.
std::unique_ptr<Layer> make_convolution(const Convolution& spec, LayerContext context);
std::unique_ptr<Layer> make_batch_norm(const BatchNorm& spec, LayerContext context);
std::unique_ptr<Layer> make_batch_norm_pool(const BatchNorm& spec, LayerContext context);
std::unique_ptr<Layer> make_pool(const Pool& spec, LayerContext context);
std::unique_ptr<Layer> make_adaptive_pool(const AdaptiveAveragePool& spec, LayerContext context);
std::unique_ptr<Layer> make_linear(const Linear& spec, LayerContext context);
std::unique_ptr<Layer> make_relu(const Relu& spec, LayerContext context);
std::unique_ptr<Layer> make_add(LayerContext context);
std::unique_ptr<Layer> make_concat(LayerContext context);
std::unique_ptr<Layer> make_dropout(const Dropout& spec, LayerContext context);
std::unique_ptr<Layer> make_flatten(LayerContext context);
std::unique_ptr<Layer> make_pad_shortcut(const PadShortcut& spec, LayerContext context);
std::unique_ptr<Layer> make_reorder(const Desc& dst, LayerContext context);
/// Copies its input to a slice of the channels of a larger tensor.
std::unique_ptr<Layer> make_slice_copy(LayerContext context);
Desc convolution_src_wish(const Convolution& spec, const LayerContext& context);

}  // namespace dtrain::nn
