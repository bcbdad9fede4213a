// Average pooling to a given number of pixels. An own kernel, because windows of unequal size are not oneDNN's, and because it
// is bound by memory: forward reads its input once, backward writes it once.
#include <algorithm>
#include <array>

#include "src/nn/layer.hpp"
#include "src/nn/planes.hpp"

namespace dtrain::nn {
namespace {

constexpr std::size_t kMaxBlock = 16;

/// Element: float or BFloat16.
template <typename Element>
class AdaptivePoolLayer final : public Layer {
 public:
  AdaptivePoolLayer(const AdaptiveAveragePool& spec, LayerContext context)
      : context_(std::move(context)), side_(spec.side), block_(channel_block(context_.src.at(0))) {
    const Dims src = dims_of(context_.src[0]);
    batch_ = src[0], blocks_ = (src[1] + block_ - 1) / block_, height_ = src[2], width_ = src[3];
    dst_ = channel_blocked_desc(context_.dst_shape, static_cast<int>(block_), type_of(context_.src[0]));
  }

  Desc dst_desc() const override { return dst_; }
  LayerNeeds needs() const override {
    return {.src_in_backward = {false}, .dst_may_replace_src = {is_identity()}, .diff_src_may_replace_diff_dst = is_identity()};
  }
  void connect(const LayerConnections& to) override { to_ = to; }
  void bound() override {
    src_ = dst_planes_ = diff_src_ = diff_dst_ = {};
    src_.append(to_.src[0]);
    dst_planes_.append(to_.dst);
    if (to_.diff_dst.empty() || !to_.diff_src[0]) return;
    diff_dst_.append(to_.diff_dst[0]);
    diff_src_.append(*to_.diff_src[0]);
  }

  void forward(const PassOptions&) override {
    for_each_plane([&](std::int64_t block, std::int64_t picture) {
      const Element* src = src_.at(block, picture);
      Element* dst = dst_planes_.at(block, picture);
      if (is_identity()) {
        if (src != dst) std::copy_n(src, height_ * width_ * block_, dst);
        return;
      }
      for_each_window([&](const Window& window, std::int64_t pixel) {
        std::array<float, kMaxBlock> sum{};
        for_each_pixel(window, [&](std::int64_t at) {
#pragma omp simd
          for (std::int64_t c = 0; c < block_; ++c) sum[c] += to_float(src[at + c]);
        });
        for (std::int64_t c = 0; c < block_; ++c) assign(dst[pixel * block_ + c], sum[c] * window.share());
      });
    });
  }

  void backward_data(const PassOptions&) override {
    if (diff_src_.is_empty()) return;
    for_each_plane([&](std::int64_t block, std::int64_t picture) {
      const Element* diff_dst = diff_dst_.at(block, picture);
      Element* diff_src = diff_src_.at(block, picture);
      if (is_identity()) {
        if (diff_src != diff_dst) std::copy_n(diff_dst, height_ * width_ * block_, diff_src);
        return;
      }
      std::fill_n(diff_src, height_ * width_ * block_, Element{});
      for_each_window([&](const Window& window, std::int64_t pixel) {
        const Element* diff = diff_dst + pixel * block_;
        const float share = window.share();
        for_each_pixel(window, [&](std::int64_t at) {
#pragma omp simd
          for (std::int64_t c = 0; c < block_; ++c) {
            assign(diff_src[at + c], to_float(diff_src[at + c]) + to_float(diff[c]) * share);
          }
        });
      });
    });
  }

  std::string describe() const override { return "adaptive average pooling nChw" + std::to_string(block_) + "c"; }

 private:
  struct Window {
    std::int64_t top, bottom, left, right;
    float share() const { return 1.0f / static_cast<float>((bottom - top) * (right - left)); }
  };

  bool is_identity() const { return height_ == side_ && width_ == side_; }

  template <typename Work>
  void for_each_plane(Work work) const {
#pragma omp parallel for collapse(2) schedule(static)
    for (std::int64_t picture = 0; picture < batch_; ++picture) {
      for (std::int64_t block = 0; block < blocks_; ++block) work(block, picture);
    }
  }
  template <typename Work>
  void for_each_window(Work work) const {
    for (std::int64_t row = 0; row < side_; ++row) {
      for (std::int64_t column = 0; column < side_; ++column) {
        work(Window{.top = row * height_ / side_,
                    .bottom = ((row + 1) * height_ + side_ - 1) / side_,
                    .left = column * width_ / side_,
                    .right = ((column + 1) * width_ + side_ - 1) / side_},
             row * side_ + column);
      }
    }
  }
  template <typename Work>
  void for_each_pixel(const Window& window, Work work) const {
    for (std::int64_t h = window.top; h < window.bottom; ++h) {
      for (std::int64_t w = window.left; w < window.right; ++w) work((h * width_ + w) * block_);
    }
  }

  LayerContext context_;
  std::int64_t side_, block_;
  std::int64_t batch_ = 0, blocks_ = 0, height_ = 0, width_ = 0;
  Desc dst_;
  LayerConnections to_;
  Planes<Element> src_, dst_planes_, diff_src_, diff_dst_;
};

}  // namespace

std::unique_ptr<Layer> make_adaptive_pool(const AdaptiveAveragePool& spec, LayerContext context) {
  if (type_of(context.src.at(0)) == kBf16) return std::make_unique<AdaptivePoolLayer<BFloat16>>(spec, std::move(context));
  return std::make_unique<AdaptivePoolLayer<float>>(spec, std::move(context));
}

}  // namespace dtrain::nn
