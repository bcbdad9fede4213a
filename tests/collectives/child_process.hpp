// A process of a test's own, which sleeps until it is ended.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "collectives/rank_processes.hpp"

namespace dtrain {

class ChildProcess {
 public:
  /// first: what the child does before it sleeps; it has done so when the constructor returns.
  explicit ChildProcess(void (*first)() = [] {}) {
    std::array<int, 2> ends{};
    if (pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_NAME, "child");  // not the parent's, who may have shown that it leaves
      first();
      if (write(ends[1], "", 1) != 1) _exit(1);
      for (;;) pause();
    }
    char ready = 0;
    const ssize_t length = read(ends[0], &ready, 1);
    close(ends[0]);
    close(ends[1]);
    if (length != 1) throw std::runtime_error("the child ended too early");
  }
  ChildProcess(const ChildProcess&) = delete;
  ~ChildProcess() {
    kill(pid_, SIGKILL);
    collect();
  }

  void signal(int number) const { kill(pid_, number); }
  void collect() {
    if (!is_collected_) waitpid(pid_, nullptr, 0);
    is_collected_ = true;
  }
  /// Waits until the child has been stopped or has ended, without collecting it.
  void wait_for(int what) const {
    siginfo_t state{};
    waitid(P_PID, static_cast<id_t>(pid_), &state, what | WNOWAIT);
  }

  ProcessIdentity identity() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
    std::string line;
    std::getline(file, line);
    std::istringstream fields(line.substr(line.rfind(')') + 2));
    std::string field;
    for (int number = 3; number <= 22; ++number) fields >> field;
    return {.pid = pid_, .started = std::stoull(field), .numbering = own_process()->numbering};
  }

 private:
  pid_t pid_ = -1;
  bool is_collected_ = false;
};

}  // namespace dtrain
