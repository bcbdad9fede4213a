// Comparing recipes key by key; see recipe_comparison.hpp.
#include "trainer/recipe_comparison.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <map>
#include <optional>
#include <sstream>
#include <string_view>

namespace dtrain {
namespace {

using Entries = std::map<std::string, std::string>;

/// Written in every recipe since there are such entries: where one is missing, nobody knows. All others are missing where they
/// have their default.
constexpr std::array<std::string_view, 6> kNotInOldRecipes{"dropout", "data", "threads", "nodes", "instructions", "onednn"};

/// What people call an entry whose key does not say enough.
struct Name {
  std::string_view key, text;
};
constexpr std::array<Name, 7> kNames{{{"samples", "number of training images"},
                                      {"total_steps", "number of steps"},
                                      {"data", "training images (digest of names and labels)"},
                                      {"threads", "threads a rank"},
                                      {"nodes", "ranks of the nodes"},
                                      {"instructions", "instructions of the CPU"},
                                      {"onednn", "oneDNN"}}};

std::string name_of(const std::string& key) {
  const auto* const found = std::ranges::find(kNames, key, &Name::key);
  if (found != kNames.end()) return std::string(found->text);
  std::string words = key;
  std::ranges::replace(words, '_', ' ');
  return words;
}

/// Recipes have an augmentation by its number.
std::string value_in_words(const std::string& key, const std::string& value) {
  constexpr std::array<std::string_view, 3> kAugmentations{"standard", "light", "none"};
  if (key != "augmentation" || value.size() != 1 || value[0] < '0' || value[0] > '2') return value;
  return std::string(kAugmentations[static_cast<std::size_t>(value[0] - '0')]);
}

Entries entries_of(const std::string& recipe) {
  Entries entries;
  std::istringstream lines(recipe);
  for (std::string line; std::getline(lines, line);) {
    const auto equals = line.find('=');
    if (equals != std::string::npos) entries[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return entries;
}

/// 0.10000000000000001 → 0.1; other texts as they are.
std::string short_number(const std::string& text) {
  double value = 0.0;
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc{} || end != text.data() + text.size() || text.find('.') == std::string::npos) return text;
  std::array<char, 32> shown{};
  std::snprintf(shown.data(), shown.size(), "%g", value);
  return shown.data();
}

std::string value_or_default(const std::string& value) { return value.empty() ? "the default" : value; }

std::string described(const RecipeDifference& difference) {
  std::string now = short_number(difference.now), saved = short_number(difference.saved);
  if (now == saved) {
    now = difference.now;
    saved = difference.saved;
  }
  return name_of(difference.key) + " (" + value_or_default(value_in_words(difference.key, now)) +
         ", before: " + value_or_default(value_in_words(difference.key, saved)) + ")";
}

std::string value_of(const Entries& entries, const std::string& key) {
  const auto found = entries.find(key);
  return found == entries.end() ? "" : found->second;
}

/// No step's rates depend on how many are still to come.
bool has_constant_rates(const Entries& entries) {
  return value_of(entries, "schedule") == "constant" && !entries.contains("weight_decay_schedule") &&
         !entries.contains("momentum_schedule");
}

}  // namespace

RecipeComparison compare_recipes(const std::string& now, const std::string& saved) {
  const Entries ours = entries_of(now), theirs = entries_of(saved);
  Entries all = ours;
  all.insert(theirs.begin(), theirs.end());
  if (has_constant_rates(ours) && has_constant_rates(theirs)) all.erase("total_steps");
  RecipeComparison comparison;
  for (const auto& [key, unused] : all) {
    if (!theirs.contains(key) && std::ranges::find(kNotInOldRecipes, key) != kNotInOldRecipes.end()) {
      comparison.unknown.push_back(key);
    } else if (value_of(ours, key) != value_of(theirs, key)) {
      comparison.different.push_back({.key = key, .now = value_of(ours, key), .saved = value_of(theirs, key)});
    }
  }
  return comparison;
}

std::string to_text(const std::vector<RecipeDifference>& differences) {
  std::string text;
  for (const RecipeDifference& difference : differences) text += (text.empty() ? "" : ", ") + described(difference);
  return text;
}

std::string entry_list(const std::vector<std::string>& keys) {
  std::string text;
  for (const std::string& key : keys) text += (text.empty() ? "" : ", ") + name_of(key);
  return text;
}

}  // namespace dtrain
