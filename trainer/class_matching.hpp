// Which output of a network stands for each class folder, found by the names that a file of weights has for its outputs. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dtrain {

struct ClassMatchRequest {
  std::vector<std::string> folders;  ///< of the data set, in the order of their labels
  std::vector<std::string> names;    ///< of output 0, 1, …, as cards have them; may end early; empty: the file has none
  std::int64_t outputs = 0;          ///< of the network
  std::string file;                  ///< for messages
};

struct ClassMatch {
  std::vector<std::int32_t> indices;  ///< of each folder: its output
  std::string text;                   ///< one line for people: how they were matched
  bool is_assumed = false;            ///< the file has no names: folder k stands for output k
};

/// Folders are matched by name; where all folders and all names are numbers, by value ("3" is "03"). A file without names and
/// with as many outputs as there are folders has them in byte order, which is assumed and said. Errors: DataError: a folder
/// that no output is named after, two that are the same number; without names, another count.
ClassMatch match_classes(const ClassMatchRequest& request);

/// The position in `names` of each of `folders`, matched as above; −1: none.
std::vector<std::int32_t> class_positions(const std::vector<std::string>& folders, const std::vector<std::string>& names);

/// For each class of `names`, its position in `file_names`; empty: the two are not the same set. Numbers as above.
std::vector<std::int64_t> order_of_same_classes(const std::vector<std::string>& file_names,
                                                const std::vector<std::string>& names);

/// "ant, bee, …, wasp": the first three and the last.
std::string class_list(const std::vector<std::string>& names);

}  // namespace dtrain
