// Stands before a function of Open MPI; see last_words.hpp.
//
// Note [Open MPI ends a process that sends to one that has ended]
// Where a peer's process ends while a message to it is under way (writev: ECONNRESET, EPIPE, ETIMEDOUT), Open MPI's ob1 calls
// ompi_rte_abort, which ends this process at once: neither error handlers nor exit handlers are called, and nobody hears what
// it was doing. Its components find that function by name, and a program's own comes before a library's.
#include "collectives/last_words.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

/// A function that a library calls by its name can reach nothing but static storage.
std::atomic<const std::function<void()>*> last_words{nullptr};

}  // namespace

LastWords::LastWords(std::function<void()> speak) : speak_(std::move(speak)) { last_words.store(&speak_); }

LastWords::~LastWords() { withhold(); }

void LastWords::withhold() { last_words.store(nullptr); }

}  // namespace dtrain

extern "C" [[gnu::visibility("default"), noreturn]] void ompi_rte_abort(int status, char* format, ...) {
  using namespace dtrain;
  if (const auto* speak = last_words.exchange(nullptr)) {
    try {
      (*speak)();
    } catch (...) {  // it ends anyway
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(LastWords::kSpeaking_s));
    status = static_cast<int>(ExitCode::communication);
    format = nullptr;
  }
  if (void* const original = dlsym(RTLD_NEXT, "ompi_rte_abort")) {
    reinterpret_cast<void (*)(int, char*, ...)>(original)(status, format);
  }
  _exit(status);
}
