// A file open for reading at any offset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace dtrain {

class InputFile {
 public:
  /// Errors: DataError: it cannot be opened, or is no regular file (of a directory, its weight files are named).
  explicit InputFile(const std::filesystem::path& path);
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  std::uint64_t size_bytes() const { return size_bytes_; }

  /// Fills `bytes` from `offset` on. Errors: DataError: the file ends before, or cannot be read.
  void read(std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  /// The other constructor delegates to this one, so that what it throws finds the descriptor closed.
  InputFile(const std::filesystem::path& path, int descriptor);
  [[noreturn]] void fail(const char* doing, int error_number) const;

  std::filesystem::path path_;
  int descriptor_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace dtrain
