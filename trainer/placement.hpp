// Where the threads of this rank run, decided by launch/ (hwloc) and carried out through these callbacks; the trainer itself
// knows no topology.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace dtrain {

class RunDirectory;

struct Placement {
  int threads = 1;                              ///< OpenMP compute threads
  std::vector<int> compute_cpus;                ///< OS indices, one per thread; empty: not bound
  std::vector<std::vector<int>> compute_masks;  ///< per thread: where it may run; {its CPU} unless bound to a domain or socket
  std::vector<int> comm_cpus;                   ///< where the comm thread may run: the reserved core, or the compute cores
  std::vector<int> loader_cpus;                 ///< where loader threads may run
  bool has_comm_core = false;                   ///< the comm thread has a core of its own (may spin)
  int loader_workers = 1;
  std::string summary;  ///< one line for the log

  std::function<void()> bind_comm_thread;              ///< called on the comm thread
  std::function<void(int worker)> bind_loader_thread;  ///< called on each loader thread
};

/// What a run gets from the program around it.
struct RunEnvironment {
  Placement placement;
  std::size_t memory_share_bytes = 0;                 ///< what this rank may allocate yet; 0: not known
  const std::atomic<bool>* stop_requested = nullptr;  ///< set by a signal: save between two steps, exit code 75; may be null
  std::vector<std::string> command;                   ///< the command line, for the report
  RunDirectory* directory = nullptr;                  ///< of a training with --out; null: there is none
};

}  // namespace dtrain
