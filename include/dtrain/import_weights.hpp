// Takes the tensors of a weight file into a network: whole, or whole but for the head, or refused.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "dtrain/checkpoint.hpp"

namespace dtrain {

enum class ImportMode {
  exact,      ///< evaluation, resume: every tensor of the network is in the file with its shape, and no others are
  fine_tune,  ///< the same, but for the heads: one that is missing or of another shape stays as it was initialised
  partial,    ///< what has an equal name and shape is taken, the rest left; refused only where nothing has
};

struct ImportRequest {
  ImportMode mode = ImportMode::exact;
  std::string model{};                    ///< the network's name, which says what auxiliary heads its files may have
  std::vector<std::string> head_names{};  ///< head_tensor_names of the network
  /// Name of the one model that the file's tensors fit, or empty; asked where the file is refused. May be empty.
  std::function<std::string(const TensorFile&)> recognise{};
};

/// What import_weights did with each tensor.
struct ImportReport {
  std::vector<std::string> taken;
  std::vector<std::string>
      reinitialised;  ///< kept as initialised though the file has it: "fc.weight: file (1000, 512), network (10, 512)"
  std::vector<std::string> missing;  ///< in the network, not in the file: kept as initialised
  std::vector<std::string> unused;   ///< in the file, not in the network
  std::vector<std::string> said;     ///< how names were changed to fit, and what else was decided
  bool is_partial = false;           ///< by ImportMode::partial
};

/// Copies tensors of a file into a store; when it throws, the store is as before. Takes over num_batches_tracked. Names may
/// have what wrappers put before them, and be old published ones (see src/tensor_renaming.hpp). Never missed or left over:
/// auxiliary heads of googlenet and inception_v3, which only training has (those of a published file that were never trained
/// are left), what tools leave in files, and an optimizer's state ("optimizer.…"), which is not listed either. Errors:
/// DataError names the tensors that are missing, left over or differ, the file's model, and the model that they fit.
ImportReport import_weights(const TensorFile& file, ParameterStore& parameters, const ImportRequest& request);

/// Whether import_weights would take the file into a network with these parameters. recognise is not asked.
bool import_fits(const TensorFile& file, const std::vector<ParameterSpec>& parameters, const ImportRequest& request);

/// "weights from FILE: taken 120 tensors; in the file but not used 18: aux1.*, aux2.*; …" in one line.
std::string describe_import(const ImportReport& report, const std::string& file);

}  // namespace dtrain
