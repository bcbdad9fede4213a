// Batch normalisation with the ReLU, and the residual sum and ReLU, behind it, in as few passes over memory as the mathematics
// allows: two reads and a write forward, two reads of two tensors and a write backward. Own kernels, because oneDNN's need a
// pass of their own for the residual sum, for the sum of gradients from several readers, and for storing the ReLU mask.
//
// Forward   y = relu(γ(x − m)/σ + β + r), m and σ² the batch's mean and biased variance
// Backward  d = mask·(Σ diff_dst); diff_r = d; diff_β = Σd; diff_γ = Σd(x−m)/σ;
//           diff_x = γ/σ·(d − diff_β/M − (x−m)/σ·diff_γ/M)
// Source    Ioffe & Szegedy, ICML 2015
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "dtrain/error.hpp"
#include "src/nn/batch_norm_kernels.hpp"
#include "src/nn/layer.hpp"

namespace dtrain::nn {
namespace {

class BatchNormLayer final : public Layer {
 public:
  BatchNormLayer(const BatchNorm& spec, LayerContext context)
      : context_(std::move(context)), spec_(spec), block_(channel_block(context_.src.at(0))) {
    check(block_ != 0, "batch-norm: its src has channel blocks");
    const Dims dims = context_.src[0].dims();
    batch_ = dims[0], channels_ = dims[1], pixels_ = dims[2] * dims[3];
    blocks_ = (channels_ + block_ - 1) / block_;
    has_residual_ = context_.src.size() == 2;
    kernels_ = &norm_kernels(static_cast<int>(block_));
    const auto padded = static_cast<std::size_t>(blocks_ * block_);
    for (auto* values : {&mean_, &scale_, &shift_, &offset_, &slope_, &inverse_deviation_}) values->assign(padded, 0.0f);
    sums_.assign(padded * static_cast<std::size_t>(batch_), 0.0);
    squares_ = sums_;
  }

  Desc dst_desc() const override { return context_.src[0]; }

  LayerNeeds needs() const override {
    LayerNeeds needs;
    const bool training = context_.options.training;
    needs.src_in_backward = {true};
    needs.dst_may_replace_src = {!training};
    if (has_residual_) {
      needs.src_in_backward.push_back(false);
      needs.dst_may_replace_src.push_back(true);
      needs.dst_in_backward = context_.relu;
      needs.residual_diff_is_diff_dst = true;
    }
    needs.diff_src_may_replace_diff_dst = !has_residual_;
    needs.diff_dst_addends = 2;
    return needs;
  }

  std::vector<LayerParameter> parameters() const override {
    using Kind = ParameterSpec::Kind;
    const Shape shape{channels_};
    const auto entry = [&](const char* suffix, Kind kind) {
      return LayerParameter{{context_.name + suffix, shape, kind}, plain_layout(shape)};
    };
    return {entry(".weight", Kind::norm_weight), entry(".bias", Kind::norm_bias), entry(".running_mean", Kind::running_mean),
            entry(".running_var", Kind::running_var)};
  }

  void connect(const LayerConnections& to, std::byte*) override {
    connections_ = to;
    const auto find = [&](const char* suffix) -> const Slot& {
      const Slot* slot = to.parameters->find(context_.name + suffix);
      check(slot != nullptr, "batch-norm: its parameters are in the store");
      return *slot;
    };
    gamma_ = to.parameters->values(find(".weight"));
    beta_ = to.parameters->values(find(".bias"));
    running_mean_ = to.parameters->values(find(".running_mean"));
    running_var_ = to.parameters->values(find(".running_var"));
    diff_gamma_ = to.parameters->gradient(find(".weight"));
    diff_beta_ = to.parameters->gradient(find(".bias"));
  }

  void bound() override {
    src_ = floats(connections_.src[0]);
    residual_ = has_residual_ ? floats(connections_.src[1]) : nullptr;
    dst_ = floats(connections_.dst);
    if (connections_.diff_dst.empty()) return;
    diff_dst_ = floats(connections_.diff_dst[0]);
    diff_more_ = connections_.diff_dst.size() > 1 ? floats(connections_.diff_dst[1]) : nullptr;
    diff_src_ = connections_.diff_src[0] ? floats(*connections_.diff_src[0]) : nullptr;
  }

  void forward(const PassOptions& pass) override {
    if (!context_.options.training) {
      for (std::int64_t c = 0; c < channels_; ++c) {
        set_channel(c, running_mean_[c], 1.0 / std::sqrt(static_cast<double>(running_var_[c]) + spec_.epsilon));
      }
      for_each_plane([&](std::int64_t block, std::int64_t picture) { normalise(block, picture); });
      return;
    }
    for_each_block([&](std::int64_t block, std::int64_t picture) { sum_moments(block, picture); },
                   [&](std::int64_t block) { finish_moments(block, pass); },
                   [&](std::int64_t block, std::int64_t picture) { normalise(block, picture); });
  }

  void backward(const PassOptions& pass) override {
    for_each_block([&](std::int64_t block, std::int64_t picture) { sum_gradients(block, picture); },
                   [&](std::int64_t block) { finish_gradients(block, pass); },
                   [&](std::int64_t block, std::int64_t picture) {
                     if (diff_src_ != nullptr) write_diff_src(block, picture);
                   });
  }

  std::string describe() const override {
    return std::string("batch-norm") + (has_residual_ ? " + add" : "") + (context_.relu ? " + relu" : "") + " nChw" +
           std::to_string(block_) + "c";
  }

 private:
  std::int64_t plane(std::int64_t block, std::int64_t picture) const { return (picture * blocks_ + block) * pixels_ * block_; }
  double* sums(std::int64_t block, std::int64_t picture) { return sums_.data() + (block * batch_ + picture) * block_; }
  double* squares(std::int64_t block, std::int64_t picture) { return squares_.data() + (block * batch_ + picture) * block_; }
  NormChannels channels(std::int64_t block) const {
    return {mean_.data() + block * block_, scale_.data() + block * block_, shift_.data() + block * block_};
  }
  NormMask mask() const {
    if (!context_.relu) return NormMask::none;
    return has_residual_ ? NormMask::from_dst : NormMask::recomputed;
  }
  /// The masked sum of gradients must be in memory: as the residual's gradient, or because two addends would be read twice.
  bool keeps_masked() const { return has_residual_ || diff_more_ != nullptr; }

  /// Runs reduce(block, picture) for all pictures, finish(block), then apply(block, picture) for all pictures. Blocks are
  /// independent, so a thread takes whole blocks and finds them in its cache the second time; where there are too few blocks
  /// for the threads, pictures are shared out too. Partial sums are per picture either way: same bits for any thread count.
  template <typename Reduce, typename Finish, typename Apply>
  void for_each_block(Reduce reduce, Finish finish, Apply apply) {
    const int threads = omp_get_max_threads();
    if (blocks_ % threads == 0 || blocks_ >= 4 * threads) {
#pragma omp parallel for schedule(static)
      for (std::int64_t block = 0; block < blocks_; ++block) {
        for (std::int64_t picture = 0; picture < batch_; ++picture) reduce(block, picture);
        finish(block);
        for (std::int64_t picture = batch_ - 1; picture >= 0; --picture) apply(block, picture);
      }
      return;
    }
    for_each_plane(reduce);
#pragma omp parallel for schedule(static)
    for (std::int64_t block = 0; block < blocks_; ++block) finish(block);
    for_each_plane(apply);
  }

  template <typename Apply>
  void for_each_plane(Apply apply) {
#pragma omp parallel for collapse(2) schedule(static)
    for (std::int64_t picture = 0; picture < batch_; ++picture) {
      for (std::int64_t block = 0; block < blocks_; ++block) apply(block, picture);
    }
  }

  void set_channel(std::int64_t channel, float mean, double inverse_deviation) {
    mean_[channel] = mean;
    inverse_deviation_[channel] = static_cast<float>(inverse_deviation);
    scale_[channel] = static_cast<float>(gamma_[channel] * inverse_deviation);
    shift_[channel] = static_cast<float>(beta_[channel] - static_cast<double>(mean) * gamma_[channel] * inverse_deviation);
  }

  // Note [Moments are taken around the first pixel]: Σ(x−o)² − (Σ(x−o))²/M cancels badly when |mean| ≫ σ; with o a sample
  // of the channel, |mean − o| is of the order of σ.
  void sum_moments(std::int64_t block, std::int64_t picture) {
    std::fill_n(sums(block, picture), block_, 0.0);
    std::fill_n(squares(block, picture), block_, 0.0);
    kernels_->moments(src_ + plane(block, picture), pixels_, src_ + plane(block, 0), sums(block, picture),
                      squares(block, picture));
  }

  void finish_moments(std::int64_t block, const PassOptions& pass) {
    const auto count = static_cast<double>(batch_ * pixels_);
    for (std::int64_t lane = 0; lane < block_; ++lane) {
      const std::int64_t channel = block * block_ + lane;
      if (channel >= channels_) continue;  // padding: scale and shift stay 0, so the padding of dst does
      double sum = 0.0;
      double square = 0.0;
      for (std::int64_t picture = 0; picture < batch_; ++picture) {
        sum += sums(block, picture)[lane];
        square += squares(block, picture)[lane];
      }
      const double mean = static_cast<double>(src_[plane(block, 0) + lane]) + sum / count;
      const double variance = std::max(0.0, (square - sum * sum / count) / count);
      set_channel(channel, static_cast<float>(mean), 1.0 / std::sqrt(variance + spec_.epsilon));

      // running ← (1−momentum)·running + momentum·Σ share·batch over the micro-batches of a step; unbiased variance, as
      // PyTorch.
      const double kept = pass.is_first_micro_batch ? 1.0 - spec_.momentum : 1.0;
      const double weight = static_cast<double>(spec_.momentum) * pass.statistics_share;
      const double unbiased = count > 1.0 ? variance * count / (count - 1.0) : variance;
      running_mean_[channel] = static_cast<float>(kept * running_mean_[channel] + weight * mean);
      running_var_[channel] = static_cast<float>(kept * running_var_[channel] + weight * unbiased);
    }
  }

  void normalise(std::int64_t block, std::int64_t picture) {
    const std::int64_t at = plane(block, picture);
    kernels_->normalise(src_ + at, residual_ != nullptr ? residual_ + at : nullptr, channels(block), context_.relu, dst_ + at,
                        pixels_);
  }

  NormPlane backward_plane(std::int64_t block, std::int64_t picture) const {
    const std::int64_t at = plane(block, picture);
    return NormPlane{.src = src_ + at,
                     .dst = dst_ + at,
                     .diff_dst = diff_dst_ + at,
                     .diff_more = diff_more_ != nullptr ? diff_more_ + at : nullptr,
                     .diff_src = diff_src_ != nullptr ? diff_src_ + at : nullptr,
                     .pixels = pixels_};
  }

  void sum_gradients(std::int64_t block, std::int64_t picture) {
    std::fill_n(sums(block, picture), block_, 0.0);
    std::fill_n(squares(block, picture), block_, 0.0);
    kernels_->backward_sums(backward_plane(block, picture), channels(block), mask(), keeps_masked(), sums(block, picture),
                            squares(block, picture));
  }

  void finish_gradients(std::int64_t block, const PassOptions& pass) {
    const auto count = static_cast<double>(batch_ * pixels_);
    for (std::int64_t lane = 0; lane < block_; ++lane) {
      const std::int64_t channel = block * block_ + lane;
      if (channel >= channels_) continue;
      double sum = 0.0;
      double product = 0.0;
      for (std::int64_t picture = 0; picture < batch_; ++picture) {
        sum += sums(block, picture)[lane];
        product += squares(block, picture)[lane];
      }
      const double inverse = inverse_deviation_[channel];
      offset_[channel] = static_cast<float>(scale_[channel] * sum / count);
      slope_[channel] = static_cast<float>(scale_[channel] * product * inverse * inverse / count);
      const auto diff_gamma = static_cast<float>(product * inverse);
      const auto diff_beta = static_cast<float>(sum);
      diff_gamma_[channel] = pass.is_first_micro_batch ? diff_gamma : diff_gamma_[channel] + diff_gamma;
      diff_beta_[channel] = pass.is_first_micro_batch ? diff_beta : diff_beta_[channel] + diff_beta;
    }
  }

  void write_diff_src(std::int64_t block, std::int64_t picture) {
    kernels_->backward_data(backward_plane(block, picture), channels(block), keeps_masked() ? NormMask::none : mask(),
                            offset_.data() + block * block_, slope_.data() + block * block_);
  }

  LayerContext context_;
  BatchNorm spec_;
  std::int64_t block_ = 16;
  std::int64_t batch_ = 0, channels_ = 0, pixels_ = 0, blocks_ = 0;
  bool has_residual_ = false;
  const NormKernels* kernels_ = nullptr;
  LayerConnections connections_;
  std::span<float> gamma_, beta_, running_mean_, running_var_, diff_gamma_, diff_beta_;
  std::vector<float> mean_, scale_, shift_, inverse_deviation_;  // per padded channel
  std::vector<float> offset_, slope_;
  std::vector<double> sums_, squares_;  // [block][picture][lane]
  const float* src_ = nullptr;
  const float* residual_ = nullptr;
  float* dst_ = nullptr;
  float* diff_dst_ = nullptr;
  const float* diff_more_ = nullptr;
  float* diff_src_ = nullptr;
};

}  // namespace

std::unique_ptr<Layer> make_batch_norm(const BatchNorm& spec, LayerContext context) {
  return std::make_unique<BatchNormLayer>(spec, std::move(context));
}

}  // namespace dtrain::nn
