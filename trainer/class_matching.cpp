// Matching of names; see class_matching.hpp.
#include "trainer/class_matching.hpp"

#include <algorithm>
#include <map>

#include "dtrain/error.hpp"
#include "dtrain/weights_card.hpp"

namespace dtrain {
namespace {

bool is_number(const std::string& name) {
  return !name.empty() && std::ranges::all_of(name, [](char letter) { return letter >= '0' && letter <= '9'; });
}

/// A number without its leading zeros.
std::string value_of(const std::string& number) {
  const auto digit = number.find_first_not_of('0');
  return digit == std::string::npos ? "0" : number.substr(digit);
}

bool are_distinct_numbers(const std::vector<std::string>& names) {
  if (!std::ranges::all_of(names, is_number)) return false;
  std::vector<std::string> values;
  for (const std::string& name : names) values.push_back(value_of(name));
  std::ranges::sort(values);
  return std::ranges::adjacent_find(values) == values.end();
}

[[noreturn]] void refuse(const ClassMatchRequest& request, const std::string& expected, const std::string& found,
                         const std::string& remedy) {
  throw DataError(Fault{.doing = "matching the class folders with the outputs of " + request.file,
                        .expected = expected,
                        .found = found,
                        .remedy = remedy});
}

ClassMatch match_by_position(const ClassMatchRequest& request) {
  const auto folders = std::ssize(request.folders);
  const std::string count = std::to_string(folders) + (folders == 1 ? " folder" : " folders");
  if (folders != request.outputs) {
    refuse(request, std::to_string(request.outputs) + " folders, for the file has so many outputs and no names for them",
           count + " (" + class_list(request.folders) + ")",
           "--class-indices FILE with a line \"folder index\" for each folder");
  }
  ClassMatch match{.indices = {},
                   .text = "classes: " + request.file + " has no names for its outputs; " + count +
                           " in byte order are taken for outputs 0 to " + std::to_string(folders - 1) +
                           " (--class-indices says otherwise)",
                   .is_assumed = true};
  for (std::int64_t k = 0; k < folders; ++k) match.indices.push_back(static_cast<std::int32_t>(k));
  return match;
}

/// Positions of names by themselves, or by value where numbers are meant.
class NameTable {
 public:
  NameTable(const std::vector<std::string>& names, bool by_value) : by_value_(by_value) {
    for (std::size_t k = 0; k < names.size(); ++k) positions_.emplace(key_of(names[k]), k);
  }
  /// −1: not there.
  std::int64_t find(const std::string& name) const {
    const auto found = positions_.find(key_of(name));
    return found == positions_.end() ? -1 : static_cast<std::int64_t>(found->second);
  }

 private:
  std::string key_of(const std::string& name) const { return by_value_ ? value_of(name) : name; }

  bool by_value_;
  std::map<std::string, std::size_t> positions_;
};

/// Whether the two lists name classes by numbers that are written differently.
bool differ_as_numbers(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return a != b && are_distinct_numbers(a) && are_distinct_numbers(b);
}

std::vector<std::string> as_in_cards(const std::vector<std::string>& folders) {
  std::vector<std::string> names;
  for (const std::string& folder : folders) names.push_back(class_name_of(folder));
  return names;
}

}  // namespace

std::string class_list(const std::vector<std::string>& names) {
  constexpr std::size_t kFirst = 3;
  std::string text;
  for (std::size_t k = 0; k < names.size(); ++k) {
    if (k == kFirst && names.size() > kFirst + 1) text += ", …";
    if (k < kFirst || k + 1 == names.size()) text += (text.empty() ? "" : ", ") + names[k];
  }
  return text;
}

std::vector<std::int32_t> class_positions(const std::vector<std::string>& folders, const std::vector<std::string>& names) {
  const NameTable table(names, differ_as_numbers(folders, names));
  std::vector<std::int32_t> positions;
  for (const std::string& folder : folders) positions.push_back(static_cast<std::int32_t>(table.find(folder)));
  return positions;
}

std::vector<std::int64_t> order_of_same_classes(const std::vector<std::string>& file_names,
                                                const std::vector<std::string>& names) {
  if (file_names.empty() || file_names.size() != names.size()) return {};
  const NameTable table(file_names, differ_as_numbers(file_names, names));
  std::vector<std::int64_t> order;
  for (const std::string& name : names) {
    order.push_back(table.find(name));
    if (order.back() < 0) return {};
  }
  return order;
}

ClassMatch match_classes(const ClassMatchRequest& request) {
  if (request.names.empty()) return match_by_position(request);
  const std::vector<std::string> folders = as_in_cards(request.folders);
  ClassMatch match{.indices = class_positions(folders, request.names), .text = {}, .is_assumed = false};
  std::vector<std::string> unknown;
  for (std::size_t k = 0; k < folders.size(); ++k) {
    if (match.indices[k] < 0) unknown.push_back(folders[k]);
  }
  if (!unknown.empty()) {
    refuse(
        request, "folders with the names of its classes: " + class_list(request.names),
        std::to_string(unknown.size()) + " of " + std::to_string(folders.size()) + " with other names: " + class_list(unknown),
        "images of these classes, or --class-indices FILE with a line \"folder index\" for each folder if they are known "
        "by other names");
  }
  match.text = "classes: " + std::to_string(folders.size()) + " of " + std::to_string(request.outputs) + " by the names in " +
               request.file + (differ_as_numbers(folders, request.names) ? ", as numbers" : "");
  return match;
}

}  // namespace dtrain
