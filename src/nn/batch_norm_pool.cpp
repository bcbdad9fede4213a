// Batch normalisation, ReLU and max pooling behind it as one operation: the stem of most networks. The normalised pictures, the
// largest tensor of a network, are never written: forward reads src for the moments and once more for the windows, backward
// finds each gradient by the position that its window kept.
//
// Forward   y = max over the window of relu(norm(x)); kept: the position of the first maximum, or that all were ≤ 0
// Backward  d(x) = Σ diff_dst of the windows that kept x; the rest as in channel_norm.hpp
#include "dtrain/error.hpp"
#include "src/nn/channel_norm.hpp"

namespace dtrain::nn {
namespace {

/// Element: float or BFloat16.
template <typename Element>
class BatchNormPoolLayer final : public Layer {
 public:
  BatchNormPoolLayer(const BatchNorm& spec, LayerContext context)
      : context_(std::move(context)), norm_(spec, context_.name, dims_of(context_.src.at(0)), channel_block(context_.src[0])) {
    const Pool& pool = *context_.pool;
    const Dims src = dims_of(context_.src[0]);
    const Shape& dst = context_.dst_shape;
    check(pool.kernel * pool.kernel < kNoMaximum, "batch-norm with pooling: a window's positions fit a byte");
    window_ = {.src_height = src[2],
               .src_width = src[3],
               .dst_height = dst[2],
               .dst_width = dst[3],
               .kernel = pool.kernel,
               .stride = pool.stride,
               .padding = pool.padding};
    dst_ = channel_blocked_desc(dst, static_cast<int>(norm_.block()), type_of(context_.src[0]));
  }

  Desc dst_desc() const override { return dst_; }

  LayerNeeds needs() const override {
    LayerNeeds needs;
    needs.src_in_backward = {true};
    needs.dst_may_replace_src = {false};
    needs.diff_dst_addends = kMaxAddends;
    needs.scratch_bytes = norm_.scratch_bytes();
    needs.dst_may_be_slice = true;
    if (context_.options.training) needs.workspace_bytes = dst_.get_size() / sizeof(Element);
    return needs;
  }

  std::vector<LayerParameter> parameters() const override { return norm_.parameters(); }

  void connect(const LayerConnections& to) override {
    connections_ = to;
    norm_.connect(*to.parameters);
  }

  void bound() override {
    norm_.bind(connections_.scratch);
    const bool training = context_.options.training;
    src_ = src_in_backward_ = to_ = diff_src_ = {};
    diff_dst_.clear();
    src_.append(connections_.src[0]);
    src_in_backward_.append(connections_.src_in_backward[0]);
    to_.append(connections_.dst);
    positions_ = training ? static_cast<std::uint8_t*>(connections_.workspace.get_data_handle()) : nullptr;
    for (const dnnl::memory& addend : connections_.diff_dst) diff_dst_.emplace_back().append(addend);
    if (!diff_dst_.empty() && connections_.diff_src[0]) diff_src_.append(*connections_.diff_src[0]);
  }

  void forward(const PassOptions& pass) override {
    const auto pool = [&](std::int64_t block, std::int64_t picture) {
      norm_.kernels().normalise_pooled(src_.at(block, picture), norm_.channels(block), window_, to_.at(block, picture),
                                       positions_ != nullptr ? positions_ + dst_plane(block, picture) : nullptr);
    };
    norm_.forward(src_, context_.options.training, pass, pool);
  }

  void backward_data(const PassOptions& pass) override {
    const NormKernels<Element>& kernels = norm_.kernels();
    norm_.backward(
        pass,
        [&](std::int64_t block, std::int64_t picture) {
          kernels.backward_sums_pooled(backward_plane(block, picture), norm_.channels(block), window_,
                                       norm_.zeroed_sums(block, picture));
        },
        [&](std::int64_t block, std::int64_t picture) {
          if (diff_src_.is_empty()) return;
          kernels.backward_data_pooled(backward_plane(block, picture), norm_.channels(block), window_, norm_.offset(block),
                                       norm_.slope(block));
        });
  }

  void forward_without_pictures(const PassOptions& pass) override { norm_.forward_without_pictures(pass); }
  void backward_without_pictures(const PassOptions& pass) override { norm_.backward_without_pictures(pass); }

  std::string describe() const override { return "batch-norm + relu + max pooling nChw" + std::to_string(norm_.block()) + "c"; }

 private:
  std::int64_t dst_plane(std::int64_t block, std::int64_t picture) const {
    return norm_.plane(block, picture, window_.dst_height * window_.dst_width);
  }

  PooledPlane<Element> backward_plane(std::int64_t block, std::int64_t picture) const {
    return {.src = src_in_backward_.at(block, picture),
            .positions = positions_ + dst_plane(block, picture),
            .diff_dst = addends_at(diff_dst_, block, picture),
            .diff_src = diff_src_.is_empty() ? nullptr : diff_src_.at(block, picture)};
  }

  LayerContext context_;
  ChannelNorm<Element> norm_;
  PoolWindow window_{};
  Desc dst_;
  LayerConnections connections_;
  Planes<Element> src_, src_in_backward_, to_, diff_src_;
  std::vector<Planes<Element>> diff_dst_;
  std::uint8_t* positions_ = nullptr;
};

}  // namespace

std::unique_ptr<Layer> make_batch_norm_pool(const BatchNorm& spec, LayerContext context) {
  if (type_of(context.src.at(0)) == kBf16) return std::make_unique<BatchNormPoolLayer<BFloat16>>(spec, std::move(context));
  return std::make_unique<BatchNormPoolLayer<float>>(spec, std::move(context));
}

}  // namespace dtrain::nn
