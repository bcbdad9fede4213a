// Layers that work element by element on memory of any layout: ReLU, Add (with its ReLU), Dropout.
// Batch-norm takes in most of them (fusion.hpp); these serve where none stands in front.
#include <algorithm>
#include <array>

#include "dtrain/error.hpp"
#include "dtrain/random.hpp"
#include "src/nn/layer.hpp"
#include "src/nn/rectify.hpp"

namespace dtrain::nn {
namespace {

/// With padding.
std::int64_t element_count(const Desc& desc) {
  return static_cast<std::int64_t>(desc.get_size() / dnnl::memory::data_type_size(type_of(desc)));
}

/// The ReLU of a convolution or batch-norm is taken in by them (fusion.hpp), unless it is to write into a slice.
class ReluLayer final : public Layer {
 public:
  ReluLayer(const Relu& spec, LayerContext context) : ceiling_(spec.ceiling), context_(std::move(context)) {
    check(ceiling_ > 0.0f, "relu: a ceiling above 0");
  }

  Desc dst_desc() const override { return context_.src.at(0); }
  LayerNeeds needs() const override {
    return {.src_in_backward = {false},
            .dst_in_backward = true,
            .dst_may_replace_src = {true},
            .diff_src_may_replace_diff_dst = true,
            .diff_dst_addends = kMaxAddends,
            .dst_may_be_slice = true};
  }
  void connect(const LayerConnections& to) override { to_ = to; }
  void bound() override {
    src_ = Runs(to_.src[0]);
    dst_ = Runs(to_.dst);
    diff_dst_.clear();
    for (const dnnl::memory& addend : to_.diff_dst) diff_dst_.emplace_back(addend);
    if (!to_.diff_dst.empty() && to_.diff_src[0]) diff_src_ = Runs(*to_.diff_src[0]);
  }
  void forward(const PassOptions&) override { rectify(src_.moved_to(to_.src[0]), dst_, ceiling_); }  // pictures move
  void backward_data(const PassOptions&) override {
    if (to_.diff_src[0]) rectify_gradient(dst_, diff_dst_, diff_src_, ceiling_);
  }
  std::string describe() const override { return relu_in_words(ceiling_); }

 private:
  float ceiling_;
  LayerContext context_;
  LayerConnections to_;
  Runs src_, dst_, diff_src_;
  std::vector<Runs> diff_dst_;
};

class AddLayer final : public Layer {
 public:
  explicit AddLayer(LayerContext context) : context_(std::move(context)) {}

  Desc dst_desc() const override { return context_.src.at(0); }
  LayerNeeds needs() const override {
    return {.src_in_backward = {false, false},
            .dst_in_backward = context_.relu,
            .dst_may_replace_src = {true, true},
            .residual_diff_is_diff_dst = true};
  }
  void connect(const LayerConnections& to) override { to_ = to; }
  void bound() override {
    src_ = {Runs(to_.src[0]), Runs(to_.src[1])};
    dst_ = Runs(to_.dst);
    diff_dst_.clear();
    for (const dnnl::memory& diff_dst : to_.diff_dst) diff_dst_.emplace_back(diff_dst);
    if (!to_.diff_dst.empty() && to_.diff_src[0]) diff_src_ = Runs(*to_.diff_src[0]);
  }
  void forward(const PassOptions&) override {
    add(src_[0].moved_to(to_.src[0]), src_[1].moved_to(to_.src[1]), dst_);  // pictures move
    if (context_.relu) rectify(dst_, dst_);
  }
  void backward_data(const PassOptions&) override {
    if (context_.relu) rectify_gradient(dst_, diff_dst_, diff_dst_[0]);  // in place: it is the second input's gradient
    if (to_.diff_src[0]) copy(diff_dst_[0], diff_src_);
  }
  std::string describe() const override { return context_.relu ? "add + relu" : "add"; }

 private:
  LayerContext context_;
  LayerConnections to_;
  std::array<Runs, 2> src_;
  Runs dst_, diff_src_;
  std::vector<Runs> diff_dst_;
};

/// Element: float or BFloat16.
template <typename Element>
class DropoutLayer final : public Layer {
 public:
  DropoutLayer(const Dropout& spec, LayerContext context)
      : context_(std::move(context)),
        probability_(spec.probability),
        batch_(dims_of(context_.src.at(0))[0]),
        size_(element_count(context_.src[0])),
        places_(places_of_picture(context_.src[0])) {
    check(probability_ >= 0.0f && probability_ < 1.0f, "dropout: probability in [0, 1)");
  }

  Desc dst_desc() const override { return context_.src[0]; }
  LayerNeeds needs() const override {
    LayerNeeds needs{.src_in_backward = {false}, .dst_may_replace_src = {true}, .diff_src_may_replace_diff_dst = true};
    if (context_.options.training) needs.workspace_bytes = static_cast<std::size_t>(size_);
    return needs;
  }
  void connect(const LayerConnections& to) override { to_ = to; }

  void forward(const PassOptions& pass) override {
    const auto* src = static_cast<const Element*>(to_.src[0].get_data_handle());
    auto* dst = static_cast<Element*>(to_.dst.get_data_handle());
    if (!context_.options.training) {
      if (src != dst) std::copy_n(src, size_, dst);
      return;
    }
    auto* kept = static_cast<std::uint8_t*>(to_.workspace.get_data_handle());
    const std::int64_t per_picture = size_ / batch_;
    const float scale = 1.0f / (1.0f - probability_);
#pragma omp parallel for schedule(static)
    for (std::int64_t picture = 0; picture < batch_; ++picture) {
      // A picture's mask depends on its place in the global batch, not on the rank or micro-batch that holds it; an element's
      // on its place in the picture, not on where the layout has it.
      Random random(context_.options.seed, RandomPurpose::dropout,
                    {static_cast<std::uint64_t>(pass.step), static_cast<std::uint64_t>(context_.position),
                     static_cast<std::uint64_t>(pass.first_sample + picture)});
      const std::int64_t begin = picture * per_picture;
      std::fill_n(kept + begin, per_picture, std::uint8_t{0});  // where channels fill no block too
      for (const std::int32_t place : places_) {
        kept[begin + place] = random.uniform() >= static_cast<double>(probability_) ? 1 : 0;
      }
      for (std::int64_t i = begin; i < begin + per_picture; ++i) {
        assign(dst[i], kept[i] != 0 ? to_float(src[i]) * scale : 0.0f);
      }
    }
  }
  void backward_data(const PassOptions&) override {
    if (!to_.diff_src[0]) return;
    const auto* kept = static_cast<const std::uint8_t*>(to_.workspace.get_data_handle());
    const auto* diff_dst = static_cast<const Element*>(to_.diff_dst[0].get_data_handle());
    auto* diff_src = static_cast<Element*>(to_.diff_src[0]->get_data_handle());
    const float scale = 1.0f / (1.0f - probability_);
#pragma omp parallel for simd schedule(static)
    for (std::int64_t i = 0; i < size_; ++i) {
      assign(diff_src[i], kept[i] != 0 ? to_float(diff_dst[i]) * scale : 0.0f);
    }
  }
  std::string describe() const override { return "dropout"; }

 private:
  /// Where a picture's elements lie, in row-major order, counted from its first.
  static std::vector<std::int32_t> places_of_picture(const Desc& desc) {
    const Layout layout = layout_of(desc);
    std::vector<std::int32_t> places{0};
    for (std::size_t dimension = 1; dimension < layout.offsets.size(); ++dimension) {
      std::vector<std::int32_t> finer;
      for (const std::int32_t place : places) {
        for (const std::int64_t offset : layout.offsets[dimension]) finer.push_back(place + static_cast<std::int32_t>(offset));
      }
      places = std::move(finer);
    }
    return places;
  }

  LayerContext context_;
  float probability_;
  std::int64_t batch_, size_;
  std::vector<std::int32_t> places_;
  LayerConnections to_;
};

}  // namespace

std::unique_ptr<Layer> make_relu(const Relu& spec, LayerContext context) {
  return std::make_unique<ReluLayer>(spec, std::move(context));
}
std::unique_ptr<Layer> make_add(LayerContext context) { return std::make_unique<AddLayer>(std::move(context)); }
std::unique_ptr<Layer> make_dropout(const Dropout& spec, LayerContext context) {
  if (type_of(context.src.at(0)) == kBf16) return std::make_unique<DropoutLayer<BFloat16>>(spec, std::move(context));
  return std::make_unique<DropoutLayer<float>>(spec, std::move(context));
}

}  // namespace dtrain::nn
