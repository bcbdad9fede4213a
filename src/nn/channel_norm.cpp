// Statistics and parameters of a batch normalisation; see channel_norm.hpp.
#include "src/nn/channel_norm.hpp"

#include <algorithm>
#include <cmath>

#include "dtrain/error.hpp"

namespace dtrain::nn {

template <typename Element>
ChannelNorm<Element>::ChannelNorm(const BatchNorm& spec, const std::string& name, const Dims& src, int block, float ceiling)
    : spec_(spec), name_(name), block_(block), ceiling_(ceiling) {
  check(block_ != 0, "batch-norm: its src has channel blocks");
  check(ceiling_ > 0.0f, "batch-norm with ReLU: a ceiling above 0");
  batch_ = src[0], channels_ = src[1], pixels_ = src[2] * src[3];
  blocks_ = (channels_ + block_ - 1) / block_;
  kernels_ = &norm_kernels<Element>(static_cast<int>(block_));
  const auto padded = static_cast<std::size_t>(blocks_ * block_);
  for (auto* values : {&mean_, &scale_, &shift_, &offset_, &slope_, &inverse_deviation_}) values->assign(padded, 0.0f);
  origins_.resize(padded);
  shared_.resize(static_cast<std::size_t>(channels_));
  of_ranks_.resize(static_cast<std::size_t>(channels_) + 1);
}

template <typename Element>
std::vector<LayerParameter> ChannelNorm<Element>::parameters() const {
  using Kind = ParameterSpec::Kind;
  const Shape shape{channels_};
  std::vector<LayerParameter> all;  // see Note [Parameters are listed one by one]
  const auto add = [&](const char* suffix, Kind kind) {
    all.emplace_back().spec = {name_ + suffix, shape, kind};
    all.back().wish = plain_layout(shape);
  };
  add(".weight", Kind::norm_weight);
  add(".bias", Kind::norm_bias);
  add(".running_mean", Kind::running_mean);
  add(".running_var", Kind::running_var);
  return all;
}

template <typename Element>
void ChannelNorm<Element>::connect(ParameterStore& store) {
  const auto find = [&](const char* suffix) -> const Slot& {
    const Slot* slot = store.find(name_ + suffix);
    check(slot != nullptr, "batch-norm: its parameters are in the store");
    return *slot;
  };
  gamma_ = store.values(find(".weight"));
  beta_ = store.values(find(".bias"));
  running_mean_ = store.values(find(".running_mean"));
  running_var_ = store.values(find(".running_var"));
  diff_gamma_ = store.gradient(find(".weight"));
  diff_beta_ = store.gradient(find(".bias"));
}

template <typename Element>
void ChannelNorm<Element>::use_running_statistics() {
  for (std::int64_t c = 0; c < channels_; ++c) {
    set_channel(c, running_mean_[c], 1.0 / std::sqrt(static_cast<double>(running_var_[c]) + spec_.epsilon));
  }
}

template <typename Element>
void ChannelNorm<Element>::set_channel(std::int64_t channel, float mean, double inverse_deviation) {
  mean_[channel] = mean;
  inverse_deviation_[channel] = static_cast<float>(inverse_deviation);
  scale_[channel] = static_cast<float>(gamma_[channel] * inverse_deviation);
  shift_[channel] = static_cast<float>(beta_[channel] - static_cast<double>(mean) * gamma_[channel] * inverse_deviation);
}

template <typename Element>
NormSums ChannelNorm<Element>::zeroed_sums(std::int64_t block, std::int64_t picture) {
  const NormSums zeroed = sums(block, picture);
  std::fill_n(zeroed.sums, block_, 0.0);
  std::fill_n(zeroed.products, block_, 0.0);
  return zeroed;
}

// Note [Moments are taken around the first pixel]: Σ(x−o)² − (Σ(x−o))²/M cancels badly when |mean| ≫ σ; with o a sample
// of the channel, |mean − o| is of the order of σ.
template <typename Element>
void ChannelNorm<Element>::sum_moments(const Planes<Element>& src, std::int64_t block, std::int64_t picture,
                                       const Element* origin) {
  kernels_->moments(src.at(block, picture), pixels_, origin, zeroed_sums(block, picture));
}

template <typename Element>
auto ChannelNorm<Element>::channel_sums(std::int64_t channel) const -> ChannelSums {
  ChannelSums all;
  for (std::int64_t picture = 0; picture < batch_; ++picture) {
    const NormSums plane = sums(channel / block_, picture);
    all.sum += plane.sums[channel % block_];
    all.product += plane.products[channel % block_];
  }
  return all;
}

template <typename Element>
void ChannelNorm<Element>::set_statistics(std::int64_t channel, double origin, const ChannelSums& moments, double count,
                                          const PassOptions& pass) {
  const double mean = origin + moments.sum / count;
  const double variance = std::max(0.0, (moments.product - moments.sum * moments.sum / count) / count);
  set_channel(channel, static_cast<float>(mean), 1.0 / std::sqrt(variance + spec_.epsilon));

  // running ← (1−momentum)·running + momentum·Σ share·batch over the micro-batches of a step; unbiased variance, as
  // PyTorch.
  const double kept = pass.is_first_micro_batch ? 1.0 - spec_.momentum : 1.0;
  const double weight = static_cast<double>(spec_.momentum) * pass.statistics_share;
  if (count <= 1.0) {
    // One value has no variance: its share goes to what the running statistics are without it.
    const double others = 1.0 - spec_.momentum * (1.0 - static_cast<double>(pass.statistics_before));
    const double spread = others > 0.0 ? kept * (1.0 + weight / others) : 1.0;
    running_mean_[channel] = static_cast<float>(spread * running_mean_[channel]);
    running_var_[channel] = static_cast<float>(spread * running_var_[channel]);
    return;
  }
  const double unbiased = variance * count / (count - 1.0);
  running_mean_[channel] = static_cast<float>(kept * running_mean_[channel] + weight * mean);
  running_var_[channel] = static_cast<float>(kept * running_var_[channel] + weight * unbiased);
}

template <typename Element>
void ChannelNorm<Element>::set_parameter_gradients(std::int64_t channel, const ChannelSums& own, const PassOptions& pass) {
  const auto diff_gamma = static_cast<float>(own.product * static_cast<double>(inverse_deviation_[channel]));
  const auto diff_beta = static_cast<float>(own.sum);
  diff_gamma_[channel] = pass.is_first_micro_batch ? diff_gamma : diff_gamma_[channel] + diff_gamma;
  diff_beta_[channel] = pass.is_first_micro_batch ? diff_beta : diff_beta_[channel] + diff_beta;
}

template <typename Element>
void ChannelNorm<Element>::set_slopes(std::int64_t channel, const ChannelSums& all, double count) {
  const double inverse = inverse_deviation_[channel];
  offset_[channel] = static_cast<float>(scale_[channel] * all.sum / count);
  slope_[channel] = static_cast<float>(scale_[channel] * all.product * inverse * inverse / count);
}

// Padding: scale and shift stay 0, so the padding of dst does.
template <typename Element>
void ChannelNorm<Element>::finish_moments(const Planes<Element>& src, std::int64_t block, const PassOptions& pass) {
  const std::int64_t end = std::min((block + 1) * block_, channels_);
  for (std::int64_t channel = block * block_; channel < end; ++channel) {
    const double origin = to_float(src.at(block, 0)[channel % block_]);
    set_statistics(channel, origin, channel_sums(channel), pixel_count(), pass);
  }
}

template <typename Element>
void ChannelNorm<Element>::finish_gradients(std::int64_t block, const PassOptions& pass) {
  const std::int64_t end = std::min((block + 1) * block_, channels_);
  for (std::int64_t channel = block * block_; channel < end; ++channel) {
    const ChannelSums own = channel_sums(channel);
    set_slopes(channel, own, pixel_count());
    set_parameter_gradients(channel, own, pass);
  }
}

// Note [Ranks take their moments around one origin]: the first pixel of the first rank, as one rank with all pictures would.
// The sums of every plane then have the same bits wherever its picture is, only their doubles are added up in another order,
// and mean and σ in f32 are nearly always those of that one rank, bit by bit. Origins of their own would save a message, but
// move statistics by some 10⁻⁸: enough to turn the sign of an element in a million or so, with which its ReLU lets another
// gradient pass. Merging them would also subtract squares of means, whose cancellation this avoids.
template <typename Element>
void ChannelNorm<Element>::share_origins(const Planes<Element>& src, const StatisticsExchange& ranks) {
  for (std::int64_t channel = 0; channel < channels_; ++channel) {
    shared_[channel] = to_float(src.at(channel / block_, 0)[channel % block_]);
  }
  ranks.broadcast(shared_);
  // Those of bf16 are bf16 numbers. Those of the padding are 0, as it is.
  for (std::int64_t channel = 0; channel < channels_; ++channel) assign(origins_[channel], shared_[channel]);
}

template <typename Element>
void ChannelNorm<Element>::sum_moments_over_ranks(const PassOptions& pass) {
#pragma omp parallel for schedule(static)
  for (std::int64_t channel = 0; channel < channels_; ++channel) of_ranks_[channel] = channel_sums(channel);
  of_ranks_.back() = {.sum = pixel_count()};
  finish_moments_of_ranks(pass);
}

template <typename Element>
void ChannelNorm<Element>::forward_without_pictures(const PassOptions& pass) {
  pass.across_ranks->broadcast(shared_);
  of_ranks_.assign(of_ranks_.size(), {});
  finish_moments_of_ranks(pass);
}

template <typename Element>
void ChannelNorm<Element>::finish_moments_of_ranks(const PassOptions& pass) {
  pass.across_ranks->sum(message(channels_ + 1));
  const double count = of_ranks_.back().sum;
#pragma omp parallel for schedule(static)
  for (std::int64_t channel = 0; channel < channels_; ++channel) {
    set_statistics(channel, shared_[channel], of_ranks_[channel], count, pass);
  }
}

template <typename Element>
void ChannelNorm<Element>::sum_gradients_over_ranks(const PassOptions& pass) {
#pragma omp parallel for schedule(static)
  for (std::int64_t channel = 0; channel < channels_; ++channel) {
    of_ranks_[channel] = channel_sums(channel);
    set_parameter_gradients(channel, of_ranks_[channel], pass);
  }
  pass.across_ranks->sum(message(channels_));
  const double count = of_ranks_.back().sum;  // as forward found it
#pragma omp parallel for schedule(static)
  for (std::int64_t channel = 0; channel < channels_; ++channel) set_slopes(channel, of_ranks_[channel], count);
}

template <typename Element>
void ChannelNorm<Element>::backward_without_pictures(const PassOptions& pass) {
  std::fill_n(of_ranks_.begin(), channels_, ChannelSums{});
  pass.across_ranks->sum(message(channels_));
}

template class ChannelNorm<float>;
template class ChannelNorm<BFloat16>;

}  // namespace dtrain::nn
