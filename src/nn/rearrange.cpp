// Layers that only move elements, or not even that: Reorder between layouts (put in by the graph where neighbours disagree),
// Flatten, Concat with the copy of an input that cannot be written in its place, and the parameter-free shortcut of CIFAR
// residual networks.
#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "dtrain/error.hpp"
#include "src/nn/layer.hpp"
#include "src/nn/rectify.hpp"

namespace dtrain::nn {
namespace {

/// Copies between two memories of equal element order by oneDNN's reorder; nothing where both are the same place.
class Move {
 public:
  Move() = default;
  Move(const dnnl::memory& from, const Desc& from_desc, const dnnl::memory& to, const Desc& to_desc, const Device& device)
      : from_base_(from), to_base_(to), from_(unbound(from_desc, device)), to_(unbound(to_desc, device)) {
    is_same_layout_ = from_desc == to_desc;
    const dnnl::reorder::primitive_desc desc(device.engine, from_desc, device.engine, to_desc);
    reorder_ = PrimitiveCall(dnnl::reorder(desc), {{DNNL_ARG_FROM, from_}, {DNNL_ARG_TO, to_}});
  }
  void run(const dnnl::stream& stream) const {
    from_.set_data_handle(from_base_.get_data_handle());  // pictures move from batch to batch
    to_.set_data_handle(to_base_.get_data_handle());
    if (is_same_layout_ && from_.get_data_handle() == to_.get_data_handle()) return;
    reorder_.run(stream);
  }

 private:
  dnnl::memory from_base_, to_base_, from_, to_;
  bool is_same_layout_ = false;
  PrimitiveCall reorder_;
};

/// Reorder and Flatten: dst holds the elements of src in the same logical order, in another layout.
class MoveLayer final : public Layer {
 public:
  /// dst_as_src: layout of dst seen with the dimensions of src.
  MoveLayer(LayerContext context, const Desc& dst, const Desc& dst_as_src, const char* kind)
      : context_(std::move(context)), dst_(dst), dst_as_src_(dst_as_src), kind_(kind) {
    // With one pixel, channels in blocks lie as channels in a row do.
    const Dims dims = dims_of(context_.src.at(0));
    src_as_src_ = context_.src[0];
    const int block = channel_block(src_as_src_);
    if (block != 0 && dims[2] * dims[3] == 1 && dims[1] % block == 0) src_as_src_ = plain_desc(dims, type_of(src_as_src_));
  }

  Desc dst_desc() const override { return dst_; }
  LayerNeeds needs() const override {
    const bool is_same = src_as_src_ == dst_as_src_;
    return {.src_in_backward = {false}, .dst_may_replace_src = {is_same}, .diff_src_may_replace_diff_dst = is_same};
  }
  void connect(const LayerConnections& to) override {
    forward_ = Move(to.src[0], src_as_src_, to.dst, dst_as_src_, context_.device);
    if (!to.diff_dst.empty() && to.diff_src[0]) {
      backward_ = Move(to.diff_dst[0], dst_as_src_, *to.diff_src[0], src_as_src_, context_.device);
    }
  }
  void forward(const PassOptions&) override { forward_.run(context_.device.stream); }
  void backward_data(const PassOptions&) override {
    if (backward_) backward_->run(context_.device.stream);
  }
  std::string describe() const override { return kind_; }

 private:
  LayerContext context_;
  Desc dst_, dst_as_src_, src_as_src_;
  const char* kind_;
  Move forward_;
  std::optional<Move> backward_;
};

/// Its inputs stand in its result already, side by side, and so do their gradients (program.hpp, parts).
class ConcatLayer final : public Layer {
 public:
  explicit ConcatLayer(LayerContext context) : context_(std::move(context)) {
    const int block = channel_block(context_.src.at(0));
    const Dims dims = context_.dst_shape;
    const DataType type = type_of(context_.src[0]);
    dst_ = block != 0 ? channel_blocked_desc(dims, block, type) : plain_desc(dims, type);
  }

  Desc dst_desc() const override { return dst_; }
  LayerNeeds needs() const override {
    LayerNeeds needs;
    needs.src_in_backward.assign(context_.src.size(), false);
    needs.dst_may_replace_src.assign(context_.src.size(), false);
    needs.diff_dst_addends = std::numeric_limits<int>::max();  // those who made the inputs add them up
    return needs;
  }
  void connect(const LayerConnections&) override {}
  void forward(const PassOptions&) override {}
  void backward_data(const PassOptions&) override {}
  std::string describe() const override { return "concat of " + std::to_string(context_.src.size()) + " in place"; }

 private:
  LayerContext context_;
  Desc dst_;
};

class SliceCopyLayer final : public Layer {
 public:
  explicit SliceCopyLayer(LayerContext context) : context_(std::move(context)) {}

  Desc dst_desc() const override { return context_.src.at(0); }
  LayerNeeds needs() const override {
    return {
        .src_in_backward = {false}, .dst_may_replace_src = {false}, .diff_dst_addends = kMaxAddends, .dst_may_be_slice = true};
  }
  void connect(const LayerConnections& to) override { to_ = to; }
  void bound() override {
    src_ = Runs(to_.src[0]);
    dst_ = Runs(to_.dst);
    diff_dst_.clear();
    for (const dnnl::memory& addend : to_.diff_dst) diff_dst_.emplace_back(addend);
    if (!to_.diff_dst.empty() && to_.diff_src[0]) diff_src_ = Runs(*to_.diff_src[0]);
  }
  void forward(const PassOptions&) override { copy(src_.moved_to(to_.src[0]), dst_); }
  void backward_data(const PassOptions&) override {
    if (!to_.diff_src[0]) return;
    copy(diff_dst_[0], diff_src_);
    for (std::size_t k = 1; k < diff_dst_.size(); ++k) add(diff_src_, diff_dst_[k], diff_src_);
  }
  std::string describe() const override { return "copy into a slice"; }

 private:
  LayerContext context_;
  LayerConnections to_;
  Runs src_, dst_, diff_src_;
  std::vector<Runs> diff_dst_;
};

/// Element: float or BFloat16.
template <typename Element>
class PadShortcutLayer final : public Layer {
 public:
  PadShortcutLayer(const PadShortcut& spec, LayerContext context) : context_(std::move(context)) {
    src_dims_ = dims_of(context_.src.at(0));
    front_ = (spec.out_channels - src_dims_[1]) / 2;
    dst_ = channel_blocked_desc(context_.dst_shape, channel_block(context_.src[0]), type_of(context_.src[0]));
    dst_dims_ = dims_of(dst_);
    src_layout_ = layout_of(context_.src[0]);
    dst_layout_ = layout_of(dst_);
  }

  Desc dst_desc() const override { return dst_; }
  LayerNeeds needs() const override { return {.src_in_backward = {false}, .dst_may_replace_src = {false}}; }
  void connect(const LayerConnections& to) override { to_ = to; }
  void forward(const PassOptions&) override {
    auto* dst = static_cast<Element*>(to_.dst.get_data_handle());
    const auto* src = static_cast<const Element*>(to_.src[0].get_data_handle());
    std::memset(dst, 0, dst_.get_size());
    for_each_pair([&](std::int64_t from, std::int64_t to) { dst[to] = src[from]; });
  }
  void backward_data(const PassOptions&) override {
    if (!to_.diff_src[0]) return;
    auto* diff_src = static_cast<Element*>(to_.diff_src[0]->get_data_handle());
    const auto* diff_dst = static_cast<const Element*>(to_.diff_dst[0].get_data_handle());
    std::memset(diff_src, 0, context_.src[0].get_size());
    for_each_pair([&](std::int64_t from, std::int64_t to) { diff_src[from] = diff_dst[to]; });
  }
  std::string describe() const override { return "pad shortcut"; }

 private:
  /// Offsets of every src element that is kept and of its place in dst.
  template <typename Apply>
  void for_each_pair(Apply apply) const {
    const Dims& src = src_dims_;
    const Dims& dst = dst_dims_;
    const auto& s = src_layout_.offsets;
    const auto& d = dst_layout_.offsets;
#pragma omp parallel for schedule(static)
    for (std::int64_t n = 0; n < src[0]; ++n) {
      for (std::int64_t c = 0; c < src[1]; ++c) {
        for (std::int64_t h = 0; h < dst[2]; ++h) {
          const std::int64_t from = s[0][n] + s[1][c] + s[2][2 * h];
          const std::int64_t to = d[0][n] + d[1][c + front_] + d[2][h];
          for (std::int64_t w = 0; w < dst[3]; ++w) apply(from + s[3][2 * w], to + d[3][w]);
        }
      }
    }
  }

  LayerContext context_;
  std::int64_t front_ = 0;
  Desc dst_;
  Dims src_dims_, dst_dims_;
  Layout src_layout_, dst_layout_;
  LayerConnections to_;
};

}  // namespace

std::unique_ptr<Layer> make_reorder(const Desc& dst, LayerContext context) {
  return std::make_unique<MoveLayer>(std::move(context), dst, dst, "reorder");
}

std::unique_ptr<Layer> make_concat(LayerContext context) { return std::make_unique<ConcatLayer>(std::move(context)); }

std::unique_ptr<Layer> make_slice_copy(LayerContext context) { return std::make_unique<SliceCopyLayer>(std::move(context)); }

std::unique_ptr<Layer> make_flatten(LayerContext context) {
  const DataType type = type_of(context.src.at(0));
  const Desc dst = plain_desc(context.dst_shape, type);
  const Desc as_src = plain_desc(dims_of(context.src[0]), type);
  return std::make_unique<MoveLayer>(std::move(context), dst, as_src, "flatten");
}

std::unique_ptr<Layer> make_pad_shortcut(const PadShortcut& spec, LayerContext context) {
  if (type_of(context.src.at(0)) == kBf16) return std::make_unique<PadShortcutLayer<BFloat16>>(spec, std::move(context));
  return std::make_unique<PadShortcutLayer<float>>(spec, std::move(context));
}

}  // namespace dtrain::nn
