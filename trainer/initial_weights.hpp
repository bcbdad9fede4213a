// The head of weights that a run begins with (--init-from): its outputs go by the names of their classes.
#pragma once

#include <string>
#include <vector>

#include "dtrain/checkpoint.hpp"

namespace dtrain {

/// Makes the head of a file that of other classes: its rows in the order of `names` where they are the same classes; taken out,
/// so that it starts afresh, where they are others. Files or data without names: left as it is.
/// head_names: head_tensor_names of the network; their first extent counts the classes.
/// Result: what was done, for people; empty: nothing.
std::string arrange_head(TensorFile& file, const std::vector<std::string>& names, const std::vector<std::string>& head_names);

}  // namespace dtrain
