// Preloaded into one rank's process: opening the files for reading, or flushing them to the disk, takes long when their path has
// a given part, the first time only. SLOW_FILE: the part; SLOW_S: seconds; SLOW_RANK: the rank (of Open MPI; alone: 0).
#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::atomic<bool> has_been_slow{false};

void be_slow_for(const char* path) {
  const char* const part = std::getenv("SLOW_FILE");
  const char* const seconds = std::getenv("SLOW_S");
  if (part == nullptr || seconds == nullptr || std::strstr(path, part) == nullptr) return;
  const char* const own_rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const char* const slow_rank = std::getenv("SLOW_RANK");
  if (std::atoi(own_rank != nullptr ? own_rank : "0") != std::atoi(slow_rank != nullptr ? slow_rank : "0")) return;
  if (has_been_slow.exchange(true)) return;
  usleep(static_cast<useconds_t>(std::atof(seconds) * 1e6));
}

using Open = int (*)(const char*, int, ...);

int open_slowly(const char* name, const char* path, int flags, mode_t mode) {
  if ((flags & O_ACCMODE) == O_RDONLY) be_slow_for(path);
  return reinterpret_cast<Open>(dlsym(RTLD_NEXT, name))(path, flags, mode);
}

mode_t mode_of(int flags, va_list arguments) {
  return (flags & O_CREAT) != 0 ? static_cast<mode_t>(va_arg(arguments, int)) : mode_t{0};
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_slowly("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_slowly("open64", path, flags, mode);
}

int fsync(int descriptor) {
  std::array<char, 4096> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  if (readlink(link.c_str(), path.data(), path.size() - 1) > 0) be_slow_for(path.data());
  return reinterpret_cast<int (*)(int)>(dlsym(RTLD_NEXT, "fsync"))(descriptor);
}

}  // extern "C"
