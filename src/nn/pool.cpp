// Max and average pooling by oneDNN.
#include <algorithm>

#include "dtrain/error.hpp"
#include "src/nn/layer.hpp"
#include "src/nn/rectify.hpp"
#include "src/nn/working_weights.hpp"

namespace dtrain::nn {
namespace {

using dnnl::algorithm;
using dnnl::pooling_backward;
using dnnl::pooling_forward;

/// Padding behind the last row so that `dst` windows fit; at least the padding in front.
std::int64_t trailing_padding(std::int64_t src, std::int64_t dst, const Pool& spec) {
  return std::max(spec.padding, (dst - 1) * spec.stride + spec.kernel - src - spec.padding);
}

PoolingWindows windows_of(const Pool& spec, const LayerContext& context) {
  const Dims src = dims_of(context.src.at(0));
  const Dims dst = context.dst_shape;
  PoolingWindows windows{.kind = algorithm::pooling_max,
                         .kernel = {spec.kernel, spec.kernel},
                         .strides = {spec.stride, spec.stride},
                         .front = {spec.padding, spec.padding},
                         .behind = {trailing_padding(src[2], dst[2], spec), trailing_padding(src[3], dst[3], spec)}};
  if (spec.kind == Pool::Kind::max) return windows;
  if (spec.padding == 0) {
    windows.kind = algorithm::pooling_avg_exclude_padding;  // a window past the border counts what is inside
    return windows;
  }
  if (windows.behind != windows.front) {
    throw ConfigError(Fault{.doing = "compiling average pooling " + context.name,
                            .expected = "windows that end inside the padded picture",
                            .found = "ceil mode with padding and a window that ends beyond it",
                            .remedy = "a picture size that the stride divides, or ceil_mode off"});
  }
  windows.kind = algorithm::pooling_avg_include_padding;
  return windows;
}

class PoolLayer final : public Layer {
 public:
  PoolLayer(const PoolingWindows& windows, LayerContext context) : context_(std::move(context)) {
    const Desc& src = context_.src.at(0);
    const auto prop = context_.options.training ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
    const dnnl::primitive_attr attributes = user_scratchpad();
    const PrimitiveContext alike{context_.device.engine, attributes};
    forward_desc_ = describe_pooling(alike, prop, windows, src, any_desc(context_.dst_shape, type_of(src)));
    if (context_.options.training) {
      backward_desc_ = describe_pooling_backward(alike, forward_desc_, windows, src, forward_desc_.dst_desc());
    }
    has_workspace_ = context_.options.training && windows.kind == algorithm::pooling_max;
  }

  Desc dst_desc() const override { return forward_desc_.dst_desc(); }

  LayerNeeds needs() const override {
    LayerNeeds needs;
    needs.src_in_backward = {false};
    needs.dst_may_replace_src = {false};
    needs.dst_in_backward = context_.relu;
    needs.diff_dst_addends = context_.relu ? kMaxAddends : 1;
    needs.scratch_bytes = forward_desc_.scratchpad_desc().get_size();
    if (context_.options.training) {
      needs.scratch_bytes = std::max(needs.scratch_bytes, backward_desc_.scratchpad_desc().get_size());
    }
    if (has_workspace_) needs.workspace_bytes = forward_desc_.workspace_desc().get_size();
    return needs;
  }

  void connect(const LayerConnections& to) override {
    const Device& device = context_.device;
    std::vector<std::pair<int, dnnl::memory>> forward{
        {DNNL_ARG_SRC, to.src[0]},
        {DNNL_ARG_DST, to.dst},
        {DNNL_ARG_SCRATCHPAD, scratch_.add(forward_desc_.scratchpad_desc(), 0, device)}};
    if (has_workspace_) {
      workspace_ = unbound(forward_desc_.workspace_desc(), device);
      workspace_bytes_ = to.workspace;
      forward.emplace_back(DNNL_ARG_WORKSPACE, workspace_);
    }
    forward_ = PrimitiveCall(pooling_forward(forward_desc_), forward);
    scratch_base_ = to.scratch;
    dst_ = to.dst;
    diff_dst_ = to.diff_dst;
    if (!context_.options.training || !to.diff_src[0]) return;
    std::vector<std::pair<int, dnnl::memory>> backward{
        {DNNL_ARG_DIFF_DST, to.diff_dst[0]},
        {DNNL_ARG_DIFF_SRC, *to.diff_src[0]},
        {DNNL_ARG_SCRATCHPAD, scratch_.add(backward_desc_.scratchpad_desc(), 0, device)}};
    if (has_workspace_) backward.emplace_back(DNNL_ARG_WORKSPACE, workspace_);
    backward_ = PrimitiveCall(pooling_backward(backward_desc_), backward);
  }

  void bound() override {
    scratch_.bind(scratch_base_);
    if (has_workspace_) workspace_.set_data_handle(workspace_bytes_.get_data_handle());
    dst_runs_ = Runs(dst_);
    diff_dst_runs_.clear();
    for (const dnnl::memory& addend : diff_dst_) diff_dst_runs_.emplace_back(addend);
  }

  void forward(const PassOptions&) override {
    forward_.run(context_.device.stream);
    if (context_.relu) rectify(dst_runs_, dst_runs_);
  }
  void backward_data(const PassOptions&) override {
    if (!backward_) return;
    if (context_.relu) rectify_gradient(dst_runs_, diff_dst_runs_, diff_dst_runs_[0]);
    backward_.run(context_.device.stream);
  }
  std::string describe() const override {
    return std::string("pooling ") + (context_.relu ? "+ relu " : "") + forward_desc_.impl_info_str();
  }

 private:
  LayerContext context_;
  pooling_forward::primitive_desc forward_desc_;
  pooling_backward::primitive_desc backward_desc_;
  bool has_workspace_ = false;
  PrimitiveCall forward_, backward_;
  dnnl::memory workspace_, workspace_bytes_, scratch_base_, dst_;
  std::vector<dnnl::memory> diff_dst_;
  Runs dst_runs_;
  std::vector<Runs> diff_dst_runs_;
  ScratchViews scratch_;
};

}  // namespace

std::unique_ptr<Layer> make_pool(const Pool& spec, LayerContext context) {
  const PoolingWindows windows = windows_of(spec, context);
  return std::make_unique<PoolLayer>(windows, std::move(context));
}

}  // namespace dtrain::nn
