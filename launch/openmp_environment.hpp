// What the environment says to OpenMP's run-time, and so to dtrain's threads: how many, and where. Batch systems, modules and
// shells set such variables for other programs; what they lead to here is said.
#pragma once

#include <string>
#include <vector>

#include "launch/placement_plan.hpp"
#include "launch/topology.hpp"

namespace dtrain {

struct OpenMpEnvironment {
  std::string num_threads;            ///< OMP_NUM_THREADS; empty: not set
  int thread_limit = 0;               ///< most threads of a process; 0: none. Cannot be changed from inside
  std::string thread_limit_text;      ///< "OMP_THREAD_LIMIT=1"
  int active_levels = 1;              ///< 0: no parallel region would have more than one thread. dtrain changes that
  std::string active_levels_text;     ///< "OMP_MAX_ACTIVE_LEVELS=0"
  std::vector<std::string> bindings;  ///< "OMP_PROC_BIND=spread", "GOMP_CPU_AFFINITY=0": what places threads
};

/// Of this process.
OpenMpEnvironment read_openmp_environment();

/// Threads by OMP_NUM_THREADS ("8", or "8,2": the outer level counts). 0: not set, or nothing that is a number of threads.
int threads_by_environment(const OpenMpEnvironment& environment);

/// What of the environment changed a rank's placement, or is overridden by it: a warning each.
/// threads_given: by --threads, which the environment then does not change. offered: CPUs that the launcher could have given.
std::vector<std::string> openmp_warnings(const OpenMpEnvironment& environment, const RankPlacement& rank, bool threads_given,
                                         const CpuSet& usable, const CpuSet& offered);

/// Errors: ConfigError: --threads (0: not given) beyond the limit.
void require_within_thread_limit(const OpenMpEnvironment& environment, int threads);

}  // namespace dtrain
