// From the closed set of layer descriptions to their implementations: the one visitor.
#include "src/nn/layer.hpp"

namespace dtrain::nn {
namespace {

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

/// Own kernels on pictures work on blocks of channels; 16 fill an AVX-512 register and two of AVX2.
Desc blocked_or(const Desc& actual) { return channel_block(actual) != 0 ? actual : channel_blocked_desc(actual.dims(), 16); }

/// In blocks as large as those of another tensor, 16 where it has none.
Desc blocked_as(const Desc& actual, const Desc& other) {
  const int block = channel_block(other);
  return channel_blocked_desc(actual.dims(), block != 0 ? block : 16);
}

}  // namespace

Desc wished_src(const LayerSpec& spec, const LayerContext& context, int input) {
  const Desc& actual = context.src.at(static_cast<std::size_t>(input));
  if (context.concatenates) return blocked_as(actual, context.src[0]);
  if (input > 0) return context.src[0];  // sums: as the first input
  return std::visit(
      Overloaded{[&](const Convolution& layer) { return convolution_src_wish(layer, context); },
                 [&](const BatchNorm&) { return blocked_or(actual); }, [&](const PadShortcut&) { return blocked_or(actual); },
                 [&](const AdaptiveAveragePool&) { return blocked_or(actual); },
                 [&](const Linear&) { return plain_desc(actual.dims()); }, [&](const auto&) { return actual; }},
      spec);
}

std::unique_ptr<Layer> make_layer(const LayerSpec& spec, LayerContext context) {
  return std::visit(Overloaded{[&](const Convolution& layer) { return make_convolution(layer, std::move(context)); },
                               [&](const BatchNorm& layer) {
                                 return context.pool ? make_batch_norm_pool(layer, std::move(context))
                                                     : make_batch_norm(layer, std::move(context));
                               },
                               [&](const Pool& layer) { return make_pool(layer, std::move(context)); },
                               [&](const AdaptiveAveragePool& layer) { return make_adaptive_pool(layer, std::move(context)); },
                               [&](const Linear& layer) { return make_linear(layer, std::move(context)); },
                               [&](const Relu&) { return make_relu(std::move(context)); },
                               [&](const Add&) { return make_add(std::move(context)); },
                               [&](const Concat&) { return make_concat(std::move(context)); },
                               [&](const Dropout& layer) { return make_dropout(layer, std::move(context)); },
                               [&](const Flatten&) { return make_flatten(std::move(context)); },
                               [&](const PadShortcut& layer) { return make_pad_shortcut(layer, std::move(context)); }},
                    spec);
}

}  // namespace dtrain::nn
