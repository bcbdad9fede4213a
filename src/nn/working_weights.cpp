// Reorders between the arenas and the primitives; see working_weights.hpp.
#include "src/nn/working_weights.hpp"

#include "dtrain/error.hpp"
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

std::size_t WorkingWeights::scratch_bytes(const Desc& master, const Desc& wanted) {
  return master == wanted ? 0 : aligned_size(wanted.get_size());
}

WorkingWeights::WorkingWeights(const dnnl::memory& master, const Desc& wanted, std::size_t scratch_offset,
                               ScratchViews& scratch, const Device& device)
    : master_(master), memory_(master) {
  if (master.get_desc() == wanted) return;
  memory_ = scratch.add(wanted, scratch_offset, device);
  conversion_ = BlockConversion::between(master.get_desc(), wanted);
  if (!conversion_) reorder_ = make_copy(master_, memory_, false, device);
}

void WorkingWeights::bring(const dnnl::stream& stream) const {
  if (conversion_) conversion_->run(floats(master_), memory_.get_data_handle());
  if (reorder_) reorder_.run(stream);
}

dnnl::memory ScratchViews::add(const Desc& desc, std::size_t offset, const Device& device) {
  return views_.emplace_back(unbound(desc, device), offset).first;
}

void ScratchViews::bind(const dnnl::memory& scratch) const {
  if (!scratch) return;
  auto* base = static_cast<std::byte*>(scratch.get_data_handle());
  for (const auto& [memory, offset] : views_) memory.set_data_handle(base + offset);
}

std::size_t BackwardWeights::bias_offset(const Desc& weights) { return aligned_size(weights.get_size()); }

std::size_t BackwardWeights::scratch_bytes(const Desc& master, const Desc& weights, const std::optional<Desc>& bias,
                                           bool accumulates) {
  if (master == weights && !accumulates) return 0;
  return bias_offset(weights) + (bias ? aligned_size(bias->get_size()) : 0);
}

BackwardWeights::BackwardWeights(const dnnl::primitive& primitive, std::vector<std::pair<int, dnnl::memory>> arguments,
                                 const GradientPlace& weights, const std::optional<GradientPlace>& bias, bool accumulates,
                                 const Device& device) {
  const auto with = [&](const dnnl::memory& diff_weights, const dnnl::memory* diff_bias) {
    auto all = arguments;
    all.emplace_back(DNNL_ARG_DIFF_WEIGHTS, diff_weights);
    if (diff_bias != nullptr) all.emplace_back(DNNL_ARG_DIFF_BIAS, *diff_bias);
    return PrimitiveCall(primitive, all);
  };
  if (weights.slot.get_desc() == weights.scratch.get_desc()) direct_ = with(weights.slot, bias ? &bias->slot : nullptr);
  if (direct_ && !accumulates) return;
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
  check(static_cast<bool>(to_scratch_), "backward weights: compiled for micro-batches that add up");
  to_scratch_.run(stream);
  for (const PrimitiveCall& move : accumulate ? add_ : replace_) move.run(stream);
}

}  // namespace dtrain::nn
