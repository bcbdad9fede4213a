// Writing a file of text; see text_file.hpp.
#include "trainer/text_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <string_view>
#include <system_error>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

/// Writes and flushes to the disk. Result: errno of what failed; 0: nothing.
int write_and_flush(const std::filesystem::path& path, std::string_view text) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor < 0) return errno;
  int error_number = 0;
  while (error_number == 0 && !text.empty()) {
    const ssize_t written = write(descriptor, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      error_number = errno;
    }
  }
  if (error_number == 0 && fsync(descriptor) != 0) error_number = errno;
  if (close(descriptor) != 0 && error_number == 0) error_number = errno;
  return error_number;
}

}  // namespace

void write_text_file(const std::filesystem::path& path, const std::string& option, const std::string& text) {
  if (path.empty()) return;
  std::ofstream file(path);
  file << text;
  file.flush();
  if (file) return;
  throw DataError(Fault{.doing = "writing " + path.string() + " (" + option + ")",
                        .expected = "a file that can be written",
                        .found = "an error of the file system",
                        .remedy = "another " + option});
}

void replace_text_file(const std::filesystem::path& path, const std::string& option, const std::string& text) {
  const std::string temporary = path.string() + ".partial-" + std::to_string(getpid());
  int error_number = write_and_flush(temporary, text);
  if (error_number == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error_number = errno;
  if (error_number == 0) return;
  unlink(temporary.c_str());
  throw DataError(Fault{.doing = "writing " + path.string() + " (" + option + ")",
                        .expected = "a file that can be written",
                        .found = std::generic_category().message(error_number),
                        .remedy = "another " + option + ", or free space there"});
}

}  // namespace dtrain
