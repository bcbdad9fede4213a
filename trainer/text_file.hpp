// Texts in files: those that a command reads whole, and those that it leaves.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace dtrain {

/// All that a regular file holds. None: fault says why, as words for Fault::found. Does not wait: a FIFO or a device is no
/// file to read.
std::optional<std::string> read_text_file(const std::filesystem::path& path, std::string& fault);

/// Waits until someone reads from the FIFO at the path, for kReaderTimeout_s at most; returns at once where it is none. To be
/// held open while the path is opened for writing: a reader that came must not find the FIFO closed. Errors: DataError.
class AwaitedReader {
 public:
  AwaitedReader(const std::filesystem::path& path, const std::string& option);
  ~AwaitedReader();
  AwaitedReader(const AwaitedReader&) = delete;
  AwaitedReader& operator=(const AwaitedReader&) = delete;

 private:
  int descriptor_ = -1;
};
inline constexpr double kReaderTimeout_s = 10.0;

/// Writes it anew; nothing where the path is empty. option: which named the path, "--csv". Errors: DataError.
void write_text_file(const std::filesystem::path& path, const std::string& option, const std::string& text);

/// The same, so that a reader finds the old text or the new one, also after a power cut. Errors: DataError; the file is as
/// before.
void replace_text_file(const std::filesystem::path& path, const std::string& text);

/// As replace_text_file() where a regular file is there, or none, in a directory that can be written; otherwise (a pipe, a
/// link) as write_text_file().
void save_text_file(const std::filesystem::path& path, const std::string& option, const std::string& text);

}  // namespace dtrain
