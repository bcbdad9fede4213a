// What every batch normalisation shares: its parameters, its statistics over a batch, and how its blocks of channels are shared
// out among threads.
//
// Forward   y = γ(x − m)/σ + β, m and σ² the batch's mean and biased variance over pictures and pixels
// Backward  with d the gradient of y: diff_β = Σd; diff_γ = Σd(x−m)/σ; diff_x = γ/σ·(d − diff_β/M − (x−m)/σ·diff_γ/M)
// Source    Ioffe & Szegedy, ICML 2015
//
// Over all ranks (PassOptions::across_ranks) m, σ² and M are those of all ranks' pictures, and diff_x has the sums of all. The
// gradients of γ and β stay this rank's own: they are summed with all others.
#pragma once

#include <omp.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/nn/batch_norm_kernels.hpp"
#include "src/nn/layer.hpp"
#include "src/nn/planes.hpp"

namespace dtrain::nn {

/// A plane of every addend of a gradient: one to kMaxAddends.
template <typename Element>
Addends<Element> addends_at(const std::vector<Planes<Element>>& gradients, std::int64_t block, std::int64_t picture) {
  Addends<Element> addends{
      .first = gradients[0].at(block, picture), .more = {}, .more_count = static_cast<int>(gradients.size()) - 1};
  for (int k = 0; k < addends.more_count; ++k) addends.more[k] = gradients[static_cast<std::size_t>(k) + 1].at(block, picture);
  return addends;
}

/// Element: of activations and their gradients, float or BFloat16.
template <typename Element>
class ChannelNorm {
 public:
  /// src: shape (n, c, h, w) of what is normalised, in blocks of `block` channels. ceiling: of the ReLU behind.
  ChannelNorm(const BatchNorm& spec, const std::string& name, const Dims& src, int block, float ceiling = kNoCeiling);

  std::vector<LayerParameter> parameters() const;
  void connect(ParameterStore& store);
  /// Sums of every plane, needed from a reduction to what follows it.
  std::size_t scratch_bytes() const { return 2 * static_cast<std::size_t>(blocks_ * block_ * batch_) * sizeof(double); }
  void bind(const dnnl::memory& scratch) { sums_ = static_cast<double*>(scratch.get_data_handle()); }

  std::int64_t batch() const { return batch_; }
  std::int64_t blocks() const { return blocks_; }
  std::int64_t pixels() const { return pixels_; }
  std::int64_t block() const { return block_; }
  const NormKernels<Element>& kernels() const { return *kernels_; }
  /// Offset in elements of a plane of `pixels` pixels in a dense tensor with as many blocks: of a workspace.
  std::int64_t plane(std::int64_t block, std::int64_t picture, std::int64_t pixels) const {
    return (picture * blocks_ + block) * pixels * block_;
  }
  /// mean, γ/σ and β − mean·γ/σ of a block's channels, and the ceiling.
  NormChannels channels(std::int64_t block) const {
    return {mean_.data() + block * block_, scale_.data() + block * block_, shift_.data() + block * block_, ceiling_};
  }
  /// After finish_gradients: diff_x = scale·d − offset − slope·(x − mean).
  const float* offset(std::int64_t block) const { return offset_.data() + block * block_; }
  const float* slope(std::int64_t block) const { return slope_.data() + block * block_; }

  /// channels() from the batch in training, else from the running statistics; then apply(block, picture) for all planes.
  template <typename Apply>
  void forward(const Planes<Element>& src, bool training, const PassOptions& pass, Apply apply) {
    if (!training) {
      use_running_statistics();
      for_each_plane(apply);
      return;
    }
    if (pass.across_ranks != nullptr) {
      share_origins(src, *pass.across_ranks);
      for_each_plane([&](std::int64_t block, std::int64_t picture) {
        sum_moments(src, block, picture, origins_.data() + block * block_);
      });
      sum_moments_over_ranks(pass);
      for_each_plane(apply);
      return;
    }
    for_each_block([&](std::int64_t block, std::int64_t picture) { sum_moments(src, block, picture, src.at(block, 0)); },
                   [&](std::int64_t block) { finish_moments(src, block, pass); }, apply);
  }

  /// reduce(block, picture) adds Σd and Σd(x − mean) of a plane to its zeroed_sums; then diff_γ, diff_β, offset and slope; then
  /// apply(block, picture) for all planes.
  template <typename Reduce, typename Apply>
  void backward(const PassOptions& pass, Reduce reduce, Apply apply) {
    if (pass.across_ranks != nullptr) {
      for_each_plane(reduce);
      sum_gradients_over_ranks(pass);
      for_each_plane(apply);
      return;
    }
    for_each_block(
        reduce, [&](std::int64_t block) { finish_gradients(block, pass); }, apply);
  }
  /// Zeroed accumulators of one plane.
  NormSums zeroed_sums(std::int64_t block, std::int64_t picture);

  /// Takes part in the sums of ranks that have pictures, and moves the running statistics as they do.
  void forward_without_pictures(const PassOptions& pass);
  void backward_without_pictures(const PassOptions& pass);

  template <typename Apply>
  void for_each_plane(Apply apply) const {
#pragma omp parallel for collapse(2) schedule(static)
    for (std::int64_t picture = 0; picture < batch_; ++picture) {
      for (std::int64_t block = 0; block < blocks_; ++block) apply(block, picture);
    }
  }

 private:
  /// Evaluation: channels() from the running statistics.
  void use_running_statistics();
  /// Moments of one plane, then channels() and the running statistics from all planes of a block.
  void sum_moments(const Planes<Element>& src, std::int64_t block, std::int64_t picture, const Element* origin);
  void finish_moments(const Planes<Element>& src, std::int64_t block, const PassOptions& pass);
  void finish_gradients(std::int64_t block, const PassOptions& pass);

  /// The same from the planes of all ranks, whose sums of all channels travel together.
  void share_origins(const Planes<Element>& src, const StatisticsExchange& ranks);
  void sum_moments_over_ranks(const PassOptions& pass);
  void finish_moments_of_ranks(const PassOptions& pass);
  void sum_gradients_over_ranks(const PassOptions& pass);

  /// Runs reduce(block, picture) for all pictures, finish(block), then apply(block, picture) for all pictures. Blocks are
  /// independent, so a thread takes whole blocks and finds them in its cache the second time; where there are too few blocks
  /// for the threads, pictures are shared out too. Partial sums are per picture either way: same bits for any thread count.
  template <typename Reduce, typename Finish, typename Apply>
  void for_each_block(Reduce reduce, Finish finish, Apply apply) const {
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

  /// A channel's sums over the pixels of pictures: of d and d(x − mean), say.
  struct ChannelSums {
    double sum = 0.0, product = 0.0;
  };
  /// Of this rank's pictures.
  ChannelSums channel_sums(std::int64_t channel) const;
  void set_channel(std::int64_t channel, float mean, double inverse_deviation);
  /// moments: Σ(x − origin) and Σ(x − origin)² over `count` pixels.
  void set_statistics(std::int64_t channel, double origin, const ChannelSums& moments, double count, const PassOptions& pass);
  void set_parameter_gradients(std::int64_t channel, const ChannelSums& own, const PassOptions& pass);
  void set_slopes(std::int64_t channel, const ChannelSums& all, double count);

  NormSums sums(std::int64_t block, std::int64_t picture) const {
    double* at = sums_ + 2 * (block * batch_ + picture) * block_;
    return {at, at + block_};
  }
  double pixel_count() const { return static_cast<double>(batch_ * pixels_); }
  /// The first sums of of_ranks_ as what travels.
  std::span<double> message(std::int64_t sums) {
    static_assert(sizeof(ChannelSums) == 2 * sizeof(double));
    return {reinterpret_cast<double*>(of_ranks_.data()), 2 * static_cast<std::size_t>(sums)};
  }

  BatchNorm spec_;
  std::string name_;
  std::int64_t block_ = 16;
  float ceiling_ = kNoCeiling;
  std::int64_t batch_ = 0, channels_ = 0, pixels_ = 0, blocks_ = 0;
  const NormKernels<Element>* kernels_ = nullptr;
  std::span<float> gamma_, beta_, running_mean_, running_var_, diff_gamma_, diff_beta_;
  std::vector<float> mean_, scale_, shift_, inverse_deviation_;  // per padded channel
  std::vector<float> offset_, slope_;
  double* sums_ = nullptr;             // [block][picture][sum, product][lane]
  std::vector<Element> origins_;       // per padded channel: those of all ranks
  std::vector<float> shared_;          // per channel: the same on their way
  std::vector<ChannelSums> of_ranks_;  // per channel, then the number of pixels: over all ranks
};

}  // namespace dtrain::nn
