// A file that appears under its name complete or not at all: written beside its destination, flushed to the disk, renamed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace dtrain {

/// What the temporary file of a destination has behind its name: "last.safetensors.partial-<process id>".
inline constexpr const char* kPartialInfix = ".partial-";

class AtomicFile {
 public:
  /// Creates the temporary file. Errors (here and below): DataError; the destination is as before.
  explicit AtomicFile(std::filesystem::path destination);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Removes the temporary file unless it was committed.
  ~AtomicFile();

  void write(std::span<const std::byte> bytes);
  /// Puts other bytes in the place of some that have been written.
  void rewrite(std::size_t offset, std::span<const std::byte> bytes);
  /// Flushes file and name to the disk: after it, a reader (even after a power cut) finds the new file.
  void commit();

 private:
  std::filesystem::path destination_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
  bool is_committed_ = false;
};

/// The error of a system call that failed with `error_number` while `doing`, with what to try.
[[noreturn]] void throw_file_error(const std::string& doing, int error_number);

}  // namespace dtrain
