// Preloaded into a run: ends the process, as SIGKILL does, right before or after it renames a file to one below a directory.
// RENAMES_BELOW: the directory; KILL_AT: which of these renames, from 1, or KILL_FILE: which file below the directory;
// KILL_WHEN: "before" or "after". RENAME_LOG: a file that is given a line for each rename.
#include <dlfcn.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

std::atomic<int> renames{0};

const char* text_of(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

void note(const char* to) {
  if (std::FILE* const log = std::fopen(text_of("RENAME_LOG"), "a")) {
    std::fprintf(log, "%s\n", to);
    std::fclose(log);
  }
}

}  // namespace

extern "C" int rename(const char* from, const char* to) {
  const auto next = reinterpret_cast<int (*)(const char*, const char*)>(dlsym(RTLD_NEXT, "rename"));
  const char* const directory = text_of("RENAMES_BELOW");
  const std::size_t length = std::strlen(directory);
  if (length == 0 || std::strncmp(to, directory, length) != 0 || to[length] != '/') return next(from, to);
  const char* const name = to + length + 1;
  note(name);
  const bool is_it = ++renames == std::atoi(text_of("KILL_AT")) || std::strcmp(name, text_of("KILL_FILE")) == 0;
  if (is_it && std::strcmp(text_of("KILL_WHEN"), "before") == 0) kill(getpid(), SIGKILL);
  const int result = next(from, to);
  if (is_it) kill(getpid(), SIGKILL);
  return result;
}
