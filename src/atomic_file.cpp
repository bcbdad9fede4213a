// Partial file, fsync, rename, fsync of the directory; and messages for what disks refuse.
#include "dtrain/atomic_file.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <system_error>
#include <utility>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

/// Linux writes at most about 2 GiB in one call; smaller pieces leave room for signals.
constexpr std::size_t kWriteBytes = std::size_t{64} << 20;

constexpr std::string_view kInfix = ".partial-";
constexpr std::string_view kDigits = "0123456789abcdef";
constexpr std::size_t kRandomDigits = 16;

std::string unpredictable_digits() {
  std::array<std::uint8_t, kRandomDigits> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != std::ssize(bytes))
    throw_file_error("asking the system for random bytes", errno);
  std::string text;
  for (const std::uint8_t byte : bytes) text += kDigits[byte % kDigits.size()];
  return text;
}

/// Result: 0, or errno: EAGAIN or EACCES where another holds it. Of the open file, so that no other close() of the file frees
/// it.
int try_to_lock(int descriptor) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return fcntl(descriptor, F_OFD_SETLK, &whole) == 0 ? 0 : errno;
}

/// The process that a partial file's name has; 0: none.
pid_t process_of(std::string_view name) {
  const std::size_t at = name.rfind(kInfix);
  pid_t process = 0;
  if (at != std::string_view::npos) std::from_chars(name.data() + at + kInfix.size(), name.data() + name.size(), process);
  return process;
}

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

std::optional<std::string_view> destination_of(std::string_view name) {
  const std::size_t at = name.rfind(kInfix);
  if (at == std::string_view::npos || at == 0) return std::nullopt;
  const std::string_view ending = name.substr(at + kInfix.size());
  const std::size_t dash = ending.find('-');
  const std::string_view process = ending.substr(0, dash);
  const std::string_view random = dash == std::string_view::npos ? "" : ending.substr(dash + 1);
  const bool is_number = !process.empty() && process.find_first_not_of(kDigits.substr(0, 10)) == std::string_view::npos;
  const bool is_random = random.size() == kRandomDigits && random.find_first_not_of(kDigits) == std::string_view::npos;
  if (!is_number || (dash != std::string_view::npos && !is_random)) return std::nullopt;
  return name.substr(0, at);
}

LeftoverRemoval remove_leftover(const std::filesystem::path& partial) {
  const int descriptor = open(partial.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (descriptor < 0) return errno == ENOENT ? LeftoverRemoval::removed : LeftoverRemoval::refused;
  struct stat status {};
  LeftoverRemoval outcome = LeftoverRemoval::refused;
  if (fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) {
    const int error_number = try_to_lock(descriptor);
    const bool is_locked = error_number == EAGAIN || error_number == EACCES;
    const bool has_no_locks = error_number != 0 && !is_locked;
    const pid_t process = process_of(partial.filename().string());
    const bool lives_here = has_no_locks && process > 0 && (kill(process, 0) == 0 || errno == EPERM);
    if (is_locked || lives_here) {
      outcome = LeftoverRemoval::in_use;
    } else if (unlink(partial.c_str()) == 0 || errno == ENOENT) {
      outcome = LeftoverRemoval::removed;
    }
  }
  close(descriptor);
  return outcome;
}

AtomicFile::AtomicFile(std::filesystem::path destination) : destination_(std::move(destination)) {
  while (!try_to_create()) {
  }
}

/// false: the name is taken, or the file was removed as a leftover before it was locked.
bool AtomicFile::try_to_create() {
  partial_ = destination_.string() + std::string(kInfix) + std::to_string(getpid()) + "-" + unpredictable_digits();
  const int descriptor = open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (descriptor < 0 && errno == EEXIST) return false;
  if (descriptor < 0) throw_file_error("creating " + partial_.string(), errno);
  (void)try_to_lock(descriptor);  // file systems without locks do without
  struct stat status {};
  const bool is_removed = fstat(descriptor, &status) == 0 && status.st_nlink == 0;
  const int same = is_removed ? -1 : fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (same < 0) {
    const int error_number = errno;
    close(descriptor);
    if (is_removed) return false;
    unlink(partial_.c_str());
    throw_file_error("creating " + partial_.string(), error_number);
  }
  descriptor_ = descriptor;
  lock_ = same;
  return true;
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!is_committed_) unlink(partial_.c_str());
  close(lock_);
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

void AtomicFile::flush() {
  if (fsync(descriptor_) != 0) throw_file_error("flushing " + destination_.string(), errno);
}

void AtomicFile::commit() {
  flush();
  // Some file systems report a full disk only here.
  const int closed = close(std::exchange(descriptor_, -1));
  if (closed != 0) throw_file_error("closing " + destination_.string(), errno);
  if (std::rename(partial_.c_str(), destination_.c_str()) != 0) {
    throw_file_error("renaming " + partial_.string() + " to " + destination_.string(), errno);
  }
  is_committed_ = true;  // from here on the new file is in place, even if the directory cannot be flushed
  flush_directory(destination_);
}

}  // namespace dtrain
