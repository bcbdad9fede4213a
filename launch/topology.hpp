// What this machine is made of and which of its CPUs a process may use. hwloc stays behind this header: everything else
// works on these plain values, which tests also make from synthetic descriptions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dtrain {

/// Hardware threads by their OS index, ascending.
using CpuSet = std::vector<int>;

/// "0-3,8"; empty set: "none".
std::string cpu_list(const CpuSet& cpus);
/// Inverse of cpu_list. Errors: ConfigError.
CpuSet parse_cpu_list(std::string_view text);

/// CPUs in any of the sets.
CpuSet united(const std::vector<CpuSet>& sets);

/// A core and its hardware threads (more than one with SMT).
struct Core {
  int package = 0;  ///< logical index
  int numa = 0;     ///< logical index of the nearest NUMA domain
  CpuSet cpus;      ///< in hwloc's order: the first is the one to compute on
};

/// CPU seconds a second that a control group grants to all processes in it together.
struct CpuLimit {
  double cpus = 0.0;
  std::string group;  ///< which one: the same text for all processes in it
};

struct NodeTopology {
  int packages = 1;
  int numa_domains = 1;
  std::vector<Core> cores;             ///< by package, domain, position
  CpuSet allowed;                      ///< by the cgroup's cpuset: what a process could use if nothing had bound it
  double cpu_quota = 0.0;              ///< smallest of the limits below; 0: no limit
  std::vector<CpuLimit> cpu_limits{};  ///< of the cgroup of this process and those above it
};

/// The machine this process runs on. Errors: ConfigError when hwloc cannot read it.
NodeTopology read_machine();
/// From hwloc's synthetic description, "package:2 numa:1 core:24 pu:2". Errors: ConfigError.
NodeTopology read_synthetic(const std::string& description);
/// From a file that `lstopo --of xml` wrote. Errors: ConfigError.
NodeTopology read_topology_file(const std::string& path);

/// CPUs that this process may run on: the cgroup's and the inherited binding's. A binding that OpenMP's run-time made for the
/// first thread alone (OMP_PROC_BIND) is seen through.
CpuSet usable_cpus();

/// The limits that the files of these directories (cgroup v2's cpu.max, or v1's cpu.cfs_quota_us) hold, in their order.
std::vector<CpuLimit> read_cpu_limits(const std::vector<std::string>& directories);

/// CPU seconds a second out of cgroup v2's cpu.max ("200000 100000" → 2.0, "max 100000" → none).
std::optional<double> parse_cpu_max(std::string_view text);

}  // namespace dtrain
