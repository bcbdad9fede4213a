// From which CPUs the launcher of this rank could choose: a binding is the launcher's doing only where it is narrower.
#pragma once

#include <functional>
#include <string>

#include "launch/topology.hpp"

namespace dtrain {

/// Reads a file of /proc/PROCESS ("status", "environ"); empty: not to be had.
using ProcessFiles = std::function<std::string(int process, const std::string& file)>;

/// CPUs of the nearest ancestor of `process` that is not part of the rank: scripts around dtrain carry rank_variable, as dtrain
/// does, and inherited the rank's binding; the launcher does neither. rank_variable empty: the parent. Result: empty where that
/// cannot be seen.
CpuSet cpus_of_launcher(int process, const std::string& rank_variable, const ProcessFiles& read);

/// The CPUs among which this process's launcher chose, those of the process included. allowed: by the cgroup. srun starts ranks
/// from a daemon that is bound to nothing, in a job that may have been granted a few of the machine's CPUs: then granted_cpus()
/// counts.
CpuSet cpus_of_own_launcher(const CpuSet& allowed, const CpuSet& usable);

/// CPUs of this machine that SLURM has granted to the step which this process is in; 0: srun did not start it.
int granted_cpus();

}  // namespace dtrain
