// Which output of a network stands for each class folder, where folders and outputs are not numbered alike: pictures of a few
// of the classes that a network knows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace dtrain {

/// Reads lines "folder index": the index is a line's last word, so a folder's name may have spaces; empty lines do not count.
/// Folders that the data set lacks may be listed, so one file serves all subsets of its classes.
/// text         the file's contents; name: its path, for messages.
/// class_names  folders of the data set, in the order of their labels.
/// outputs      of the network; indices lie in [0, outputs).
/// Result       the index of each label.
/// Errors       DataError: a line without folder or index, an index outside, a folder or an index twice, a folder of the data
///              set that is not listed.
std::vector<std::int32_t> parse_class_indices(std::string_view text, const std::string& name,
                                              const std::vector<std::string>& class_names, std::int64_t outputs);

/// The same from a file. Errors: DataError, also when it cannot be read.
std::vector<std::int32_t> read_class_indices(const std::filesystem::path& path, const std::vector<std::string>& class_names,
                                             std::int64_t outputs);

}  // namespace dtrain
