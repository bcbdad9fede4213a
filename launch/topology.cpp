// Reads the machine through hwloc into plain values, and what Linux lets this process use.
#include "launch/topology.hpp"

#include <hwloc.h>
#include <omp.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <set>
#include <type_traits>
#include <utility>

#include "dtrain/error.hpp"
#include "launch/binding.hpp"
#include "launch/cgroup.hpp"

namespace dtrain {
namespace {

struct DestroyTopology {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, DestroyTopology>;

Topology new_topology() {
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) throw ConfigError("reading the machine's topology: hwloc cannot start");
  // CPUs outside the cgroup stay visible, so that the map can say what is not allowed.
  hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  return Topology(topology);
}

void load(const Topology& topology, const std::string& what) {
  if (hwloc_topology_load(topology.get()) != 0) {
    throw ConfigError(Fault{.doing = "reading the topology of " + what,
                            .expected = "something hwloc can load",
                            .found = "an error",
                            .remedy = "lstopo, which shows what hwloc sees"});
  }
}

CpuSet cpus_of(hwloc_const_bitmap_t bitmap) {
  CpuSet cpus;
  for (int cpu = hwloc_bitmap_first(bitmap); cpu >= 0; cpu = hwloc_bitmap_next(bitmap, cpu)) cpus.push_back(cpu);
  return cpus;
}

/// The smallest NUMA domain around a core; where two have the same cores (high-bandwidth memory beside DRAM), the first.
int numa_of(hwloc_topology_t topology, hwloc_obj_t core) {
  hwloc_obj_t nearest = nullptr;
  for (hwloc_obj_t node = nullptr; (node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != nullptr;) {
    if (!hwloc_bitmap_isincluded(core->cpuset, node->cpuset)) continue;
    if (nearest == nullptr || hwloc_bitmap_weight(node->cpuset) < hwloc_bitmap_weight(nearest->cpuset)) nearest = node;
  }
  return nearest == nullptr ? 0 : static_cast<int>(nearest->logical_index);
}

NodeTopology to_plain(const Topology& loaded) {
  const hwloc_topology_t topology = loaded.get();
  // Some virtual machines and processors show no cores: then each hardware thread counts as one.
  const bool has_cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0;
  const hwloc_obj_type_t type = has_cores ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
  NodeTopology plain;
  std::set<int> packages;
  std::set<int> domains;
  for (hwloc_obj_t object = nullptr; (object = hwloc_get_next_obj_by_type(topology, type, object)) != nullptr;) {
    const hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_PACKAGE, object);
    Core core{.package = package == nullptr ? 0 : static_cast<int>(package->logical_index),
              .numa = numa_of(topology, object),
              .cpus = cpus_of(object->cpuset)};
    packages.insert(core.package);
    domains.insert(core.numa);
    plain.cores.push_back(std::move(core));
  }
  std::stable_sort(plain.cores.begin(), plain.cores.end(),
                   [](const Core& a, const Core& b) { return std::pair(a.package, a.numa) < std::pair(b.package, b.numa); });
  plain.packages = static_cast<int>(packages.size());
  plain.numa_domains = static_cast<int>(domains.size());
  plain.allowed = cpus_of(hwloc_topology_get_allowed_cpuset(topology));
  return plain;
}

/// The same for all processes of a machine, whatever path a container shows them.
std::string file_identity(const std::string& path) {
  struct stat file {};
  if (stat(path.c_str(), &file) != 0) return path;
  return std::to_string(file.st_dev) + ":" + std::to_string(file.st_ino);
}

}  // namespace

std::string cpu_list(const CpuSet& cpus) {
  if (cpus.empty()) return "none";
  std::string text;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(cpus[i]);
    if (last > i) text += "-" + std::to_string(cpus[last]);
    i = last + 1;
  }
  return text;
}

CpuSet parse_cpu_list(std::string_view text) {
  if (text == "none") return {};
  const auto refuse = [&] {
    throw ConfigError(Fault{.doing = "reading a list of CPUs",
                            .expected = "numbers and ranges such as 0-3,8",
                            .found = "'" + std::string(text) + "'"});
  };
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&] {
    int value = 0;
    const auto [rest, fault] = std::from_chars(at, end, value);
    if (fault != std::errc{} || value < 0) refuse();
    at = rest;
    return value;
  };
  CpuSet cpus;
  while (true) {
    const int first = number();
    int last = first;
    if (at != end && *at == '-') ++at, last = number();
    if (last < first) refuse();
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    if (at == end) break;
    if (*at != ',') refuse();
    ++at;
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

CpuSet united(const std::vector<CpuSet>& sets) {
  std::set<int> all;
  for (const CpuSet& cpus : sets) all.insert(cpus.begin(), cpus.end());
  return {all.begin(), all.end()};
}

NodeTopology read_machine() {
  const Topology topology = new_topology();
  load(topology, "this machine");
  NodeTopology plain = to_plain(topology);
  // hwloc reads the cgroup's files, which a container may not show.
  if (CpuSet cpus = bindable_cpus(); !cpus.empty()) plain.allowed = std::move(cpus);
  plain.cpu_limits = read_cpu_limits(own_cgroup_directories("cpu"));
  for (const CpuLimit& limit : plain.cpu_limits) {
    if (plain.cpu_quota == 0.0 || limit.cpus < plain.cpu_quota) plain.cpu_quota = limit.cpus;
  }
  return plain;
}

NodeTopology read_synthetic(const std::string& description) {
  const Topology topology = new_topology();
  if (hwloc_topology_set_synthetic(topology.get(), description.c_str()) != 0) {
    throw ConfigError(Fault{.doing = "reading a synthetic topology",
                            .expected = "hwloc's notation, such as package:2 numa:1 core:24 pu:1",
                            .found = "'" + description + "'"});
  }
  load(topology, "'" + description + "'");
  return to_plain(topology);
}

NodeTopology read_topology_file(const std::string& path) {
  const Topology topology = new_topology();
  if (hwloc_topology_set_xml(topology.get(), path.c_str()) != 0) {
    throw ConfigError(Fault{.doing = "reading the topology in " + path,
                            .expected = "a file written by lstopo --of xml",
                            .found = "something hwloc cannot read"});
  }
  load(topology, path);
  return to_plain(topology);
}

CpuSet usable_cpus() {
  const CpuSet inherited = cpus_of_this_thread();
  std::set<int> cpus(inherited.begin(), inherited.end());
  // With OMP_PROC_BIND or GOMP_CPU_AFFINITY set, OpenMP's run-time binds the first thread before main begins; its places
  // still name all CPUs that the process had.
  if (omp_get_proc_bind() != omp_proc_bind_false) {
    for (int place = 0; place < omp_get_num_places(); ++place) {
      std::vector<int> ids(static_cast<std::size_t>(omp_get_place_num_procs(place)));
      omp_get_place_proc_ids(place, ids.data());
      cpus.insert(ids.begin(), ids.end());
    }
  }
  return {cpus.begin(), cpus.end()};
}

std::vector<CpuLimit> read_cpu_limits(const std::vector<std::string>& directories) {
  std::vector<CpuLimit> limits;
  for (const std::string& directory : directories) {
    std::optional<double> cpus = parse_cpu_max(read_kernel_file(directory + "/cpu.max"));  // cgroup v2
    if (!cpus) {
      const std::string quota = read_kernel_file(directory + "/cpu.cfs_quota_us");  // v1; -1: none
      cpus = parse_cpu_max(quota.substr(0, quota.find('\n')) + " " + read_kernel_file(directory + "/cpu.cfs_period_us"));
    }
    if (cpus) limits.push_back({.cpus = *cpus, .group = file_identity(directory)});
  }
  return limits;
}

std::optional<double> parse_cpu_max(std::string_view text) {
  double quota = 0.0;
  double period = 0.0;
  const char* const end = text.data() + text.size();
  const auto [rest, fault] = std::from_chars(text.data(), end, quota);
  if (fault != std::errc{} || rest == end || *rest != ' ') return std::nullopt;
  if (std::from_chars(rest + 1, end, period).ec != std::errc{} || quota <= 0.0 || period <= 0.0) return std::nullopt;
  return quota / period;
}

}  // namespace dtrain
