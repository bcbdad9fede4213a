// Batch normalisation with the ReLU, and the residual sum and ReLU, behind it, in as few passes over memory as the mathematics
// allows: two reads and a write forward, two reads of two tensors and a write backward. Own kernels, because oneDNN's need a
// pass of their own for the residual sum, for the sum of gradients from several readers, and for storing the ReLU mask.
//
// Forward   y = relu(norm(x) + r)
// Backward  d = mask·(Σ diff_dst); diff_r = d; the rest as in channel_norm.hpp
#include "src/nn/channel_norm.hpp"
#include "src/nn/rectify.hpp"

namespace dtrain::nn {
namespace {

/// Element: float or BFloat16.
template <typename Element>
class BatchNormLayer final : public Layer {
 public:
  BatchNormLayer(const BatchNorm& spec, LayerContext context)
      : context_(std::move(context)),
        dst_(channel_blocked_desc(context_.dst_shape, channel_block(context_.src.at(0)), type_of(context_.src[0]))),
        norm_(spec, context_.name, dims_of(dst_), channel_block(context_.src[0]), context_.ceiling),
        has_residual_(!context_.concatenates && context_.src.size() == 2) {
    check(!has_residual_ || context_.ceiling == kNoCeiling, "batch-norm with residual: a ReLU without ceiling");
  }

  Desc dst_desc() const override { return dst_; }

  LayerNeeds needs() const override {
    LayerNeeds needs;
    needs.src_in_backward.assign(context_.src.size(), true);
    needs.dst_may_replace_src.assign(context_.src.size(), !context_.options.training && !context_.concatenates);
    if (has_residual_) {
      needs.src_in_backward[1] = false;
      needs.dst_may_replace_src[1] = true;
      needs.residual_diff_is_diff_dst = true;
    }
    if (keeps_signs()) needs.workspace_bytes = dst_.get_size() / sizeof(Element) / 8;
    needs.diff_src_may_replace_diff_dst = !has_residual_ && !context_.concatenates;
    needs.diff_dst_addends = kMaxAddends;
    needs.scratch_bytes = norm_.scratch_bytes();
    needs.adds_to_diff_src = context_.concatenates;
    needs.can_recompute = true;
    needs.dst_may_be_slice = !has_residual_;
    return needs;
  }

  std::vector<LayerParameter> parameters() const override { return norm_.parameters(); }

  void connect(const LayerConnections& to) override {
    connections_ = to;
    norm_.connect(*to.parameters);
  }

  void bound() override {
    norm_.bind(connections_.scratch);
    src_ = residual_ = src_in_backward_ = residual_in_backward_ = dst_planes_ = recomputed_dst_ = diff_src_ = {};
    diff_dst_.clear();
    adds_to_diff_src_.clear();
    for (std::size_t k = 0; k < connections_.src.size(); ++k) {
      const bool is_residual = has_residual_ && k == 1;
      (is_residual ? residual_ : src_).append(connections_.src[k]);
      (is_residual ? residual_in_backward_ : src_in_backward_).append(connections_.src_in_backward[k]);
    }
    dst_planes_.append(connections_.dst);
    if (connections_.recomputed_dst) recomputed_dst_.append(connections_.recomputed_dst);
    signs_ = keeps_signs() ? static_cast<std::uint8_t*>(connections_.workspace.get_data_handle()) : nullptr;
    for (const dnnl::memory& addend : connections_.diff_dst) diff_dst_.emplace_back().append(addend);
    if (diff_dst_.empty()) return;
    for (std::size_t k = 0; k < (has_residual_ ? 1 : connections_.src.size()); ++k) {
      const auto& diff_src = connections_.diff_src[k];
      diff_src ? diff_src_.append(*diff_src) : diff_src_.append_absent(context_.src[k]);
      const auto blocks = static_cast<std::size_t>((dims_of(context_.src[k])[1] + norm_.block() - 1) / norm_.block());
      adds_to_diff_src_.insert(adds_to_diff_src_.end(), blocks, connections_.adds_to_diff_src[k]);
    }
  }

  void forward(const PassOptions& pass) override {
    const auto normalise = [&](std::int64_t block, std::int64_t picture) {
      norm_.kernels().normalise(src_.at(block, picture), has_residual_ ? residual_.at(block, picture) : nullptr,
                                norm_.channels(block), context_.relu, dst_planes_.at(block, picture), signs_at(block, picture),
                                norm_.pixels());
    };
    norm_.forward(src_, context_.options.training, pass, normalise);
  }

  void recompute() override {
    norm_.for_each_plane([&](std::int64_t block, std::int64_t picture) {
      norm_.kernels().normalise(src_in_backward_.at(block, picture),
                                has_residual_ ? residual_in_backward_.at(block, picture) : nullptr, norm_.channels(block),
                                context_.relu, recomputed_dst_.at(block, picture), nullptr, norm_.pixels());
    });
  }

  void backward_data(const PassOptions& pass) override {
    const NormMask mask = !context_.relu                   ? NormMask::none
                          : has_residual_                  ? NormMask::kept
                          : context_.ceiling == kNoCeiling ? NormMask::recomputed
                                                           : NormMask::clipped;
    // The masked sum of gradients must be in memory: as the residual's gradient, or because several addends would be read
    // twice.
    const bool keeps_masked = has_residual_ || diff_dst_.size() > 1;
    const NormKernels<Element>& kernels = norm_.kernels();
    norm_.backward(
        pass,
        [&](std::int64_t block, std::int64_t picture) {
          kernels.backward_sums(backward_plane(block, picture), norm_.channels(block), mask, keeps_masked,
                                norm_.zeroed_sums(block, picture));
        },
        [&](std::int64_t block, std::int64_t picture) {
          if (diff_src_.at(block, picture) == nullptr) return;
          kernels.backward_data(backward_plane(block, picture), norm_.channels(block), keeps_masked ? NormMask::none : mask,
                                norm_.offset(block), norm_.slope(block));
        });
  }

  void forward_without_pictures(const PassOptions& pass) override { norm_.forward_without_pictures(pass); }
  void backward_without_pictures(const PassOptions& pass) override { norm_.backward_without_pictures(pass); }

  std::string describe() const override {
    return std::string(context_.concatenates ? "concat + " : "") + "batch-norm" + (has_residual_ ? " + add" : "") +
           (context_.relu ? " + " + relu_in_words(context_.ceiling) : "") + " nChw" + std::to_string(norm_.block()) + "c";
  }

 private:
  /// The ReLU's mask of a residual sum is kept as bits, a 32nd of reading the result again; without residual it follows from
  /// src.
  bool keeps_signs() const { return context_.options.training && has_residual_ && context_.relu; }
  std::uint8_t* signs_at(std::int64_t block, std::int64_t picture) const {
    return signs_ != nullptr ? signs_ + norm_.plane(block, picture, norm_.pixels()) / 8 : nullptr;
  }

  NormPlane<Element> backward_plane(std::int64_t block, std::int64_t picture) const {
    return NormPlane<Element>{.src = src_in_backward_.at(block, picture),
                              .kept_signs = signs_at(block, picture),
                              .diff_dst = addends_at(diff_dst_, block, picture),
                              .diff_src = diff_src_.at(block, picture),
                              .adds_to_diff_src = adds_to_diff_src_[static_cast<std::size_t>(block)],
                              .pixels = norm_.pixels()};
  }

  LayerContext context_;
  Desc dst_;
  ChannelNorm<Element> norm_;
  bool has_residual_ = false;
  LayerConnections connections_;
  Planes<Element> src_, residual_, src_in_backward_, residual_in_backward_, dst_planes_, recomputed_dst_, diff_src_;
  std::vector<Planes<Element>> diff_dst_;
  std::vector<bool> adds_to_diff_src_;  // per block
  std::uint8_t* signs_ = nullptr;
};

}  // namespace

std::unique_ptr<Layer> make_batch_norm(const BatchNorm& spec, LayerContext context) {
  if (type_of(context.src.at(0)) == kBf16) return std::make_unique<BatchNormLayer<BFloat16>>(spec, std::move(context));
  return std::make_unique<BatchNormLayer<float>>(spec, std::move(context));
}

}  // namespace dtrain::nn
