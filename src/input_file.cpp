// Opens and reads; see input_file.hpp.
#include "src/input_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <vector>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

/// "DIR/best.safetensors or DIR/last.safetensors"; empty where the directory holds no weights.
std::string weight_files_in(const std::filesystem::path& directory) {
  constexpr std::size_t kMostNamed = 3;
  std::vector<std::string> found;
  std::error_code error;
  for (auto entry = std::filesystem::directory_iterator(directory, error);
       !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    if (entry->path().extension() == ".safetensors") found.push_back(entry->path().string());
  }
  std::sort(found.begin(), found.end());
  std::string text;
  for (std::size_t i = 0; i < std::min(found.size(), kMostNamed); ++i) text += (i == 0 ? "" : " or ") + found[i];
  return text;
}

[[noreturn]] void refuse_directory(const std::filesystem::path& path) {
  const std::string files = weight_files_in(path);
  throw DataError(Fault{.doing = "reading " + path.string(),
                        .expected = "a safetensors file",
                        .found = "a directory",
                        .remedy = files.empty() ? "a file with weights in it" : files});
}

}  // namespace

InputFile::InputFile(const std::filesystem::path& path)
    : InputFile(path, open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)) {
  // Opened without waiting for who writes to a FIFO, nor for a device: what it is shows next.
  if (descriptor_ < 0) fail("opening", errno);
  struct stat status {};
  if (fstat(descriptor_, &status) != 0) fail("looking at", errno);
  if (S_ISDIR(status.st_mode)) refuse_directory(path);
  if (!S_ISREG(status.st_mode)) {
    throw DataError(Fault{.doing = "reading " + path.string(),
                          .expected = "a regular file",
                          .found = "a device, pipe or socket",
                          .remedy = "a copy in a file"});
  }
  size_bytes_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::InputFile(const std::filesystem::path& path, int descriptor) : path_(path), descriptor_(descriptor) {}

InputFile::~InputFile() {
  if (descriptor_ >= 0) close(descriptor_);
}

void InputFile::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = pread(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("reading", errno);
    if (count == 0) {
      throw DataError(Fault{.doing = "reading the data of " + path_.string(),
                            .expected = std::to_string(size_bytes_) + " bytes",
                            .found = "an end at " + std::to_string(offset),
                            .remedy = "an undamaged copy of the file"});
    }
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
}

void InputFile::fail(const char* doing, int error_number) const {
  throw DataError(Fault{.doing = std::string(doing) + " " + path_.string(),
                        .expected = "",
                        .found = std::generic_category().message(error_number),
                        .remedy = "another path"});
}

}  // namespace dtrain
