// A text that a command leaves as a file.
#pragma once

#include <filesystem>
#include <string>

namespace dtrain {

/// Writes it anew; nothing where the path is empty. option: which named the path, "--csv". Errors: DataError.
void write_text_file(const std::filesystem::path& path, const std::string& option, const std::string& text);

/// The same, so that a reader finds the old text or the new one, also after a power cut. Errors: DataError; the file is as
/// before.
void replace_text_file(const std::filesystem::path& path, const std::string& option, const std::string& text);

}  // namespace dtrain
