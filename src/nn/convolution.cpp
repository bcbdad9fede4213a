// 2-D convolution by oneDNN: forward, backward data, backward weights.
#include <algorithm>
#include <sstream>

#include "dtrain/error.hpp"
#include "src/nn/convolution_primitives.hpp"
#include "src/nn/layer.hpp"
#include "src/nn/rectify.hpp"
#include "src/nn/working_weights.hpp"

namespace dtrain::nn {
namespace {

/// A 1×1 convolution of this many channels computes a result in about the time that memory takes to keep it: one write and one
/// read at 25 GB/s a core against 2·64 operations an element.
constexpr std::int64_t kMostCheapChannels = 64;

bool is_cheap(const ConvolutionProblem& problem) {
  const Dims& weights = problem.weights;
  return weights.size() == 4 && weights[1] <= kMostCheapChannels && weights[2] == 1 && weights[3] == 1;
}

/// As files hold them: (out, in/groups, h, w).
Shape weight_shape(const Convolution& spec, std::int64_t in_channels) {
  return {spec.out_channels, in_channels / spec.groups, spec.kernel.height, spec.kernel.width};
}

ConvolutionProblem problem_of(const Convolution& spec, const LayerContext& context) {
  const Dims src = dims_of(context.src.at(0));
  Dims weights = weight_shape(spec, src[1]);
  if (spec.groups > 1) {
    weights[0] /= spec.groups;
    weights.insert(weights.begin(), spec.groups);
  }
  return ConvolutionProblem{.src = src,
                            .weights = weights,
                            .bias = spec.has_bias ? Dims{spec.out_channels} : Dims{},
                            .dst = context.dst_shape,
                            .strides = {spec.stride, spec.stride},
                            .padding = {spec.padding.height, spec.padding.width},
                            .relu = context.relu,
                            .type = activation_type(context.options)};
}

ConvolutionPrimitives primitives_of(const ConvolutionProblem& problem, const LayerContext& context) {
  const CompileOptions& options = context.options;
  return choose_primitives(problem,
                           {.algorithm = options.conv_algorithm,
                            .training = options.training,
                            .wants_diff_src = options.training && context.wants_diff_src[0]},
                           context.device);
}

/// Some of the pictures of tensors whose addresses are known late.
class PartViews {
 public:
  /// The pictures from `first` on, as many as desc has: `whole` itself where those are all.
  dnnl::memory add(const dnnl::memory& whole, const Desc& desc, std::int64_t first, const Device& device) {
    if (dims_of(whole.get_desc())[0] == dims_of(desc)[0]) return whole;
    const dnnl::memory part = unbound(desc, device);
    views_.push_back({part, whole, static_cast<std::size_t>(first / dims_of(desc)[0]) * desc.get_size()});
    return part;
  }
  void bind() const {
    for (const View& view : views_) {
      view.part.set_data_handle(static_cast<std::byte*>(view.whole.get_data_handle()) + view.offset_bytes);
    }
  }

 private:
  struct View {
    dnnl::memory part, whole;
    std::size_t offset_bytes = 0;
  };
  std::vector<View> views_;
};

class ConvolutionLayer final : public Layer {
 public:
  ConvolutionLayer(const Convolution& spec, LayerContext context)
      : context_(std::move(context)), problem_(problem_of(spec, context_)), weight_shape_(weight_shape(spec, problem_.src[1])) {
    primitives_ = primitives_of(problem_, context_);
    check(primitives_.src == context_.src[0], "a convolution reads what it wished for");
    master_wish_ = with_type(forward_desc().weights_desc(), kF32);
    if (context_.options.training && is_blocked(weights_desc().diff_weights_desc())) {
      master_wish_ = weights_desc().diff_weights_desc();
    }
  }

  Desc dst_desc() const override { return primitives_.dst; }

  LayerNeeds needs() const override {
    LayerNeeds needs;
    needs.src_in_backward = {true};
    needs.dst_may_replace_src = {false};
    const Desc master = master_desc();
    const auto need = [&](std::size_t bytes) { needs.scratch_bytes = std::max(needs.scratch_bytes, bytes); };
    need(WorkingWeights::scratch_bytes(master, forward_desc().weights_desc()) + forward_desc().scratchpad_desc().get_size());
    if (!context_.options.training) return needs;
    needs.dst_in_backward = problem_.relu;
    needs.can_recompute = is_cheap(problem_);
    needs.diff_dst_addends = problem_.relu ? kMaxAddends : 1;
    need(gradient_scratch_bytes() + weights_desc().scratchpad_desc().get_size());
    if (wants_diff_src()) {
      need(WorkingWeights::scratch_bytes(master, data_desc().weights_desc()) + data_desc().scratchpad_desc().get_size());
    }
    return needs;
  }

  std::vector<LayerParameter> parameters() const override {
    using Kind = ParameterSpec::Kind;
    std::vector<LayerParameter> all;  // see Note [Parameters are listed one by one]
    all.emplace_back().spec = {context_.name + ".weight", weight_shape_, Kind::conv_weight};
    all.back().wish = layout_of(master_wish_);
    if (!problem_.bias.empty()) {
      all.emplace_back().spec = {context_.name + ".bias", problem_.bias, Kind::bias};
      all.back().wish = plain_layout(problem_.bias);
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

    forward_weights_ = WorkingWeights(weights, forward_desc().weights_desc(), 0, scratch_, device);
    const dnnl::memory scratchpad = scratch_.add(forward_desc().scratchpad_desc(),
                                                 WorkingWeights::scratch_bytes(master, forward_desc().weights_desc()), device);
    const dnnl::convolution_forward primitive(forward_desc());
    const auto forward_calls = [&](const dnnl::memory& src, const dnnl::memory& dst) {
      std::vector<PrimitiveCall> calls;
      for_each_part(primitives_.forward, [&](std::int64_t first) {
        std::vector<std::pair<int, dnnl::memory>> arguments{
            {DNNL_ARG_SRC, parts_.add(src, forward_desc().src_desc(), first, device)},
            {DNNL_ARG_WEIGHTS, forward_weights_.memory()},
            {DNNL_ARG_DST, parts_.add(dst, forward_desc().dst_desc(), first, device)},
            {DNNL_ARG_SCRATCHPAD, scratchpad}};
        if (bias != nullptr) {
          arguments.emplace_back(DNNL_ARG_BIAS,
                                 dnnl::memory(plain_desc(problem_.bias), device.engine, store.values(*bias).data()));
        }
        calls.emplace_back(primitive, arguments);
      });
      return calls;
    };
    forward_ = forward_calls(to.src[0], to.dst);
    if (to.recomputed_dst) recompute_ = forward_calls(to.src_in_backward[0], to.recomputed_dst);
    to_ = to;
    if (!context_.options.training) return;
    if (to.diff_src[0]) connect_backward_data(to, weights);
    connect_backward_weights(to, slot, bias);
  }

  void bound() override {
    scratch_.bind(to_.scratch);
    parts_.bind();
    dst_runs_ = Runs(to_.dst);
    diff_dst_.clear();
    for (const dnnl::memory& addend : to_.diff_dst) diff_dst_.emplace_back(addend);
  }

  void bring_forward_weights() override { forward_weights_.bring(context_.device.stream); }
  void forward(const PassOptions&) override { run(forward_); }

  void recompute() override {
    forward_weights_.bring(context_.device.stream);
    run(recompute_);
  }

  void backward_weights(const PassOptions& pass) override {
    if (problem_.relu) rectify_gradient(dst_runs_, diff_dst_, diff_dst_[0]);
    bool accumulate = !pass.is_first_micro_batch;
    for (const BackwardWeights& part : backward_weights_) {
      part.run(accumulate, context_.device.stream);
      accumulate = true;
    }
  }

  void bring_backward_weights() override {
    if (!backward_data_.empty()) data_weights_.bring(context_.device.stream);
  }
  void backward_data(const PassOptions&) override { run(backward_data_); }

  std::string describe() const override {
    std::ostringstream text;
    const auto add = [&](const char* direction, const auto& primitive) {
      text << direction << primitive.desc.impl_info_str();
      if (primitive.pictures < problem_.pictures()) text << " " << primitive.pictures << " pictures at a time";
    };
    add(problem_.relu ? "convolution + relu " : "convolution ", primitives_.forward);
    if (context_.options.training) add(" | weights ", primitives_.backward_weights);
    if (wants_diff_src()) add(" | data ", primitives_.backward_data);
    return text.str();
  }

 private:
  const dnnl::convolution_forward::primitive_desc& forward_desc() const { return primitives_.forward.desc; }
  const dnnl::convolution_backward_data::primitive_desc& data_desc() const { return primitives_.backward_data.desc; }
  const dnnl::convolution_backward_weights::primitive_desc& weights_desc() const { return primitives_.backward_weights.desc; }
  bool wants_diff_src() const { return context_.options.training && context_.wants_diff_src[0]; }
  /// Micro-batches, or parts of one, add up.
  bool accumulates() const {
    return context_.options.accumulates || primitives_.backward_weights.pictures < problem_.pictures();
  }

  void run(const std::vector<PrimitiveCall>& calls) const {
    for (const PrimitiveCall& call : calls) call.run(context_.device.stream);
  }

  template <typename Primitive, typename Use>
  void for_each_part(const Primitive& primitive, Use use) const {
    for (std::int64_t first = 0; first < problem_.pictures(); first += primitive.pictures) use(first);
  }

  void connect_backward_data(const LayerConnections& to, const dnnl::memory& weights) {
    const Device& device = context_.device;
    data_weights_ = WorkingWeights(weights, data_desc().weights_desc(), 0, scratch_, device);
    const dnnl::memory scratchpad = scratch_.add(
        data_desc().scratchpad_desc(), WorkingWeights::scratch_bytes(weights.get_desc(), data_desc().weights_desc()), device);
    const dnnl::convolution_backward_data primitive(data_desc());
    for_each_part(primitives_.backward_data, [&](std::int64_t first) {
      backward_data_.emplace_back(
          primitive, std::vector<std::pair<int, dnnl::memory>>{
                         {DNNL_ARG_DIFF_SRC, parts_.add(*to.diff_src[0], data_desc().diff_src_desc(), first, device)},
                         {DNNL_ARG_WEIGHTS, data_weights_.memory()},
                         {DNNL_ARG_DIFF_DST, parts_.add(to.diff_dst[0], data_desc().diff_dst_desc(), first, device)},
                         {DNNL_ARG_SCRATCHPAD, scratchpad}});
    });
  }

  void connect_backward_weights(const LayerConnections& to, const Slot& slot, const Slot* bias) {
    const Device& device = context_.device;
    const ParameterStore& store = *to.parameters;
    const Desc& diff_weights = weights_desc().diff_weights_desc();
    const GradientPlace weight_place{dnnl::memory(master_desc(), device.engine, store.gradient(slot).data()),
                                     scratch_.add(diff_weights, 0, device)};
    std::optional<GradientPlace> bias_place;
    if (bias != nullptr) {
      const Desc desc = plain_desc(problem_.bias);
      bias_place = GradientPlace{dnnl::memory(desc, device.engine, store.gradient(*bias).data()),
                                 scratch_.add(desc, BackwardWeights::bias_offset(diff_weights), device)};
    }
    const dnnl::memory scratchpad = scratch_.add(weights_desc().scratchpad_desc(), gradient_scratch_bytes(), device);
    const dnnl::convolution_backward_weights primitive(weights_desc());
    for_each_part(primitives_.backward_weights, [&](std::int64_t first) {
      backward_weights_.emplace_back(
          primitive,
          std::vector<std::pair<int, dnnl::memory>>{
              {DNNL_ARG_SRC, parts_.add(to.src_in_backward[0], weights_desc().src_desc(), first, device)},
              {DNNL_ARG_DIFF_DST, parts_.add(to.diff_dst[0], weights_desc().diff_dst_desc(), first, device)},
              {DNNL_ARG_SCRATCHPAD, scratchpad}},
          weight_place, bias_place, accumulates(), device);
    });
  }

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
    return BackwardWeights::scratch_bytes(master_desc(), weights_desc().diff_weights_desc(), bias, accumulates());
  }

  LayerContext context_;
  ConvolutionProblem problem_;
  Shape weight_shape_;
  ConvolutionPrimitives primitives_;
  Desc master_wish_;
  WorkingWeights forward_weights_, data_weights_;
  std::vector<PrimitiveCall> forward_, recompute_, backward_data_;  // a call for each part of the pictures
  std::vector<BackwardWeights> backward_weights_;                   // likewise
  ScratchViews scratch_;
  PartViews parts_;
  LayerConnections to_;
  Runs dst_runs_;
  std::vector<Runs> diff_dst_;
};

}  // namespace

Desc convolution_src_wish(const Convolution& spec, const LayerContext& context) {
  return primitives_of(problem_of(spec, context), context).src;
}

std::unique_ptr<Layer> make_convolution(const Convolution& spec, LayerContext context) {
  return std::make_unique<ConvolutionLayer>(spec, std::move(context));
}

}  // namespace dtrain::nn
