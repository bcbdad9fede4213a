// Reorders between the arenas and the primitives; see weights_view.hpp.
#include "src/nn/weights_view.hpp"

#include "src/nn/memory_plan.hpp"

namespace dtrain::nn {
namespace {

PrimitiveCall make_copy(const dnnl::memory& from, const dnnl::memory& to, bool add, const Device& device) {
  dnnl::primitive_attr attributes;
  if (add) {
    dnnl::post_ops operations;
    operations.append_sum(1.0f);
    attributes.set_post_ops(operations);
  }
  const dnnl::reorder::primitive_desc desc(device.engine, from.get_desc(), device.engine, to.get_desc(), attributes);
  return PrimitiveCall(dnnl::reorder(desc), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

}  // namespace

std::size_t WeightsView::copy_bytes(const Desc& master, const Desc& wanted) {
  return master == wanted ? 0 : aligned_size(wanted.get_size());
}

WeightsView::WeightsView(const dnnl::memory& master, const Desc& wanted, std::byte* copy, const Device& device) {
  if (master.get_desc() == wanted) {
    memory_ = master;
    return;
  }
  master_ = master;
  memory_ = dnnl::memory(wanted, device.engine, copy);
  reorder_ = make_copy(master, memory_, false, device);
}

void WeightsView::renew(const dnnl::stream& stream) const {
  if (reorder_) reorder_.run(stream);
}

dnnl::memory ScratchViews::add(const Desc& desc, std::size_t offset, const Device& device) {
  return views_.emplace_back(unbound(desc, device), offset).first;
}

void ScratchViews::bind(std::byte* base) const {
  for (const auto& [memory, offset] : views_) memory.set_data_handle(base + offset);
}

std::size_t BackwardWeights::bias_offset(const Desc& weights) { return aligned_size(weights.get_size()); }

std::size_t BackwardWeights::scratch_bytes(const Desc& weights, bool has_bias, const Desc& bias) {
  return bias_offset(weights) + (has_bias ? aligned_size(bias.get_size()) : 0);
}

BackwardWeights::BackwardWeights(const dnnl::primitive& primitive, std::vector<std::pair<int, dnnl::memory>> arguments,
                                 const GradientPlace& weights, const std::optional<GradientPlace>& bias, const Device& device) {
  const auto with = [&](const dnnl::memory& diff_weights, const dnnl::memory* diff_bias) {
    auto all = arguments;
    all.emplace_back(DNNL_ARG_DIFF_WEIGHTS, diff_weights);
    if (diff_bias != nullptr) all.emplace_back(DNNL_ARG_DIFF_BIAS, *diff_bias);
    return PrimitiveCall(primitive, all);
  };
  if (weights.slot.get_desc() == weights.scratch.get_desc()) direct_ = with(weights.slot, bias ? &bias->slot : nullptr);
  to_scratch_ = with(weights.scratch, bias ? &bias->scratch : nullptr);
  const auto move = [&](const GradientPlace& place) {
    replace_.push_back(make_copy(place.scratch, place.slot, false, device));
    add_.push_back(make_copy(place.scratch, place.slot, true, device));
  };
  move(weights);
  if (bias) move(*bias);
}

void BackwardWeights::run(bool accumulate, const dnnl::stream& stream) const {
  if (!accumulate && direct_) {
    direct_.run(stream);
    return;
  }
  to_scratch_.run(stream);
  for (const PrimitiveCall& move : accumulate ? add_ : replace_) move.run(stream);
}

}  // namespace dtrain::nn
