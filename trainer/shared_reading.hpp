// Files that only the root has to see: it reads them and sends the other ranks what is in them. One reader is enough, and the
// directory of a run may be on a disk of the root's host.
#pragma once

#include <filesystem>

#include "collectives/communicator.hpp"
#include "dtrain/checkpoint.hpp"

namespace dtrain {

/// read_tensor_file of the root, on every rank; tensors of single ranks' statistics on the root alone. Collective. Errors:
/// DataError, on every rank. Cost: the bytes of the tensors, broadcast straight into each rank's.
TensorFile read_on_root(const std::filesystem::path& path, const Communicator& communicator);

}  // namespace dtrain
