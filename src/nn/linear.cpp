// Fully connected layer by oneDNN's inner product.
#include <algorithm>

#include "dtrain/error.hpp"
#include "src/nn/layer.hpp"
#include "src/nn/memory_plan.hpp"
#include "src/nn/working_weights.hpp"

namespace dtrain::nn {
namespace {

using dnnl::inner_product_backward_data;
using dnnl::inner_product_backward_weights;
using dnnl::inner_product_forward;

class LinearLayer final : public Layer {
 public:
  LinearLayer(const Linear& spec, LayerContext context) : context_(std::move(context)) {
    const Desc& src = context_.src.at(0);
    const DataType type = type_of(src);
    weights_dims_ = {spec.out_features, dims_of(src)[1]};
    bias_dims_ = {spec.out_features};
    const auto kind = context_.options.training ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
    const Desc weights = any_desc(weights_dims_, type);
    // The logits are f32, and so is what the loss makes of them.
    const Desc dst = plain_desc(context_.dst_shape, context_.gives_logits ? kF32 : type);
    diff_dst_ = plain_desc(context_.dst_shape, type);
    const Desc bias = plain_desc(bias_dims_);
    const dnnl::primitive_attr attributes = user_scratchpad();
    const PrimitiveContext alike{context_.device.engine, attributes};
    forward_desc_ = describe_primitive<inner_product_forward>(alike, kind, src, weights, bias, dst);
    master_wish_ = with_type(forward_desc_.weights_desc(), kF32);
    if (!context_.options.training) return;
    // Descriptors of gradients are made with the type that gradients have.
    const auto hint = describe_primitive<inner_product_forward>(alike, kind, src, weights, bias, diff_dst_);
    weights_desc_ =
        describe_backward<inner_product_backward_weights>(alike, hint, src, any_desc(weights_dims_), bias, diff_dst_);
    if (is_blocked(weights_desc_.diff_weights_desc())) master_wish_ = weights_desc_.diff_weights_desc();
    if (wants_diff_src()) {
      data_desc_ = describe_backward<inner_product_backward_data>(alike, hint, src, weights, diff_dst_);
    }
  }

  Desc dst_desc() const override { return forward_desc_.dst_desc(); }

  LayerNeeds needs() const override {
    LayerNeeds needs;
    needs.src_in_backward = {true};
    needs.dst_may_replace_src = {false};
    const Desc master = master_desc();
    const auto need = [&](std::size_t bytes) { needs.scratch_bytes = std::max(needs.scratch_bytes, bytes); };
    need(WorkingWeights::scratch_bytes(master, forward_desc_.weights_desc()) + forward_desc_.scratchpad_desc().get_size());
    if (!context_.options.training) return needs;
    need(diff_dst_bytes() + gradient_scratch_bytes() + weights_desc_.scratchpad_desc().get_size());
    if (wants_diff_src()) {
      need(diff_dst_bytes() + WorkingWeights::scratch_bytes(master, data_desc_.weights_desc()) +
           data_desc_.scratchpad_desc().get_size());
    }
    return needs;
  }

  // Note [Parameters are listed one by one]
  // In a braced list whose second element finds no memory, GCC 12 destroys the first one twice. What allocates is therefore
  // put into a list, and into a structure, one after the other; test_allocations.cpp has every allocation fail once.
  std::vector<LayerParameter> parameters() const override {
    using Kind = ParameterSpec::Kind;
    std::vector<LayerParameter> all;
    all.emplace_back().spec = {context_.name + ".weight", weights_dims_, Kind::linear_weight};
    all.back().wish = layout_of(master_wish_);
    all.emplace_back().spec = {context_.name + ".bias", bias_dims_, Kind::bias};
    all.back().wish = plain_layout(bias_dims_);
    return all;
  }

  void connect(const LayerConnections& to) override {
    const Device& device = context_.device;
    const ParameterStore& store = *to.parameters;
    const Slot& slot = slot_named(store, ".weight");
    const Slot& bias = slot_named(store, ".bias");
    const Desc master = master_desc();
    const Desc bias_desc = plain_desc(bias_dims_);
    const dnnl::memory weights(master, device.engine, store.values(slot).data());

    forward_weights_ = WorkingWeights(weights, forward_desc_.weights_desc(), 0, scratch_, device);
    forward_ = PrimitiveCall(
        inner_product_forward(forward_desc_),
        {{DNNL_ARG_SRC, to.src[0]},
         {DNNL_ARG_WEIGHTS, forward_weights_.memory()},
         {DNNL_ARG_BIAS, dnnl::memory(bias_desc, device.engine, store.values(bias).data())},
         {DNNL_ARG_DST, to.dst},
         {DNNL_ARG_SCRATCHPAD, scratch_.add(forward_desc_.scratchpad_desc(),
                                            WorkingWeights::scratch_bytes(master, forward_desc_.weights_desc()), device)}});
    scratch_base_ = to.scratch;
    if (!context_.options.training) return;

    dnnl::memory diff_dst = to.diff_dst[0];
    if (diff_dst.get_desc() != diff_dst_) {
      diff_dst = scratch_.add(diff_dst_, 0, device);
      const dnnl::reorder::primitive_desc desc(device.engine, to.diff_dst[0].get_desc(), device.engine, diff_dst_);
      convert_diff_dst_ = PrimitiveCall(dnnl::reorder(desc), {{DNNL_ARG_FROM, to.diff_dst[0]}, {DNNL_ARG_TO, diff_dst}});
    }
    if (to.diff_src[0]) {
      const std::size_t weight_bytes = WorkingWeights::scratch_bytes(master, data_desc_.weights_desc());
      data_weights_ = WorkingWeights(weights, data_desc_.weights_desc(), diff_dst_bytes(), scratch_, device);
      backward_data_ = PrimitiveCall(
          inner_product_backward_data(data_desc_),
          {{DNNL_ARG_DIFF_SRC, *to.diff_src[0]},
           {DNNL_ARG_WEIGHTS, data_weights_.memory()},
           {DNNL_ARG_DIFF_DST, diff_dst},
           {DNNL_ARG_SCRATCHPAD, scratch_.add(data_desc_.scratchpad_desc(), diff_dst_bytes() + weight_bytes, device)}});
    }
    const Desc& diff_weights = weights_desc_.diff_weights_desc();
    backward_weights_ = BackwardWeights(
        inner_product_backward_weights(weights_desc_),
        {{DNNL_ARG_SRC, to.src_in_backward[0]},
         {DNNL_ARG_DIFF_DST, diff_dst},
         {DNNL_ARG_SCRATCHPAD,
          scratch_.add(weights_desc_.scratchpad_desc(), diff_dst_bytes() + gradient_scratch_bytes(), device)}},
        {dnnl::memory(master, device.engine, store.gradient(slot).data()),
         scratch_.add(diff_weights, diff_dst_bytes(), device)},
        GradientPlace{dnnl::memory(bias_desc, device.engine, store.gradient(bias).data()),
                      scratch_.add(bias_desc, diff_dst_bytes() + BackwardWeights::bias_offset(diff_weights), device)},
        context_.options.accumulates, device);
  }

  void bound() override { scratch_.bind(scratch_base_); }

  void bring_forward_weights() override { forward_weights_.bring(context_.device.stream); }
  void forward(const PassOptions&) override { forward_.run(context_.device.stream); }

  void backward_weights(const PassOptions& pass) override {
    if (convert_diff_dst_) convert_diff_dst_.run(context_.device.stream);
    backward_weights_.run(!pass.is_first_micro_batch, context_.device.stream);
  }

  void bring_backward_weights() override {
    if (backward_data_) data_weights_.bring(context_.device.stream);
  }
  void backward_data(const PassOptions&) override {
    if (backward_data_) backward_data_.run(context_.device.stream);
  }

  std::string describe() const override { return std::string("linear ") + forward_desc_.impl_info_str(); }

 private:
  bool wants_diff_src() const { return context_.options.training && context_.wants_diff_src[0]; }

  const Slot& slot_named(const ParameterStore& store, const char* suffix) const {
    const Slot* slot = store.find(context_.name + suffix);
    check(slot != nullptr, "linear: its parameters are in the store");
    return *slot;
  }

  Desc master_desc() const {
    if (context_.parameters == nullptr) return master_wish_;
    return desc_of(slot_named(*context_.parameters, ".weight").layout, weights_dims_, master_wish_);
  }

  /// Scratch for the gradient of the logits in the type of the others; it comes first.
  std::size_t diff_dst_bytes() const { return forward_desc_.dst_desc() == diff_dst_ ? 0 : aligned_size(diff_dst_.get_size()); }

  std::size_t gradient_scratch_bytes() const {
    return BackwardWeights::scratch_bytes(master_desc(), weights_desc_.diff_weights_desc(), plain_desc(bias_dims_),
                                          context_.options.accumulates);
  }

  LayerContext context_;
  Dims weights_dims_, bias_dims_;
  inner_product_forward::primitive_desc forward_desc_;
  inner_product_backward_data::primitive_desc data_desc_;
  inner_product_backward_weights::primitive_desc weights_desc_;
  Desc diff_dst_, master_wish_;
  WorkingWeights forward_weights_, data_weights_;
  BackwardWeights backward_weights_;
  PrimitiveCall forward_, convert_diff_dst_, backward_data_;
  ScratchViews scratch_;
  dnnl::memory scratch_base_;
};

}  // namespace

std::unique_ptr<Layer> make_linear(const Linear& spec, LayerContext context) {
  return std::make_unique<LinearLayer>(spec, std::move(context));
}

}  // namespace dtrain::nn
