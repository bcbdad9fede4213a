// Temporary file, fsync, rename, fsync of the directory; and messages for what disks refuse.
#include "src/atomic_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

/// Linux writes at most about 2 GiB in one call; smaller pieces leave room for signals.
constexpr std::size_t kWriteBytes = std::size_t{64} << 20;

std::string remedy_for(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return "free space on the disk, or --out on another one";
    case EROFS:
      return "--out on a disk that is not mounted read-only";
    case EACCES:
    case EPERM:
      return "--out in a directory that this user may write to";
    case EFBIG:
      return "a larger limit for files (ulimit -f), or --out on another disk";
    case ENOENT:
    case ENOTDIR:
      return "a path whose directory exists";
    case EISDIR:
      return "a path that is not a directory";
    default:
      return "--out on another disk";
  }
}

void flush_directory(const std::filesystem::path& file) {
  const std::filesystem::path parent = file.parent_path();
  const std::filesystem::path directory = parent.empty() ? "." : parent;
  const std::string doing = "flushing directory " + directory.string();
  const int descriptor = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw_file_error(doing, errno);
  const int error_number = fsync(descriptor) == 0 ? 0 : errno;
  close(descriptor);
  // Some network file systems cannot flush directories and say so with EINVAL or ENOTSUP: there the rename itself is durable.
  if (error_number != 0 && error_number != EINVAL && error_number != ENOTSUP) throw_file_error(doing, error_number);
}

}  // namespace

void throw_file_error(const std::string& doing, int error_number) {
  throw DataError(Fault{.doing = doing,
                        .expected = "",
                        .found = std::generic_category().message(error_number),
                        .remedy = remedy_for(error_number)});
}

AtomicFile::AtomicFile(std::filesystem::path destination)
    : destination_(std::move(destination)), temporary_(destination_.string() + kPartialInfix + std::to_string(getpid())) {
  // A file of this name can only be left over from a process that died: it is overwritten.
  descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) throw_file_error("creating " + temporary_.string(), errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!is_committed_) unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), std::min(bytes.size(), kWriteBytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_file_error("writing " + destination_.string(), errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::rewrite(std::size_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_file_error("writing " + destination_.string(), errno);
    offset += static_cast<std::size_t>(written);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::commit() {
  if (fsync(descriptor_) != 0) throw_file_error("flushing " + destination_.string(), errno);
  // Some file systems report a full disk only here.
  const int closed = close(std::exchange(descriptor_, -1));
  if (closed != 0) throw_file_error("closing " + destination_.string(), errno);
  if (std::rename(temporary_.c_str(), destination_.c_str()) != 0) {
    throw_file_error("renaming " + temporary_.string() + " to " + destination_.string(), errno);
  }
  is_committed_ = true;  // from here on the new file is in place, even if the directory cannot be flushed
  flush_directory(destination_);
}

}  // namespace dtrain
