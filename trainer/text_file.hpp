// A text that a command leaves as a file.
#pragma once

#include <filesystem>
#include <string>

namespace dtrain {

/// Writes it anew; nothing where the path is empty. option: which named the path, "--csv". Errors: DataError.
void write_text_file(const std::filesystem::path& path, const std::string& option, const std::string& text);

}  // namespace dtrain
