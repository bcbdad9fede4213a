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

class BatchNormPoolLayer final : public Layer {
 public:
  BatchNormPoolLayer(const BatchNorm& spec, LayerContext context)
      : context_(std::move(context)), norm_(spec, context_.name, context_.src.at(0)) {
    const Pool& pool = *context_.pool;
    const Dims src = context_.src[0].dims();
    const Shape& dst = context_.dst_shape;
    check(pool.kernel * pool.kernel < kNoMaximum, "batch-norm with pooling: a window's positions fit a byte");
    window_ = {.src_height = src[2],
               .src_width = src[3],
               .dst_height = dst[2],
               .dst_width = dst[3],
               .kernel = pool.kernel,
               .stride = pool.stride,
               .padding = pool.padding};
    dst_ = channel_blocked_desc(Dims(dst.begin(), dst.end()), static_cast<int>(norm_.block()));
  }

  Desc dst_desc() const override { return dst_; }

  LayerNeeds needs() const override {
    LayerNeeds needs;
    needs.src_in_backward = {true};
    needs.dst_may_replace_src = {false};
    needs.diff_dst_addends = 2;
    if (context_.options.training) needs.workspace_bytes = dst_.get_size() / sizeof(float);
    return needs;
  }

  std::vector<LayerParameter> parameters() const override { return norm_.parameters(); }

  void connect(const LayerConnections& to, std::byte*) override {
    connections_ = to;
    norm_.connect(*to.parameters);
  }

  void bound() override {
    const bool training = context_.options.training;
    src_ = floats(connections_.src[0]);
    to_ = floats(connections_.dst);
    positions_ = training ? static_cast<std::uint8_t*>(connections_.workspace.get_data_handle()) : nullptr;
    if (connections_.diff_dst.empty()) return;
    diff_dst_ = floats(connections_.diff_dst[0]);
    diff_more_ = connections_.diff_dst.size() > 1 ? floats(connections_.diff_dst[1]) : nullptr;
    diff_src_ = connections_.diff_src[0] ? floats(*connections_.diff_src[0]) : nullptr;
  }

  void forward(const PassOptions& pass) override {
    const auto pool = [&](std::int64_t block, std::int64_t picture) {
      const std::int64_t at = dst_plane(block, picture);
      norm_.kernels().normalise_pooled(src_ + norm_.plane(block, picture), norm_.channels(block), window_, to_ + at,
                                       positions_ != nullptr ? positions_ + at : nullptr);
    };
    norm_.forward(src_, context_.options.training, pass, pool);
  }

  void backward(const PassOptions& pass) override {
    const NormKernels& kernels = norm_.kernels();
    norm_.for_each_block(
        [&](std::int64_t block, std::int64_t picture) {
          kernels.backward_sums_pooled(backward_plane(block, picture), norm_.channels(block), window_,
                                       norm_.zeroed_sums(block, picture));
        },
        [&](std::int64_t block) { norm_.finish_gradients(block, pass); },
        [&](std::int64_t block, std::int64_t picture) {
          if (diff_src_ == nullptr) return;
          kernels.backward_data_pooled(backward_plane(block, picture), norm_.channels(block), window_, norm_.offset(block),
                                       norm_.slope(block));
        });
  }

  std::string describe() const override { return "batch-norm + relu + max pooling nChw" + std::to_string(norm_.block()) + "c"; }

 private:
  std::int64_t dst_plane(std::int64_t block, std::int64_t picture) const {
    return norm_.plane(block, picture, window_.dst_height * window_.dst_width);
  }

  PooledPlane backward_plane(std::int64_t block, std::int64_t picture) const {
    const std::int64_t src_at = norm_.plane(block, picture);
    const std::int64_t dst_at = dst_plane(block, picture);
    return {.src = src_ + src_at,
            .positions = positions_ + dst_at,
            .diff_dst = diff_dst_ + dst_at,
            .diff_more = diff_more_ != nullptr ? diff_more_ + dst_at : nullptr,
            .diff_src = diff_src_ != nullptr ? diff_src_ + src_at : nullptr};
  }

  LayerContext context_;
  ChannelNorm norm_;
  PoolWindow window_{};
  Desc dst_;
  LayerConnections connections_;
  const float* src_ = nullptr;
  float* to_ = nullptr;
  std::uint8_t* positions_ = nullptr;
  float* diff_dst_ = nullptr;
  const float* diff_more_ = nullptr;
  float* diff_src_ = nullptr;
};

}  // namespace

std::unique_ptr<Layer> make_batch_norm_pool(const BatchNorm& spec, LayerContext context) {
  return std::make_unique<BatchNormPoolLayer>(spec, std::move(context));
}

}  // namespace dtrain::nn
