// The file of class indices; see class_indices.hpp.
#include "trainer/class_indices.hpp"

#include <charconv>
#include <map>
#include <optional>
#include <utility>

#include "dtrain/error.hpp"
#include "trainer/text_file.hpp"

namespace dtrain {
namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

std::string in_quotes(std::string_view text) { return "'" + std::string(text) + "'"; }

/// The table while it is read.
class IndexTable {
 public:
  IndexTable(std::string name, std::int64_t outputs) : name_(std::move(name)), outputs_(outputs) {}

  void add_line(std::string_view line, std::int64_t number) {
    const std::string place = "reading line " + std::to_string(number) + " of the class indices " + name_;
    const auto last_blank = line.find_last_of(kBlanks);
    if (last_blank == std::string_view::npos) {
      refuse(place, "a class folder and its index", in_quotes(line), "lines such as: n01440764 0");
    }
    const std::string folder(trimmed(line.substr(0, last_blank)));
    const std::int32_t index = parse_index(place, line.substr(last_blank + 1));
    if (!indices_.emplace(folder, index).second) {
      refuse(place, "every folder once", in_quotes(folder) + " again", "one line for each folder");
    }
    const auto [owner, is_new] = folders_.emplace(index, folder);
    if (!is_new) {
      refuse(place, "every index once",
             "index " + std::to_string(index) + " for " + in_quotes(owner->second) + " and " + in_quotes(folder),
             "an index of its own for each folder");
    }
  }

  std::int32_t index_of(const std::string& folder) const {
    const auto found = indices_.find(folder);
    if (found == indices_.end()) {
      refuse("looking up the class folders in the class indices " + name_, "a line for each of them",
             "none for " + in_quotes(folder), "add the line, or leave the folder out of --data");
    }
    return found->second;
  }

 private:
  [[noreturn]] static void refuse(std::string doing, std::string expected, std::string found, std::string remedy) {
    throw DataError(Fault{std::move(doing), std::move(expected), std::move(found), std::move(remedy)});
  }

  std::int32_t parse_index(const std::string& place, std::string_view word) const {
    std::int32_t index = 0;
    const auto [rest, fault] = std::from_chars(word.data(), word.data() + word.size(), index);
    const bool is_whole = fault == std::errc{} && rest == word.data() + word.size();
    if (!is_whole || index < 0 || index >= outputs_) {
      refuse(place,
             "an index from 0 to " + std::to_string(outputs_ - 1) + ", for the network has " +
                 counted(outputs_, "class", "classes"),
             in_quotes(word), "the index in the list of classes that the network was trained on, or another --num-classes");
    }
    return index;
  }

  std::string name_;
  std::int64_t outputs_;
  std::map<std::string, std::int32_t> indices_;
  std::map<std::int32_t, std::string> folders_;
};

}  // namespace

std::vector<std::int32_t> parse_class_indices(std::string_view text, const std::string& name,
                                              const std::vector<std::string>& class_names, std::int64_t outputs) {
  IndexTable table(name, outputs);
  for (std::int64_t number = 1; !text.empty(); ++number) {
    const auto length = text.find('\n');
    const std::string_view line = trimmed(text.substr(0, length));
    if (!line.empty()) table.add_line(line, number);
    text.remove_prefix(length == std::string_view::npos ? text.size() : length + 1);
  }
  std::vector<std::int32_t> indices;
  for (const std::string& folder : class_names) indices.push_back(table.index_of(folder));
  return indices;
}

std::vector<std::int32_t> read_class_indices(const std::filesystem::path& path, const std::vector<std::string>& class_names,
                                             std::int64_t outputs) {
  std::string fault;
  const std::optional<std::string> text = read_text_file(path, fault);
  if (!text) {
    throw DataError(Fault{.doing = "reading the class indices " + path.string(),
                          .expected = "a text file with lines \"folder index\"",
                          .found = fault,
                          .remedy = "another --class-indices"});
  }
  return parse_class_indices(*text, path.string(), class_names, outputs);
}

}  // namespace dtrain
