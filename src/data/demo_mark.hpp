// What make-demo leaves in its data set, so that a later one knows which files it wrote: never those of somebody else. A text:
// a line says what it is, then a line a file with the hash of its bytes and its path below the root.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>

namespace dtrain {

inline constexpr const char* kDemoMark = ".dtrain-demo";

class DemoMark {
 public:
  /// Begins the mark of a new data set. Errors (here and below): DataError.
  explicit DemoMark(const std::filesystem::path& root);
  DemoMark(const DemoMark&) = delete;
  DemoMark& operator=(const DemoMark&) = delete;
  ~DemoMark();

  /// Before the file is written, so that no file is without its line. Threads: any.
  void add(const std::string& relative_path, std::span<const std::uint8_t> bytes);

 private:
  void append(const std::string& line);

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::mutex mutex_;
};

}  // namespace dtrain
