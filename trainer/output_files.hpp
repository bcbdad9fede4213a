// The files that a command is to write, looked at before it works for them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace dtrain {

/// A file and the option that named it: "--report".
struct NamedFile {
  std::string option;
  std::filesystem::path path;  ///< empty: not given
  bool is_replaced = false;    ///< written beside itself and renamed: a regular file, in a directory that can be written
};

/// Finds out whether all outputs can be written, and that none is an input or another output. Leaves nothing behind and changes
/// nothing. Errors: ConfigError: one file for two purposes; DataError: cannot be written.
void require_sound_outputs(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs);

}  // namespace dtrain
