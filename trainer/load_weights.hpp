// Weights from a file into a replica: the file must be of the replica's model, and its tensors fit as the mode says.
#pragma once

#include <string>

#include "dtrain/import_weights.hpp"
#include "trainer/replica.hpp"

namespace dtrain {

/// Takes over what was read from `path`. Errors: DataError: a file of another model, tensors that are missing, left over or of
/// another shape; the path is in the text, and the replica as before.
ImportReport take_weights(const TensorFile& file, const std::string& path, Replica& replica, ImportMode mode);

/// The root reads the file first. Collective. Errors: DataError, of read_tensor_file too.
ImportReport load_weights(const std::string& path, Replica& replica, ImportMode mode, const Communicator& communicator);

}  // namespace dtrain
