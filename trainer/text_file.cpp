// Reading and writing files of text; see text_file.hpp.
#include "trainer/text_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <span>
#include <system_error>
#include <thread>

#include "dtrain/atomic_file.hpp"
#include "dtrain/error.hpp"

namespace dtrain {
namespace {

std::string error_words(int error_number) { return std::generic_category().message(error_number); }

/// Empty: a regular file.
std::string kind_fault(const struct stat& status) {
  if (S_ISREG(status.st_mode)) return "";
  return S_ISDIR(status.st_mode) ? "a directory" : "a device, pipe or socket";
}

}  // namespace

std::optional<std::string> read_text_file(const std::filesystem::path& path, std::string& fault) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (descriptor < 0) {
    fault = error_words(errno);
    return std::nullopt;
  }
  struct stat status {};
  fault = fstat(descriptor, &status) != 0 ? error_words(errno) : kind_fault(status);
  std::string text;
  std::array<char, 1 << 16> piece;
  for (bool is_at_end = false; fault.empty() && !is_at_end;) {
    const ssize_t length = read(descriptor, piece.data(), piece.size());
    if (length > 0) text.append(piece.data(), static_cast<std::size_t>(length));
    if (length < 0 && errno != EINTR) fault = error_words(errno);
    is_at_end = length == 0;
  }
  close(descriptor);
  if (!fault.empty()) return std::nullopt;
  return text;
}

AwaitedReader::AwaitedReader(const std::filesystem::path& path, const std::string& option) {
  std::error_code error;
  if (!std::filesystem::is_fifo(path, error)) return;
  constexpr std::chrono::milliseconds kPause{20};
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(kReaderTimeout_s);
  while ((descriptor_ = open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0) {
    if (errno == ENXIO && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(kPause);
      continue;
    }
    throw DataError(Fault{.doing = "opening the pipe " + path.string() + " (" + option + ")",
                          .expected = "a process that reads from it",
                          .found = errno == ENXIO ? "none within 10 s" : error_words(errno),
                          .remedy = "starting the reader first, or a file as " + option});
  }
}

AwaitedReader::~AwaitedReader() {
  if (descriptor_ >= 0) close(descriptor_);
}

void write_text_file(const std::filesystem::path& path, const std::string& option, const std::string& text) {
  if (path.empty()) return;
  const AwaitedReader reader(path, option);
  std::ofstream file(path);
  file << text;
  file.flush();
  if (file) return;
  throw DataError(Fault{.doing = "writing " + path.string() + " (" + option + ")",
                        .expected = "a file that can be written",
                        .found = "an error of the file system",
                        .remedy = "another " + option});
}

void replace_text_file(const std::filesystem::path& path, const std::string& text) {
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

void save_text_file(const std::filesystem::path& path, const std::string& option, const std::string& text) {
  std::error_code error;
  const std::filesystem::file_type type = std::filesystem::symlink_status(path, error).type();
  const bool is_file = type == std::filesystem::file_type::regular || type == std::filesystem::file_type::not_found;
  const std::filesystem::path directory = path.has_parent_path() ? path.parent_path() : ".";
  if (is_file && access(directory.c_str(), W_OK) == 0) return replace_text_file(path, text);
  write_text_file(path, option, text);
}

}  // namespace dtrain
