// Which network a file of weights belongs to, by its tensors.
#include "dtrain/import_weights.hpp"
#include "dtrain/models.hpp"

namespace dtrain {

std::string model_that_fits(const TensorFile& file) {
  std::string found;
  for (const ModelEntry& model : list_models()) {
    const NetworkSpec network = build_model(model.name, {});
    std::vector<ParameterSpec> parameters;
    for (const auto& node : parameters_by_node(network)) parameters.insert(parameters.end(), node.begin(), node.end());
    const ImportRequest request{
        .mode = ImportMode::fine_tune, .model = model.name, .head_names = head_tensor_names(network), .recognise = {}};
    if (!import_fits(file, parameters, request)) continue;
    if (!found.empty()) return {};
    found = model.name;
  }
  return found;
}

}  // namespace dtrain
