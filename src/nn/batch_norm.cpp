// Batch normalisation with the ReLU, and the residual sum and ReLU, behind it, in as few passes over memory as the mathematics
// allows: two reads and a write forward, two reads of two tensors and a write backward. Own kernels, because oneDNN's need a
// pass of their own for the residual sum, for the sum of gradients from several readers, and for storing the ReLU mask.
//
// Forward   y = relu(norm(x) + r)
// Backward  d = mask·(Σ diff_dst); diff_r = d; the rest as in channel_norm.hpp
#include "src/nn/channel_norm.hpp"

namespace dtrain::nn {
namespace {

class BatchNormLayer final : public Layer {
 public:
  BatchNormLayer(const BatchNorm& spec, LayerContext context)
      : context_(std::move(context)), norm_(spec, context_.name, context_.src.at(0)), has_residual_(context_.src.size() == 2) {}

  Desc dst_desc() const override { return context_.src[0]; }

  LayerNeeds needs() const override {
    LayerNeeds needs;
    needs.src_in_backward = {true};
    needs.dst_may_replace_src = {!context_.options.training};
    if (has_residual_) {
      needs.src_in_backward.push_back(false);
      needs.dst_may_replace_src.push_back(true);
      needs.residual_diff_is_diff_dst = true;
    }
    if (keeps_signs()) needs.workspace_bytes = context_.src[0].get_size() / sizeof(float) / 8;
    needs.diff_src_may_replace_diff_dst = !has_residual_;
    needs.diff_dst_addends = 2;
    return needs;
  }

  std::vector<LayerParameter> parameters() const override { return norm_.parameters(); }

  void connect(const LayerConnections& to, std::byte*) override {
    connections_ = to;
    norm_.connect(*to.parameters);
  }

  void bound() override {
    src_ = floats(connections_.src[0]);
    residual_ = has_residual_ ? floats(connections_.src[1]) : nullptr;
    dst_ = floats(connections_.dst);
    signs_ = keeps_signs() ? static_cast<std::uint8_t*>(connections_.workspace.get_data_handle()) : nullptr;
    if (connections_.diff_dst.empty()) return;
    diff_dst_ = floats(connections_.diff_dst[0]);
    diff_more_ = connections_.diff_dst.size() > 1 ? floats(connections_.diff_dst[1]) : nullptr;
    diff_src_ = connections_.diff_src[0] ? floats(*connections_.diff_src[0]) : nullptr;
  }

  void forward(const PassOptions& pass) override {
    const auto normalise = [&](std::int64_t block, std::int64_t picture) {
      const std::int64_t at = norm_.plane(block, picture);
      norm_.kernels().normalise(src_ + at, residual_ != nullptr ? residual_ + at : nullptr, norm_.channels(block),
                                context_.relu, dst_ + at, signs_at(at), norm_.pixels());
    };
    norm_.forward(src_, context_.options.training, pass, normalise);
  }

  void backward(const PassOptions& pass) override {
    const NormMask mask = !context_.relu ? NormMask::none : has_residual_ ? NormMask::kept : NormMask::recomputed;
    // The masked sum of gradients must be in memory: as the residual's gradient, or because two addends would be read twice.
    const bool keeps_masked = has_residual_ || diff_more_ != nullptr;
    const NormKernels& kernels = norm_.kernels();
    norm_.for_each_block(
        [&](std::int64_t block, std::int64_t picture) {
          kernels.backward_sums(backward_plane(block, picture), norm_.channels(block), mask, keeps_masked,
                                norm_.zeroed_sums(block, picture));
        },
        [&](std::int64_t block) { norm_.finish_gradients(block, pass); },
        [&](std::int64_t block, std::int64_t picture) {
          if (diff_src_ == nullptr) return;
          kernels.backward_data(backward_plane(block, picture), norm_.channels(block), keeps_masked ? NormMask::none : mask,
                                norm_.offset(block), norm_.slope(block));
        });
  }

  std::string describe() const override {
    return std::string("batch-norm") + (has_residual_ ? " + add" : "") + (context_.relu ? " + relu" : "") + " nChw" +
           std::to_string(norm_.block()) + "c";
  }

 private:
  /// The ReLU's mask of a residual sum is kept as bits, a 32nd of reading the result again; without residual it follows from
  /// src.
  bool keeps_signs() const { return context_.options.training && has_residual_ && context_.relu; }
  std::uint8_t* signs_at(std::int64_t element) const { return signs_ != nullptr ? signs_ + element / 8 : nullptr; }

  NormPlane backward_plane(std::int64_t block, std::int64_t picture) const {
    const std::int64_t at = norm_.plane(block, picture);
    return NormPlane{.src = src_ + at,
                     .kept_signs = signs_at(at),
                     .diff_dst = diff_dst_ + at,
                     .diff_more = diff_more_ != nullptr ? diff_more_ + at : nullptr,
                     .diff_src = diff_src_ != nullptr ? diff_src_ + at : nullptr,
                     .pixels = norm_.pixels()};
  }

  LayerContext context_;
  ChannelNorm norm_;
  bool has_residual_ = false;
  LayerConnections connections_;
  const float* src_ = nullptr;
  const float* residual_ = nullptr;
  float* dst_ = nullptr;
  std::uint8_t* signs_ = nullptr;
  float* diff_dst_ = nullptr;
  const float* diff_more_ = nullptr;
  float* diff_src_ = nullptr;
};

}  // namespace

std::unique_ptr<Layer> make_batch_norm(const BatchNorm& spec, LayerContext context) {
  return std::make_unique<BatchNormLayer>(spec, std::move(context));
}

}  // namespace dtrain::nn
