// From the arenas to weight files: row-major tensors under torchvision's names. The way back is import_weights.cpp.
#include <string_view>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "src/tensor_renaming.hpp"

namespace dtrain {
namespace {

constexpr std::string_view kVarianceSuffix = ".running_var";

FileTensor export_slot(const ParameterStore& parameters, const Slot& slot) {
  FileTensor tensor{.name = slot.spec.name, .shape = slot.spec.shape, .type = ElementType::f32, .f32 = {}, .i64 = {}};
  tensor.f32.resize(static_cast<std::size_t>(element_count(slot.spec.shape)));
  copy_to_plain(slot.layout, parameters.values(slot), tensor.f32);
  return tensor;
}

}  // namespace

TensorFile export_weights(const ParameterStore& parameters, const std::vector<std::string>& names, const WeightsCard& card) {
  TensorFile file;
  put_card(card, file);
  for (const std::string& name : names) {
    const Slot* const slot = parameters.find(name);
    check(slot != nullptr, "the store holds what is exported: " + name);
    file.tensors.push_back(export_slot(parameters, *slot));
    if (slot->spec.kind == ParameterSpec::Kind::linear_weight) {
      file.metadata["num_classes"] = std::to_string(slot->spec.shape.front());  // the last linear layer's remains
    }
    if (slot->spec.kind == ParameterSpec::Kind::running_var) {
      // PyTorch's batch-norm expects this scalar as its last tensor.
      const std::string layer = name.substr(0, name.size() - kVarianceSuffix.size());
      file.tensors.push_back({.name = layer + std::string(kTrackedSuffix),
                              .shape = {},
                              .type = ElementType::i64,
                              .f32 = {},
                              .i64 = {parameters.batches_tracked}});
    }
  }
  return file;
}

}  // namespace dtrain
