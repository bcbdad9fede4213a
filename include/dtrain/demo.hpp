// Removing a demonstration data set (make_demo of dtrain/data.hpp) so that another one can take its place.
#pragma once

#include <filesystem>

namespace dtrain {

/// Removes what make_demo wrote below `root` and leaves an empty directory; nothing where there is none, or an empty one. Goes
/// by the mark that make_demo leaves, which has the name and the hash of every file. Errors: DataError: no mark, or anything
/// else below `root`, be it a picture that was changed: then nothing is removed.
void remove_demo(const std::filesystem::path& root);

}  // namespace dtrain
