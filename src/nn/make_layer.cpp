// From the closed set of layer descriptions to their implementations: the one visitor.
#include "src/nn/layer.hpp"

namespace dtrain::nn {
namespace {

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

/// The same elements in blocks of channels: in blocks as they are, else as in `model`, else of 16, which fill an AVX-512
/// register and two of AVX2.
Desc blocked(const Desc& actual, const Desc& model, DataType type) {
  const int own = channel_block(actual);
  const int other = channel_block(model);
  return channel_blocked_desc(dims_of(actual), own != 0 && (own == other || other == 0) ? own : other != 0 ? other : 16, type);
}

}  // namespace

Desc wished_src(const LayerSpec& spec, const LayerContext& context, int input) {
  const Desc& actual = context.src.at(static_cast<std::size_t>(input));
  const DataType type = activation_type(context.options);
  if (context.concatenates) return blocked(actual, context.src[0], type);
  if (input > 0) return context.src[0];  // sums: as the first input
  return std::visit(Overloaded{[&](const Convolution& layer) { return convolution_src_wish(layer, context); },
                               [&](const BatchNorm&) { return blocked(actual, actual, type); },
                               [&](const PadShortcut&) { return blocked(actual, actual, type); },
                               [&](const AdaptiveAveragePool&) { return blocked(actual, actual, type); },
                               [&](const Linear&) { return plain_desc(dims_of(actual), type); },
                               [&](const auto&) { return with_type(actual, type); }},
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
                               [&](const Relu& layer) { return make_relu(layer, std::move(context)); },
                               [&](const Add&) { return make_add(std::move(context)); },
                               [&](const Concat&) { return make_concat(std::move(context)); },
                               [&](const Dropout& layer) { return make_dropout(layer, std::move(context)); },
                               [&](const Flatten&) { return make_flatten(std::move(context)); },
                               [&](const PadShortcut& layer) { return make_pad_shortcut(layer, std::move(context)); }},
                    spec);
}

}  // namespace dtrain::nn
