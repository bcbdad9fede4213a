// See load_weights.hpp.
#include "trainer/load_weights.hpp"

#include <algorithm>

#include "dtrain/error.hpp"
#include "dtrain/models.hpp"
#include "trainer/shared_reading.hpp"

namespace dtrain {
namespace {

/// Only names of models that are known here say something: other programs may mean another thing by "model".
bool is_model(const std::string& name) {
  return std::any_of(list_models().begin(), list_models().end(), [&](const ModelEntry& model) { return model.name == name; });
}

/// Tensors may fit by chance, or as a part: resnet18's all have a place in resnet34.
void require_model(const TensorFile& file, const std::string& path, const std::string& model, ImportMode mode) {
  const auto stated = file.metadata.find("model");
  if (mode == ImportMode::partial || stated == file.metadata.end() || stated->second == model || !is_model(stated->second))
    return;
  throw DataError(Fault{.doing = "taking over the weights of " + path,
                        .expected = "weights of model " + model,
                        .found = "a file of model " + stated->second,
                        .remedy = "--model " + stated->second +
                                  (mode == ImportMode::fine_tune ? ", or --init-partial on to take what fits" : "")});
}

}  // namespace

ImportReport take_weights(const TensorFile& file, const std::string& path, Replica& replica, ImportMode mode) {
  const NetworkSpec& network = replica.network();
  require_model(file, path, network.name, mode);
  try {
    return import_weights(
        file, replica.parameters(),
        {.mode = mode, .model = network.name, .head_names = head_tensor_names(network), .recognise = model_that_fits});
  } catch (const DataError& error) {
    throw DataError(path + ": " + error.what());
  }
}

ImportReport load_weights(const std::string& path, Replica& replica, ImportMode mode, const Communicator& communicator) {
  return take_weights(read_on_root(path, communicator), path, replica, mode);
}

}  // namespace dtrain
