// What two recipes say of each other: that of a run that goes on, and the one that its checkpoint was saved with.
#pragma once

#include <string>
#include <vector>

namespace dtrain {

struct RecipeDifference {
  std::string key;
  std::string now, saved;  ///< values; empty: left out, as entries are that have their default
};

struct RecipeComparison {
  std::vector<RecipeDifference> different;  ///< by key
  /// Entries that the saved recipe does not have, being of an older version: whether they are the same is not known.
  std::vector<std::string> unknown;
};

/// Entries that do not change the bits of what is still to come do not count.
RecipeComparison compare_recipes(const std::string& now, const std::string& saved);

/// "threads (2, before: 1), dropout (0, before: 0.5)".
std::string to_text(const std::vector<RecipeDifference>& differences);

/// "threads a rank, instructions of the CPU".
std::string entry_list(const std::vector<std::string>& keys);

}  // namespace dtrain
