// A process that gets no more threads, as where a limit of processes is reached: for the child of a death test.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

namespace dtrain {

/// The limit is a user's, and root has none: root becomes nobody.
inline void forbid_more_threads() {
  constexpr uid_t kNobody = 65534;
  if (geteuid() == 0 && setresuid(kNobody, kNobody, kNobody) != 0) _exit(99);
  const rlimit none{1, 1};
  if (setrlimit(RLIMIT_NPROC, &none) != 0) _exit(98);
}

}  // namespace dtrain
