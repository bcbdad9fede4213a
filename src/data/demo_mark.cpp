// The mark of a demonstration data set, and the removal that goes by it.
#include "demo_mark.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <system_error>
#include <vector>

#include "dtrain/demo.hpp"
#include "dtrain/error.hpp"
#include "src/running_hash.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFirstLine = "Files that dtrain make-demo wrote, with the hashes of their bytes: --force removes these.";

std::string hash_text(std::span<const std::uint8_t> bytes) {
  RunningHash hash;
  hash.absorb(std::as_bytes(bytes));
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(hash.value(0)));
  return digits.data();
}

/// Hashes by path; nullopt: no mark.
std::optional<std::map<std::string, std::string>> read_mark(const fs::path& root) {
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(root / kDemoMark, error))) return std::nullopt;
  std::ifstream file(root / kDemoMark);
  std::string line;
  if (!std::getline(file, line) || line != kFirstLine) return std::nullopt;
  std::map<std::string, std::string> hashes;
  while (std::getline(file, line)) {
    const std::size_t blank = line.find(' ');
    if (blank != std::string::npos) hashes.insert_or_assign(line.substr(blank + 1), line.substr(0, blank));
  }
  return hashes;
}

std::string hash_of_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return hash_text({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

[[noreturn]] void throw_kept(const fs::path& root, const std::string& found) {
  throw DataError(Fault{.doing = "replacing the demonstration data set in " + root.string(),
                        .expected = "files that make-demo wrote (" + std::string(kDemoMark) + " lists them) and nothing else",
                        .found = found + "; nothing was removed",
                        .remedy = "another directory, or look through this one and empty it yourself"});
}

}  // namespace

DemoMark::DemoMark(const fs::path& root)
    : path_(root / kDemoMark), descriptor_(open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666)) {
  append(kFirstLine);
}

DemoMark::~DemoMark() {
  if (descriptor_ >= 0) close(descriptor_);
}

void DemoMark::add(const std::string& relative_path, std::span<const std::uint8_t> bytes) {
  append(hash_text(bytes) + " " + relative_path);
}

void DemoMark::append(const std::string& line) {
  const std::lock_guard lock(mutex_);
  const std::string text = line + "\n";
  if (descriptor_ >= 0 && ::write(descriptor_, text.data(), text.size()) == std::ssize(text)) return;
  throw DataError(Fault{.doing = "writing " + path_.string(),
                        .expected = "a file that can be written",
                        .found = std::generic_category().message(errno),
                        .remedy = "another directory, or free space there"});
}

void remove_demo(const fs::path& root) {
  if (!fs::exists(root) || (fs::is_directory(root) && fs::is_empty(root))) return;
  if (!fs::is_directory(root)) throw_kept(root, "a file of that name");
  const auto hashes = read_mark(root);
  if (!hashes) throw_kept(root, "other files, without the mark of an earlier make-demo");

  std::vector<fs::path> files;
  std::vector<fs::path> directories;                                  // those within others come later
  for (const auto& entry : fs::recursive_directory_iterator(root)) {  // does not enter links
    const std::string name = entry.path().lexically_relative(root).string();
    if (fs::is_directory(entry.symlink_status())) {
      directories.push_back(entry.path());
    } else if (name != kDemoMark) {
      const auto known = hashes->find(name);
      if (known == hashes->end()) throw_kept(root, name + ", which it did not write");
      const bool is_same = fs::is_regular_file(entry.symlink_status()) && hash_of_file(entry.path()) == known->second;
      if (!is_same) throw_kept(root, name + ", which is not as it was written");
      files.push_back(entry.path());
    }
  }
  // A directory goes only when it is empty; the mark last, so that a removal that was interrupted can go on.
  for (const fs::path& file : files) fs::remove(file);
  while (!directories.empty()) {
    fs::remove(directories.back());
    directories.pop_back();
  }
  fs::remove(root / kDemoMark);
}

}  // namespace dtrain
