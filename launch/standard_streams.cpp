// Standard streams and the signals of writing to them; see standard_streams.hpp.
#include "launch/standard_streams.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <system_error>

namespace dtrain {

void prepare_standard_streams() {
  // open() gives the lowest free number: 0 first, so that each closed one is met.
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
    const int opened = open("/dev/null", O_RDWR);
    if (opened > STDERR_FILENO) close(opened);
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

std::optional<std::string> printing_fault() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return std::nullopt;
  // The stream does not keep what it failed with: an empty line of our own shows it again.
  if (write(STDOUT_FILENO, "\n", 1) >= 0) return "an error of an earlier write";
  const int error_number = errno;
  struct stat stream {};
  const bool is_device = fstat(STDOUT_FILENO, &stream) == 0 && S_ISCHR(stream.st_mode);
  if (error_number == EPIPE || (error_number == EIO && is_device)) return std::nullopt;
  return std::generic_category().message(error_number);
}

}  // namespace dtrain
