// Names in a weight file that stand for a network's: those that a wrapper put something before or between, and old published
// ones.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace dtrain {

/// Ends the name of the count that PyTorch's batch-norm keeps.
inline constexpr std::string_view kTrackedSuffix = ".num_batches_tracked";

using NameSet = std::set<std::string, std::less<>>;

/// How the names in a file become those of a network.
struct Renaming {
  std::vector<std::string> names;  ///< of each tensor, in the file's order; as it was where nothing fits
  std::vector<std::string> said;   ///< what was done: "\"module.\" taken off 122 names"
};

/// Takes off what wrappers add (`module.` of DataParallel and `_orig_mod.` of torch.compile, wherever they stand; any prefix
/// that leads to the network, such as `model.`), and joins what DenseNet's published files have apart
/// (`denselayer1.norm.1.weight`): all of it only where it gives names of the network. Errors: DataError: two tensors of the
/// file would become one, or two prefixes lead to the whole network.
Renaming match_names(const std::vector<std::string>& file_names, const NameSet& network_names);

/// Tensors that no network wants and wrappers and tools leave in files: n_averaged, total_ops, total_params,
/// num_batches_tracked, and what a run goes on with (is_training_state).
bool is_bookkeeping(std::string_view name);

/// Names as few as say the same: "layer1.2.*" where no name in `others` begins with "layer1.2.". others: the rest of what
/// `names` was chosen from.
std::vector<std::string> group_names(const std::vector<std::string>& names, const std::vector<std::string>& others);

}  // namespace dtrain
