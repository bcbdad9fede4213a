// 2-D convolution by oneDNN: forward, backward data, backward weights, with the algorithm chosen by shape.
#include <algorithm>
#include <sstream>

#include "dtrain/error.hpp"
#include "src/nn/layer.hpp"
#include "src/nn/rectify.hpp"
#include "src/nn/working_weights.hpp"

namespace dtrain::nn {
namespace {

using dnnl::algorithm;
using dnnl::convolution_backward_data;
using dnnl::convolution_backward_weights;
using dnnl::convolution_forward;

/// Winograd F(4×4, 3×3) transforms 4×4 output tiles; oneDNN multiplies tiles of all pictures at once, and needs enough of them
/// to fill its matrix products. Below this many tiles direct convolution is as fast or faster: 7×7 pictures of the last ResNet
/// stage have 4 tiles each. Tuned with bench_conv_floor on ResNet-50's shapes, batch 1 to 16.
constexpr std::int64_t kLeastWinogradTiles = 48;

/// A 1×1 convolution of this many channels computes a result in about the time that memory takes to keep it: one write and one
/// read at 25 GB/s a core against 2·64 operations an element.
constexpr std::int64_t kMostCheapChannels = 64;

struct Problem {
  Dims src, weights, bias, dst, strides, padding;  ///< weights: (o, i, h, w), in groups (g, o, i, h, w)
  bool relu = false;                               ///< applied to the result
  DataType type = kF32;  ///< of src, weights, dst and their gradients; bias and the gradients of weights and bias are f32
};

dnnl::primitive_attr forward_attributes(const Problem& problem) {
  dnnl::primitive_attr attributes = user_scratchpad();
  if (problem.relu) {
    dnnl::post_ops operations;
    operations.append_eltwise(1.0f, algorithm::eltwise_relu, 0.0f, 0.0f);
    attributes.set_post_ops(operations);
  }
  return attributes;
}

bool is_cheap(const Problem& problem) {
  return problem.weights[1] <= kMostCheapChannels && problem.weights[2] == 1 && problem.weights[3] == 1;
}

algorithm choose_algorithm(const Problem& problem, ConvAlgorithm asked) {
  const bool is_3x3 =
      problem.weights[2] == 3 && problem.weights[3] == 3 && problem.strides[0] == 1 && problem.padding == Dims{1, 1};
  const bool is_grouped = problem.weights.size() == 5;
  if (asked == ConvAlgorithm::direct || problem.type != kF32 || is_grouped || !is_3x3) return algorithm::convolution_direct;
  const auto tiles = problem.dst[0] * ((problem.dst[2] + 3) / 4) * ((problem.dst[3] + 3) / 4);
  const bool fills_vectors = problem.weights[0] % 16 == 0 && problem.weights[1] % 16 == 0;
  return tiles >= kLeastWinogradTiles && fills_vectors ? algorithm::convolution_winograd : algorithm::convolution_direct;
}

/// The chosen algorithm where this CPU has it for the shape, else direct.
template <typename MakeDesc>
auto with_fallback(algorithm wanted, MakeDesc make) {
  if (wanted == algorithm::convolution_direct) return make(wanted);
  try {
    return make(wanted);
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) throw;
    return make(algorithm::convolution_direct);
  }
}

convolution_forward::primitive_desc forward_desc(const Problem& problem, const LayerContext& context, const Desc& src,
                                                 const Desc& dst) {
  // Evaluation too: for inference Winograd wants weights in a format of its own, into which blocked weights cannot be
  // reordered.
  const auto kind = dnnl::prop_kind::forward_training;
  const Desc weights = any_desc(problem.weights, problem.type);
  return with_fallback(choose_algorithm(problem, context.options.conv_algorithm), [&](algorithm choice) {
    const auto desc = problem.bias.empty() ? convolution_forward::desc(kind, choice, src, weights, dst, problem.strides,
                                                                       problem.padding, problem.padding)
                                           : convolution_forward::desc(kind, choice, src, weights, plain_desc(problem.bias),
                                                                       dst, problem.strides, problem.padding, problem.padding);
    return convolution_forward::primitive_desc(desc, forward_attributes(problem), context.device.engine);
  });
}

convolution_backward_weights::primitive_desc backward_weights_desc(const Problem& problem, const LayerContext& context,
                                                                   const convolution_forward::primitive_desc& forward) {
  using Backward = convolution_backward_weights;
  const Desc src = forward.src_desc();
  const Desc dst = forward.dst_desc();
  const Desc weights = any_desc(problem.weights);
  return with_fallback(choose_algorithm(problem, context.options.conv_algorithm), [&](algorithm choice) {
    const auto desc = problem.bias.empty()
                          ? Backward::desc(choice, src, weights, dst, problem.strides, problem.padding, problem.padding)
                          : Backward::desc(choice, src, weights, plain_desc(problem.bias), dst, problem.strides,
                                           problem.padding, problem.padding);
    return Backward::primitive_desc(desc, user_scratchpad(), context.device.engine, forward);
  });
}

convolution_backward_data::primitive_desc backward_data_desc(const Problem& problem, const LayerContext& context,
                                                             const convolution_forward::primitive_desc& forward) {
  return with_fallback(choose_algorithm(problem, context.options.conv_algorithm), [&](algorithm choice) {
    return convolution_backward_data::primitive_desc({choice, forward.src_desc(), any_desc(problem.weights, problem.type),
                                                      forward.dst_desc(), problem.strides, problem.padding, problem.padding},
                                                     user_scratchpad(), context.device.engine, forward);
  });
}

/// Forward in the layouts it likes best. Where channels fill no block, that may be layouts for which backward has nothing but
/// plain loops (a thousand times slower): then row-major, in which backward is a matrix product.
convolution_forward::primitive_desc choose_forward(const Problem& problem, const LayerContext& context) {
  const auto best = forward_desc(problem, context, any_desc(problem.src, problem.type), any_desc(problem.dst, problem.type));
  if (!context.options.training) return best;
  const auto has_kernel = [](const auto& desc) { return !std::string(desc.impl_info_str()).starts_with("ref"); };
  if (has_kernel(backward_weights_desc(problem, context, best)) &&
      (!context.wants_diff_src[0] || has_kernel(backward_data_desc(problem, context, best)))) {
    return best;
  }
  return forward_desc(problem, context, plain_desc(problem.src, problem.type), plain_desc(problem.dst, problem.type));
}

/// As files hold them: (out, in/groups, h, w).
Shape weight_shape(const Convolution& spec, std::int64_t in_channels) {
  return {spec.out_channels, in_channels / spec.groups, spec.kernel.height, spec.kernel.width};
}

Problem problem_of(const Convolution& spec, const LayerContext& context) {
  const Dims src = context.src.at(0).dims();
  Dims weights = weight_shape(spec, src[1]);
  if (spec.groups > 1) {
    weights[0] /= spec.groups;
    weights.insert(weights.begin(), spec.groups);
  }
  return Problem{.src = src,
                 .weights = weights,
                 .bias = spec.has_bias ? Dims{spec.out_channels} : Dims{},
                 .dst = context.dst_shape,
                 .strides = {spec.stride, spec.stride},
                 .padding = {spec.padding.height, spec.padding.width},
                 .relu = context.relu,
                 .type = activation_type(context.options)};
}

class ConvolutionLayer final : public Layer {
 public:
  ConvolutionLayer(const Convolution& spec, LayerContext context)
      : context_(std::move(context)), problem_(problem_of(spec, context_)), weight_shape_(weight_shape(spec, problem_.src[1])) {
    forward_desc_ = choose_forward(problem_, context_);
    check(forward_desc_.src_desc() == context_.src[0], "a convolution reads what it wished for");
    dst_ = forward_desc_.dst_desc();
    const Desc weights = forward_desc_.weights_desc();
    master_wish_ = is_blocked(weights) ? desc_as(weights, kF32) : plain_desc(problem_.weights);
    if (!context_.options.training) return;

    weights_desc_ = backward_weights_desc(problem_, context_, forward_desc_);
    if (is_blocked(weights_desc_.diff_weights_desc())) master_wish_ = weights_desc_.diff_weights_desc();
    if (wants_diff_src()) {
      data_desc_ = backward_data_desc(problem_, context_, forward_desc_);
    }
  }

  Desc dst_desc() const override { return dst_; }

  LayerNeeds needs() const override {
    LayerNeeds needs;
    needs.src_in_backward = {true};
    needs.dst_may_replace_src = {false};
    const Desc master = master_desc();
    const auto need = [&](std::size_t bytes) { needs.scratch_bytes = std::max(needs.scratch_bytes, bytes); };
    need(WorkingWeights::scratch_bytes(master, forward_desc_.weights_desc()) + forward_desc_.scratchpad_desc().get_size());
    if (!context_.options.training) return needs;
    needs.dst_in_backward = problem_.relu;
    needs.can_recompute = is_cheap(problem_);
    needs.diff_dst_addends = problem_.relu ? kMaxAddends : 1;
    need(gradient_scratch_bytes() + weights_desc_.scratchpad_desc().get_size());
    if (wants_diff_src()) {
      need(WorkingWeights::scratch_bytes(master, data_desc_.weights_desc()) + data_desc_.scratchpad_desc().get_size());
    }
    return needs;
  }

  std::vector<LayerParameter> parameters() const override {
    using Kind = ParameterSpec::Kind;
    std::vector<LayerParameter> all{{{context_.name + ".weight", weight_shape_, Kind::conv_weight}, layout_of(master_wish_)}};
    if (!problem_.bias.empty()) {
      all.push_back({{context_.name + ".bias", problem_.bias, Kind::bias}, plain_layout(problem_.bias)});
    }
    return all;
  }

  void connect(const LayerConnections& to) override {
    const Device& device = context_.device;
    const ParameterStore& store = *to.parameters;
    const Slot& slot = weight_slot(store);
    const Desc master = master_desc();
    const dnnl::memory weights(master, device.engine, store.values(slot).data());
    const Slot* bias = problem_.bias.empty() ? nullptr : store.find(context_.name + ".bias");

    forward_weights_ = WorkingWeights(weights, forward_desc_.weights_desc(), 0, scratch_, device);
    const dnnl::memory scratchpad = scratch_.add(forward_desc_.scratchpad_desc(),
                                                 WorkingWeights::scratch_bytes(master, forward_desc_.weights_desc()), device);
    const convolution_forward primitive(forward_desc_);
    const auto forward_call = [&](const dnnl::memory& src, const dnnl::memory& dst) {
      std::vector<std::pair<int, dnnl::memory>> arguments{{DNNL_ARG_SRC, src},
                                                          {DNNL_ARG_WEIGHTS, forward_weights_.memory()},
                                                          {DNNL_ARG_DST, dst},
                                                          {DNNL_ARG_SCRATCHPAD, scratchpad}};
      if (bias != nullptr) {
        arguments.emplace_back(DNNL_ARG_BIAS,
                               dnnl::memory(plain_desc(problem_.bias), device.engine, store.values(*bias).data()));
      }
      return PrimitiveCall(primitive, arguments);
    };
    forward_ = forward_call(to.src[0], to.dst);
    if (to.recomputed_dst) recompute_ = forward_call(to.src_in_backward[0], to.recomputed_dst);
    to_ = to;
    if (!context_.options.training) return;

    if (to.diff_src[0]) {
      data_weights_ = WorkingWeights(weights, data_desc_.weights_desc(), 0, scratch_, device);
      backward_data_ = PrimitiveCall(
          convolution_backward_data(data_desc_),
          {{DNNL_ARG_DIFF_SRC, *to.diff_src[0]},
           {DNNL_ARG_WEIGHTS, data_weights_.memory()},
           {DNNL_ARG_DIFF_DST, to.diff_dst[0]},
           {DNNL_ARG_SCRATCHPAD, scratch_.add(data_desc_.scratchpad_desc(),
                                              WorkingWeights::scratch_bytes(master, data_desc_.weights_desc()), device)}});
    }
    const Desc& diff_weights = weights_desc_.diff_weights_desc();
    const GradientPlace weight_place{dnnl::memory(master, device.engine, store.gradient(slot).data()),
                                     scratch_.add(diff_weights, 0, device)};
    std::optional<GradientPlace> bias_place;
    if (bias != nullptr) {
      const Desc desc = plain_desc(problem_.bias);
      bias_place = GradientPlace{dnnl::memory(desc, device.engine, store.gradient(*bias).data()),
                                 scratch_.add(desc, BackwardWeights::bias_offset(diff_weights), device)};
    }
    backward_weights_ = BackwardWeights(
        convolution_backward_weights(weights_desc_),
        {{DNNL_ARG_SRC, to.src_in_backward[0]},
         {DNNL_ARG_DIFF_DST, to.diff_dst[0]},
         {DNNL_ARG_SCRATCHPAD, scratch_.add(weights_desc_.scratchpad_desc(), gradient_scratch_bytes(), device)}},
        weight_place, bias_place, context_.options.accumulates, device);
  }

  void bound() override {
    scratch_.bind(to_.scratch);
    dst_runs_ = Runs(to_.dst);
    diff_dst_.clear();
    for (const dnnl::memory& addend : to_.diff_dst) diff_dst_.emplace_back(addend);
  }

  void bring_forward_weights() override { forward_weights_.bring(context_.device.stream); }
  void forward(const PassOptions&) override { forward_.run(context_.device.stream); }

  void recompute() override {
    forward_weights_.bring(context_.device.stream);
    recompute_.run(context_.device.stream);
  }

  void backward_weights(const PassOptions& pass) override {
    if (problem_.relu) rectify_gradient(dst_runs_, diff_dst_, diff_dst_[0]);
    backward_weights_.run(!pass.is_first_micro_batch, context_.device.stream);
  }

  void bring_backward_weights() override {
    if (backward_data_) data_weights_.bring(context_.device.stream);
  }
  void backward_data(const PassOptions&) override {
    if (backward_data_) backward_data_.run(context_.device.stream);
  }

  std::string describe() const override {
    std::ostringstream text;
    text << "convolution " << (problem_.relu ? "+ relu " : "") << forward_desc_.impl_info_str();
    if (context_.options.training) {
      text << " | weights " << weights_desc_.impl_info_str();
      if (wants_diff_src()) text << " | data " << data_desc_.impl_info_str();
    }
    return text.str();
  }

 private:
  bool wants_diff_src() const { return context_.options.training && context_.wants_diff_src[0]; }

  const Slot& weight_slot(const ParameterStore& store) const {
    const Slot* slot = store.find(context_.name + ".weight");
    check(slot != nullptr, "convolution: its weight is in the store");
    return *slot;
  }

  Desc master_desc() const {
    if (context_.parameters == nullptr) return master_wish_;
    return desc_of(weight_slot(*context_.parameters).layout, problem_.weights, master_wish_);
  }

  std::size_t gradient_scratch_bytes() const {
    const std::optional<Desc> bias = problem_.bias.empty() ? std::nullopt : std::optional(plain_desc(problem_.bias));
    return BackwardWeights::scratch_bytes(master_desc(), weights_desc_.diff_weights_desc(), bias, context_.options.accumulates);
  }

  LayerContext context_;
  Problem problem_;
  Shape weight_shape_;
  convolution_forward::primitive_desc forward_desc_;
  convolution_backward_data::primitive_desc data_desc_;
  convolution_backward_weights::primitive_desc weights_desc_;
  Desc dst_, master_wish_;
  WorkingWeights forward_weights_, data_weights_;
  BackwardWeights backward_weights_;
  PrimitiveCall forward_, recompute_, backward_data_;
  ScratchViews scratch_;
  LayerConnections to_;
  Runs dst_runs_;
  std::vector<Runs> diff_dst_;
};

}  // namespace

Desc convolution_src_wish(const Convolution& spec, const LayerContext& context) {
  const Problem problem = problem_of(spec, context);
  return choose_forward(problem, context).src_desc();
}

std::unique_ptr<Layer> make_convolution(const Convolution& spec, LayerContext context) {
  return std::make_unique<ConvolutionLayer>(spec, std::move(context));
}

}  // namespace dtrain::nn
