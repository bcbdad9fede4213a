// Looks at the streams of the parent process; see launcher_stream.hpp.
#include "trainer/launcher_stream.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace dtrain {
namespace {

bool has_open_mpi_launched() { return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr; }

std::string path_of(int stream) { return "/proc/" + std::to_string(getppid()) + "/fd/" + std::to_string(stream); }

/// Without waiting: opening a pipe for which nobody reads would wait for a reader.
int open_for_writing(const std::string& path) { return open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC); }

}  // namespace

bool launcher_stream_has_reader(int stream) {
  if (!has_open_mpi_launched()) return true;
  const std::string path = path_of(stream);
  struct stat file {};
  if (stat(path.c_str(), &file) != 0 || !S_ISFIFO(file.st_mode)) return true;
  const int descriptor = open_for_writing(path);
  if (descriptor < 0) return errno != ENXIO;  // of a pipe with a name
  pollfd pipe{.fd = descriptor, .events = 0, .revents = 0};
  const bool has_no_reader = poll(&pipe, 1, 0) > 0 && (pipe.revents & POLLERR) != 0;
  close(descriptor);
  return !has_no_reader;
}

}  // namespace dtrain
