// A file that appears under its name complete or not at all: written beside its destination, flushed to the disk, renamed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dtrain {

// Note [A partial file is locked as long as its process lives]
// A process that is killed leaves its partial file, which may be what fills the disk; a process that lives, perhaps on another
// host, still needs it. So the file is locked until it is renamed, and the system frees the lock when the process dies, however
// that happens: whoever gets the lock has found a leftover.
class AtomicFile {
 public:
  /// Creates the partial file, under a name that nobody can foresee: it follows no link, and takes no file that is there.
  /// Errors (here and below): DataError; the destination is as before.
  explicit AtomicFile(std::filesystem::path destination);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Removes the partial file unless it was committed.
  ~AtomicFile();

  void write(std::span<const std::byte> bytes);
  /// Puts other bytes in the place of some that have been written.
  void rewrite(std::size_t offset, std::span<const std::byte> bytes);
  /// Finds out whether the disk took everything.
  void flush();
  /// Flushes file and name to the disk: after it, a reader (even after a power cut) finds the new file.
  void commit();

 private:
  bool try_to_create();

  std::filesystem::path destination_;
  std::filesystem::path partial_;
  int descriptor_ = -1;
  int lock_ = -1;  ///< the same open file: closed after the rename
  bool is_committed_ = false;
};

/// The name of the destination of which this is the name of a partial file: "last.safetensors" of
/// "last.safetensors.partial-<process>-<16 hexadecimal digits>"; the digits may be missing. nullopt: of no partial file.
std::optional<std::string_view> destination_of(std::string_view name);

enum class LeftoverRemoval { removed, in_use, refused };
/// Removes a partial file, unless a living process writes it. On file systems without locks: unless a process of this machine
/// has the number in its name. refused: no regular file, or the system does not let it go.
LeftoverRemoval remove_leftover(const std::filesystem::path& partial);

/// The error of a system call that failed with `error_number` while `doing`, with what to try.
[[noreturn]] void throw_file_error(const std::string& doing, int error_number);

}  // namespace dtrain
